// The recurrence of any cell over a sequence, forward and backward.
//
// Threads own slices of the batch and run through all time steps without waiting for each other. A slice
// alternates small matrix products (matmul.h) with the cell's point-wise part (cell.h) on what the product
// has just left in L1. The gradients of the weights are summed over a few time steps at a time, while the
// gradients of the gates are still in the cache; nothing of size T is kept for them.
#pragma once

#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <memory>

#include "cell.h"
#include "matmul.h"
#include "threads.h"

namespace native {

// A sequence, its parameters and what forward leaves behind. Arrays are row-major; U stands for the number of
// unit vectors, so that U·W is H rounded up.
struct Sequence {
  int time, batch, input, hidden;
  const void* x;          // (T, B, I)
  const void* weight_ih;  // (gates·H, I)
  const void* weight_hh;  // (gates·H, H)
  const void* p;          // (vectors, H)
  void* h;                // (T+1, B, H); on entry h(0) is filled
  void* c;                // (T+1, B, U·W), or (1, B, U·W) overwritten in place if not `keep`; c(0) is filled
  void* saved;            // (T, B, U, saved, W), if `keep`
  bool keep;              // whether backward will follow
};

struct Gradient {
  const void* outputs;  // (T, B, H) or null
  const void* h_last;   // (B, H) or null
  const void* c_last;   // (B, H) or null
  void* x;              // (T, B, I) or null if nobody asks
  void* h_first;        // (B, H)
  void* c_first;        // (B, H), if the cell has c
  // A part for each slice of the batch, to be summed; the weights' as transposes:
  int slices;
  void* weight_ih;  // (slices, I, columns), columns = round_up(gates·H), for the first `gates` gradients
  void* weight_hh;  // (slices, H, columns), for the last
  void* p;          // (slices, vectors, U·W)
};

constexpr int kL2Bytes = 256 * 1024;  // of L2, for what a slice works on beside the weights
constexpr int kDepth = 128;           // rows that a product for the weights' gradient should have at least

template <class T>
inline int unit_vectors(int hidden) { return blocks(hidden, kLanes<T>); }
template <class T>
inline int round_up(int size) { return blocks(size, kLanes<T>) * kLanes<T>; }

template <class T>
using Buffer = std::unique_ptr<T[]>;
template <class T>
Buffer<T> buffer(size_t size) {
  return Buffer<T>(new T[size + kLanes<T>]);  // a vector more, so that whole vectors may be read at the end
}

// How many slices the batch is cut into: one a thread, as long as each has a row.
inline int slice_count(int batch) { return std::max(1, std::min(batch, threads())); }

template <class Slice>
void over_slices(int batch, int slices, Slice slice) {
  auto run = [&](int64_t first, int64_t last) {
    const FlushDenormals guard;
    for (int64_t s = first; s < last; ++s) slice(int(s), block_begin(batch, slices, s), block_begin(batch, slices, s + 1));
  };
  if (slices == 1) run(0, 1);
  else at::parallel_for(0, slices, 1, run);
}

// The unit's parameters, rows padded to whole vectors.
template <class T>
Buffer<T> padded_rows(const T* from, int rows, int hidden) {
  const int width = round_up<T>(hidden);
  auto to = buffer<T>(size_t(rows) * width);
  for (int row = 0; row < rows; ++row) {
    std::copy_n(from + size_t(row) * hidden, hidden, to.get() + size_t(row) * width);
    std::fill_n(to.get() + size_t(row) * width + hidden, width - hidden, T(0));
  }
  return to;
}

// Weights (gates·H, depth) for the product (rows, depth) → (rows, U, gates, W).
template <class T>
Packed<T> pack_forward(T* to, const T* weight, int gates, int hidden, int depth) {
  constexpr int W = kLanes<T>;
  Packed<T> packed{to, depth, unit_vectors<T>(hidden), gates};
  packed.pack([&](int unit, int gate, int k, T* lanes) {
    const T* column = weight + (size_t(gate) * hidden + size_t(unit) * W) * depth + k;
    const int count = std::min(W, hidden - unit * W);
    for (int lane = 0; lane < W; ++lane) lanes[lane] = lane < count ? column[size_t(lane) * depth] : T(0);
  });
  return packed;
}

// Weights (depth, columns) for the product (rows, depth) → (rows, columns).
template <class T>
Packed<T> pack_backward(T* to, const T* weight, int depth, int columns, const int* gate_order, int gates) {
  constexpr int W = kLanes<T>;
  const int gate_rows = depth / gates;
  Packed<T> packed{to, depth, blocks(columns, W), 1};
  packed.pack([&](int vector, int, int k, T* lanes) {
    const int row = gate_order[k / gate_rows] * gate_rows + k % gate_rows;
    store(lanes, load(weight + size_t(row) * columns + vector * W, columns - vector * W));
  });
  return packed;
}

template <class Cell, class T>
struct Engine {
  static constexpr int W = kLanes<T>, G = Cell::gates, S = Cell::saved, D = Cell::gradients, P = Cell::vectors;
  using V = Vec<T>;

