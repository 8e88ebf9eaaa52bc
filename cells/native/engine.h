// What forward.h and backward.h share: the description of a sequence, memory, and the division of work.
//
// The batch is cut into slices, which run through all time steps without waiting for each other, a thread each.
// Where there are too few rows for that to pay, there is one slice, and the threads divide its hidden units and
// wait for each other at each phase of each time step.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

#include "cell.h"
#include "matmul.h"
#include "threads.h"

namespace native {

// A sequence, its parameters and what forward leaves behind. Arrays are row-major; U stands for the number of
// unit vectors, so that U·W is H rounded up.
struct Sequence {
  int time, batch, input, hidden;
  int slices;                    // of the batch; the same in forward and backward
  int threads;                   // at most
  bool keep;                     // whether backward will follow
  const void* x;                 // (T, B, I)
  const void* const* matrices;   // (blocks·H, I or H) each
  const void* const* vectors;    // (blocks·H) each
  const void* const* first;      // (B, H), a state each
  void* const* last;             // (B, H), a state each
  void* const* series;           // (T+1, B, H) each; if not `keep`, (2, B, H), but for the output
  // A record of each row, unit vector and time step from 0 to T: what the cell saves, and its states that are in no
  // series. Step after step, in it slice after slice, in it unit after unit, so that what is needed together lies
  // together. If not `keep`, there are two steps, used in turn; or one overwritten in place, if a step has one phase.
  void* records;
};

struct Gradient {
  const void* outputs;      // (T, B, H) or null
  const void* const* last;  // (B, H) or null, a state each
  void* x;                  // (T, B, I) or null if nobody asks
  void* const* first;       // (B, H), a state each
  void* const* matrices;    // as the parameters, filled with zeros
  void* const* vectors;
};

constexpr int kSideBySide = 2;  // rows whose point-wise part is computed at once

template <class T>
inline int unit_vectors(int hidden) { return blocks(hidden, kLanes<T>); }
template <class T>
inline int round_up(int size) { return blocks(size, kLanes<T>) * kLanes<T>; }

// From torch's allocator, which counts memory, and aligns it to cache lines: a vector across two costs two loads.
void* allocate(size_t bytes);
void release(void* memory);

template <class T>
class Buffer {
 public:
  // A vector more, so that whole vectors may be read at the end.
  explicit Buffer(size_t size = 0)
      : memory_(size ? static_cast<T*>(allocate((size + kLanes<T>) * sizeof(T))) : nullptr, release) {}
  T* get() const { return memory_.get(); }

 private:
  std::unique_ptr<T, void (*)(void*)> memory_;
};

template <class T>
Buffer<T> zeros(size_t size) {
  Buffer<T> memory(size);
  std::fill_n(memory.get(), size, T(0));
  return memory;
}

// Calls work(std::integral_constant) with 0 … count−1.
template <int count, class Work>
NATIVE_INLINE void for_each(Work work) {
  [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) {
    (work(std::integral_constant<int, i>()), ...);
  }(std::make_integer_sequence<int, count>());
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

// H rows of a matrix, `columns` wide, or of a vector, one wide.
template <class T>
inline const T* block(const void* const* tensors, Block block, int hidden, int columns) {
  return static_cast<const T*>(tensors[block.tensor]) + size_t(block.index) * hidden * columns;
}

// The cell's vectors, each filled up with zeros to whole vectors.
template <class Cell, class T>
Buffer<T> padded_vectors(const Sequence& q) {
  const int width = round_up<T>(q.hidden);
  auto to = zeros<T>(size_t(Cell::vectors) * width);
  for (int i = 0; i < Cell::vectors; ++i)
    std::copy_n(block<T>(q.vectors, Cell::vector_blocks[i], q.hidden, 1), q.hidden, to.get() + size_t(i) * width);
  return to;
}

// Where a slice's rows of a series are at time t.
template <class Cell, class T>
inline T* series_at(const Sequence& q, int series, int t, int first) {
  const int step = q.keep || series == Cell::output ? t : t & 1;
  return static_cast<T*>(q.series[series]) + (size_t(step) * q.batch + first) * q.hidden;
}

// The records of a slice's rows: of all unit vectors from `u` on, at time t.
template <class Cell, class T>
struct Records {
  static constexpr int states = [] {
    int count = 0;
    for (const State& state : Cell::states) count += state.record >= 0;
    return count;
  }();
  static constexpr int vectors = Cell::saved + states;  // of a record, the states last

  static T* at(const Sequence& q, int t, int first, int rows, int u) {
    const int step = q.keep ? t : Cell::phases == 1 ? 0 : t & 1;
    const size_t units = unit_vectors<T>(q.hidden), row = size_t(step) * q.batch + first;
    return static_cast<T*>(q.records) + (row * units + size_t(u) * rows) * vectors * kLanes<T>;
  }

  static Range ahead(const Sequence& q, int t, int first, int rows, int from, int to) {
    if (!q.keep || vectors == 0) return {};
    const size_t bytes = size_t(to - from) * rows * vectors * kVectorBytes;
    return {reinterpret_cast<const char*>(at(q, t, first, rows, from)), bytes};
  }
};

}  // namespace native
