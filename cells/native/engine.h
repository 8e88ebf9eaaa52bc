// What forward.h and backward.h share: the description of a sequence, memory, and the division of work.
//
// The batch is cut into slices, which run through all time steps without waiting for each other, a thread each.
// Where there are too few rows for that to pay, there is one slice, and the threads divide its hidden units and
// wait for each other at each time step.
#pragma once

#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "cell.h"
#include "matmul.h"
#include "threads.h"

namespace native {

// A sequence, its parameters and what forward leaves behind. Arrays are row-major; U stands for the number of
// unit vectors, so that U·W is H rounded up.
struct Sequence {
  int time, batch, input, hidden;
  int slices;             // of the batch; the same in forward and backward
  int threads;            // at most
  bool keep;              // whether backward will follow
  const void* x;          // (T, B, I)
  const void* weight_ih;  // (gates·H, I)
  const void* weight_hh;  // (gates·H, H)
  const void* p;          // (vectors, H)
  void* h;                // (T+1, B, H); on entry h(0) is filled
  const void* c_first;    // (B, H), if the cell has c
  void* c_last;           // (B, H), if the cell has c
  // A record of each row, unit vector and time step from 0 to T: what the cell saved, and c. Step after step, in it
  // slice after slice, in it unit after unit, so that what is needed together lies together. If not `keep`, there
  // is one step only, overwritten in place.
  void* records;
};

struct Gradient {
  const void* outputs;  // (T, B, H) or null
  const void* h_last;   // (B, H) or null
  const void* c_last;   // (B, H) or null
  void* x;              // (T, B, I) or null if nobody asks
  void* h_first;        // (B, H)
  void* c_first;        // (B, H), if the cell has c
  void* weight_ih;      // (gates·H, I)
  void* weight_hh;      // (gates·H, H)
  void* p;              // (vectors, H)
};

constexpr int kSideBySide = 2;  // rows whose point-wise part is computed at once

template <class T>
inline int unit_vectors(int hidden) { return blocks(hidden, kLanes<T>); }
template <class T>
inline int round_up(int size) { return blocks(size, kLanes<T>) * kLanes<T>; }

// Memory from torch's allocator, which counts it, and aligns it to cache lines: a vector across two costs two loads.
template <class T>
class Buffer {
 public:
  // A vector more, so that whole vectors may be read at the end.
  explicit Buffer(size_t size = 0)
      : memory_(size ? c10::GetCPUAllocator()->allocate((size + kLanes<T>) * sizeof(T)) : c10::DataPtr()) {}
  T* get() const { return static_cast<T*>(memory_.get()); }

 private:
  c10::DataPtr memory_;
};

template <class T>
Buffer<T> zeros(size_t size) {
  Buffer<T> memory(size);
  std::fill_n(memory.get(), size, T(0));
  return memory;
}

// Calls prepare(team) on all threads, and then slice(index, first row, last row, team) for all slices.
template <class Prepare, class Slice>
void over_slices(const Sequence& q, Prepare prepare, Slice slice) {
  in_team(q.threads, [&](Team& team) {
    prepare(team);
    team.wait();
    if (q.slices == 1) return slice(0, 0, q.batch, team);
    for (int s = team.index; s < q.slices; s += team.size) {
      Team alone;
      slice(s, block_begin(q.batch, q.slices, s), block_begin(q.batch, q.slices, s + 1), alone);
    }
  });
}

// Calls work(row, how many) for all rows, kSideBySide at a time as long as there are so many.
template <class Work>
inline void over_rows(int rows, Work work) {
  int r = 0;
  for (; r + kSideBySide <= rows; r += kSideBySide) work(r, std::integral_constant<int, kSideBySide>());
  for (; r < rows; ++r) work(r, std::integral_constant<int, 1>());
}

// Rows of `size` copied into rows of whole vectors, filled up with zeros.
template <class T>
Buffer<T> padded_rows(const T* from, int rows, int size) {
  const int width = round_up<T>(size);
  auto to = zeros<T>(size_t(rows) * width);
  for (int row = 0; row < rows; ++row) std::copy_n(from + size_t(row) * size, size, to.get() + size_t(row) * width);
  return to;
}

// The records of a slice's rows: of all unit vectors from `u` on, at time t.
template <class Cell, class T>
struct Records {
  static constexpr int vectors = Cell::saved + Cell::has_cell_state;  // of a record; c is the last

  static T* at(const Sequence& q, int t, int first, int rows, int u) {
    const size_t units = unit_vectors<T>(q.hidden), row = size_t(q.keep ? t : 0) * q.batch + first;
    return static_cast<T*>(q.records) + (row * units + size_t(u) * rows) * vectors * kLanes<T>;
  }

  static Range ahead(const Sequence& q, int t, int first, int rows, int from, int to) {
    if (!q.keep || vectors == 0) return {};
    const size_t bytes = size_t(to - from) * rows * vectors * kVectorBytes;
    return {reinterpret_cast<const char*>(at(q, t, first, rows, from)), bytes};
  }
};

}  // namespace native