  // Forward.

  static void forward(const Sequence& q) {
    const int units = unit_vectors<T>(q.hidden);
    auto store_ih = buffer<T>(Packed<T>::size(q.input, units, G)), store_hh = buffer<T>(Packed<T>::size(q.hidden, units, G));
    const auto weight_ih = pack_forward(store_ih.get(), static_cast<const T*>(q.weight_ih), G, q.hidden, q.input);
    const auto weight_hh = pack_forward(store_hh.get(), static_cast<const T*>(q.weight_hh), G, q.hidden, q.hidden);
    const auto p = padded_rows(static_cast<const T*>(q.p), P, q.hidden);
    over_slices(q.batch, slice_count(q.batch),
                [&](int, int first, int last) { forward_slice(q, weight_ih, weight_hh, p.get(), first, last); });
  }

  static void forward_slice(const Sequence& q, const Packed<T>& weight_ih, const Packed<T>& weight_hh, const T* p,
                            int first, int last) {
    const int rows = last - first, units = unit_vectors<T>(q.hidden), width = units * G * W;
    const int chunk = std::clamp<int64_t>(kL2Bytes / (int64_t(rows) * width * sizeof(T)), 1, q.time);
    const auto wx = buffer<T>(size_t(chunk) * rows * width);
    const auto uh = buffer<T>(size_t(rows) * Packed<T>::panel_units(G) * G * W);
    const T* x = static_cast<const T*>(q.x);
    const T* h = static_cast<const T*>(q.h);
    for (int begin = 0; begin < q.time; begin += chunk) {
      const int steps = std::min(chunk, q.time - begin);
      for (int panel = 0; panel < weight_ih.panels(); ++panel)
        for (int s = 0; s < steps; ++s) {
          const Left<T> a{x + (size_t(begin + s) * q.batch + first) * q.input, q.input, 0};
          T* to = wx.get() + size_t(s) * rows * width + weight_ih.panel_begin(panel) * G * W;
          weight_ih.multiply_panel(panel, a, rows, to, width, false);
        }
      for (int s = 0; s < steps; ++s) {
        const Left<T> a{h + (size_t(begin + s) * q.batch + first) * q.hidden, q.hidden, 0};
        for (int panel = 0; panel < weight_hh.panels(); ++panel) {
          const int from = weight_hh.panel_begin(panel), to = weight_hh.panel_begin(panel + 1);
          weight_hh.multiply_panel(panel, a, rows, uh.get(), (to - from) * G * W, false);
          forward_panel(q, begin + s, first, rows, from, to, wx.get() + size_t(s) * rows * width, uh.get(), p);
        }
      }
    }
  }

  static void forward_panel(const Sequence& q, int t, int first, int rows, int from, int to, const T* wx, const T* uh,
                            const T* p) {
    const int units = unit_vectors<T>(q.hidden), padded = units * W;
    const size_t row0 = size_t(t) * q.batch + first, next = q.batch;
    T* h = static_cast<T*>(q.h);
    T* c = static_cast<T*>(q.c);
    T* saved = static_cast<T*>(q.saved);
    for (int u = from; u < to; ++u) {
      Forward<V, Cell> s;
      for (int i = 0; i < P; ++i) s.p[i] = load(p + i * padded + u * W);
      const int lanes = q.hidden - u * W;
      for (int r = 0; r < rows; ++r) {
        for (int g = 0; g < G; ++g) {
          s.wx[g] = load(wx + (size_t(r) * units + u) * G * W + g * W);
          s.uh[g] = load(uh + (size_t(r) * (to - from) + (u - from)) * G * W + g * W);
        }
        const size_t row = row0 + r;
        s.h = load(h + row * q.hidden + u * W, lanes);
        T* c_before = nullptr;
        if constexpr (Cell::has_cell_state) {
          c_before = c + (q.keep ? row : size_t(first) + r) * padded + u * W;
          s.c = load(c_before);
        }
        Cell::template forward<V>(s);
        store(h + (row + next) * q.hidden + u * W, s.h, lanes);
        if constexpr (Cell::has_cell_state) store(c_before + (q.keep ? next * padded : 0), s.c);
        if (S > 0 && q.keep)
          for (int i = 0; i < S; ++i) store(saved + ((row * units + u) * S + i) * W, s.saved[i]);
      }
    }
  }

  // Backward.

  // What a slice works on. Gate gradients of the last `slots` time steps lie in slots 1 …, newest last; slot 0
  // has those of the time step after them.
  struct Slice {
    int first, rows, slots;
    size_t stride, slot;   // of a row, of a slot
    Buffer<T> d, dh, direct, dc, dx;
    T *weight_ih, *weight_hh, *p;  // this slice's part of the gradients
  };

  static void backward(const Sequence& q, const Gradient& grad) {
    int order_x[G], order_h[G];
    for (int g = 0; g < G; ++g) order_x[g] = Cell::order_x(g), order_h[g] = g;
    const int units = unit_vectors<T>(q.hidden), inputs = blocks(q.input, W);
    auto store_hh = buffer<T>(Packed<T>::size(G * q.hidden, units, 1));
    auto store_ih = buffer<T>(grad.x ? Packed<T>::size(G * q.hidden, inputs, 1) : 0);
    const auto weight_hh = pack_backward(store_hh.get(), static_cast<const T*>(q.weight_hh), G * q.hidden, q.hidden, order_h, G);
    Packed<T> weight_ih{nullptr, 0, 0, 0};
    if (grad.x)
      weight_ih = pack_backward(store_ih.get(), static_cast<const T*>(q.weight_ih), G * q.hidden, q.input, order_x, G);
    const auto p = padded_rows(static_cast<const T*>(q.p), P, q.hidden);
    over_slices(q.batch, grad.slices, [&](int index, int first, int last) {
      Slice slice = make_slice(q, grad, index, first, last);
      backward_slice(q, grad, weight_ih, weight_hh, p.get(), slice);
    });
  }

  static Slice make_slice(const Sequence& q, const Gradient& grad, int index, int first, int last) {
    const int rows = last - first, units = unit_vectors<T>(q.hidden), padded = units * W;
    const int columns = round_up<T>(G * q.hidden);
    Slice s;
    s.first = first, s.rows = rows;
    // An odd number of cache lines a row: rows at a power of two would share the same few sets of the cache.
    s.stride = (round_up<T>(D * q.hidden) / W | 1) * W + (kVectorBytes < 64 ? 64 / sizeof(T) : 0);
    s.slot = size_t(rows) * s.stride;
    s.slots = std::clamp(kDepth / rows, 1, q.time);
    s.d = buffer<T>((s.slots + 1) * s.slot);
    std::fill_n(s.d.get(), (s.slots + 1) * s.slot, T(0));
    s.dh = buffer<T>(size_t(rows) * padded);
    s.dc = buffer<T>(size_t(rows) * padded);
    s.direct = buffer<T>(size_t(rows) * padded);
    s.dx = buffer<T>(grad.x ? size_t(rows) * round_up<T>(q.input) : 0);
    std::fill_n(s.direct.get(), size_t(rows) * padded, T(0));
    copy_rows(static_cast<const T*>(grad.h_last), first, rows, q.hidden, s.dh.get(), padded);
    copy_rows(static_cast<const T*>(grad.c_last), first, rows, q.hidden, s.dc.get(), padded);
    s.weight_ih = static_cast<T*>(grad.weight_ih) + size_t(index) * q.input * columns;
    s.weight_hh = static_cast<T*>(grad.weight_hh) + size_t(index) * q.hidden * columns;
    s.p = static_cast<T*>(grad.p) + size_t(index) * P * padded;
    std::fill_n(s.weight_ih, size_t(q.input) * columns, T(0));
    std::fill_n(s.weight_hh, size_t(q.hidden) * columns, T(0));
    std::fill_n(s.p, size_t(P) * padded, T(0));
    return s;
  }

  // Rows of (B, size) into padded rows; zeros if there are none.
  static void copy_rows(const T* from, int first, int rows, int size, T* to, int stride) {
    for (int r = 0; r < rows; ++r) {
      std::fill_n(to + size_t(r) * stride, stride, T(0));
      if (from) std::copy_n(from + size_t(first + r) * size, size, to + size_t(r) * stride);
    }
  }

  static void backward_slice(const Sequence& q, const Gradient& grad, const Packed<T>& weight_ih,
                             const Packed<T>& weight_hh, const T* p, Slice& s) {
    const int padded = unit_vectors<T>(q.hidden) * W;
    int slot = 0;  // that of time step t+1
    for (int t = q.time - 1; t >= 0; --t) {
      const Left<T> later = of_h(q, s, slot);
      for (int panel = 0; panel < weight_hh.panels(); ++panel) {
        const int from = weight_hh.panel_begin(panel), to = weight_hh.panel_begin(panel + 1);
        if (t < q.time - 1) weight_hh.multiply_panel(panel, later, s.rows, s.dh.get() + from * W, padded, false);
        backward_panel(q, grad, t, from, to, p, s, slot + 1);
      }
      ++slot;
      if (slot == s.slots || t == 0) {
        add_weight_gradients(q, t, slot, s);
        if (grad.x) input_gradients(q, grad, t, slot, weight_ih, s);
        std::copy_n(s.d.get() + slot * s.slot, s.slot, s.d.get());
        slot = 0;
      }
    }
    for (int panel = 0; panel < weight_hh.panels(); ++panel)
      weight_hh.multiply_panel(panel, of_h(q, s, 0), s.rows, s.dh.get() + weight_hh.panel_begin(panel) * W, padded, false);
    T* h_first = static_cast<T*>(grad.h_first);
    T* c_first = static_cast<T*>(grad.c_first);
    for (int r = 0; r < s.rows; ++r)
      for (int j = 0; j < q.hidden; ++j) {
        const size_t to = size_t(s.first + r) * q.hidden + j, from = size_t(r) * padded + j;
        h_first[to] = s.dh[from] + (Cell::has_direct ? s.direct[from] : T(0));
        if (Cell::has_cell_state) c_first[to] = s.dc[from];
      }
  }

  // The gate gradients of a slot that belong to U h, as a left operand.
  static Left<T> of_h(const Sequence& q, const Slice& s, int slot) {
    return {s.d.get() + slot * s.slot + size_t(D - G) * q.hidden, ptrdiff_t(s.stride), 0};
  }

  static void backward_panel(const Sequence& q, const Gradient& grad, int t, int from, int to, const T* p, Slice& s,
                             int slot) {
    const int units = unit_vectors<T>(q.hidden), padded = units * W;
    const T* outputs = static_cast<const T*>(grad.outputs);
    const T* h = static_cast<const T*>(q.h);
    const T* c = static_cast<const T*>(q.c);
    const T* saved = static_cast<const T*>(q.saved);
    for (int u = from; u < to; ++u) {
      Backward<V, Cell> b;
      for (int i = 0; i < P; ++i) {
        b.p[i] = load(p + i * padded + u * W);
        b.dp[i] = load(s.p + i * padded + u * W);
      }
      const int lanes = q.hidden - u * W;
      for (int r = 0; r < s.rows; ++r) {
        const size_t row = size_t(t) * q.batch + s.first + r, next = q.batch, own = size_t(r) * padded + u * W;
        for (int i = 0; i < S; ++i) b.saved[i] = load(saved + ((row * units + u) * S + i) * W);
        b.h_before = load(h + row * q.hidden + u * W, lanes);
        b.h = load(h + (row + next) * q.hidden + u * W, lanes);
        b.dh = load(s.dh.get() + own);
        if constexpr (Cell::has_direct) b.dh += load(s.direct.get() + own);
        if (outputs) b.dh += load(outputs + row * q.hidden + u * W, lanes);
        if constexpr (Cell::has_cell_state) {
          b.c_before = load(c + row * padded + u * W);
          b.c = load(c + (row + next) * padded + u * W);
          b.dc = load(s.dc.get() + own);
        }
        Cell::template backward<V>(b);
        T* d = s.d.get() + slot * s.slot + size_t(r) * s.stride + u * W;
        for (int i = 0; i < D; ++i) store(d + size_t(i) * q.hidden, b.d[i], lanes);
        if constexpr (Cell::has_cell_state) store(s.dc.get() + own, b.dc);
        if constexpr (Cell::has_direct) store(s.direct.get() + own, b.direct);
      }
      for (int i = 0; i < P; ++i) store(s.p + i * padded + u * W, b.dp[i]);
    }
  }

  // Time steps t … t+slots−1 lie in the slots, the earliest in the last.
  static void add_weight_gradients(const Sequence& q, int t, int slots, Slice& s) {
    const int vectors = blocks(G * q.hidden, W), columns = vectors * W;
    const size_t row = size_t(t) * q.batch + s.first;
    const T* newest = s.d.get() + slots * s.slot;
    const ptrdiff_t d_stride = s.stride, d_segment = -ptrdiff_t(s.slot);
    const Left<T> x{static_cast<const T*>(q.x) + row * q.input, q.input, ptrdiff_t(q.batch) * q.input, true};
    const Left<T> h{static_cast<const T*>(q.h) + row * q.hidden, q.hidden, ptrdiff_t(q.batch) * q.hidden, true};
    multiply<T>(x, {newest, d_stride, d_segment}, q.input, vectors, slots, s.rows, s.weight_ih, columns, true);
    multiply<T>(h, {newest + size_t(D - G) * q.hidden, d_stride, d_segment}, q.hidden, vectors, slots, s.rows, s.weight_hh,
                columns, true);
  }

  static void input_gradients(const Sequence& q, const Gradient& grad, int t, int slots, const Packed<T>& weight_ih,
                              Slice& s) {
    const int width = weight_ih.units * W;
    for (int slot = slots; slot > 0; --slot, ++t) {
      const Left<T> d{s.d.get() + slot * s.slot, ptrdiff_t(s.stride), 0};
      for (int panel = 0; panel < weight_ih.panels(); ++panel)
        weight_ih.multiply_panel(panel, d, s.rows, s.dx.get() + weight_ih.panel_begin(panel) * W, width, false);
      T* to = static_cast<T*>(grad.x) + (size_t(t) * q.batch + s.first) * q.input;
      for (int r = 0; r < s.rows; ++r) std::copy_n(s.dx.get() + size_t(r) * width, q.input, to + size_t(r) * q.input);
    }
  }
};

// Makes a cell known by its name; one static object of this in the cell's file.
template <class Cell>
struct Register {
  explicit Register(const char* name) {
    add_kernel(name, {Cell::gates, Cell::saved, Cell::vectors, Cell::has_cell_state, Cell::order_x,
                      Engine<Cell, float>::forward, Engine<Cell, double>::forward, Engine<Cell, float>::backward,
                      Engine<Cell, double>::backward});
  }
};

}  // namespace native
