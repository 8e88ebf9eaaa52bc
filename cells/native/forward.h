// The recurrence forward in time.
//
// Small matrix products (matmul.h) alternate with the cell's point-wise part (cell.h), which works on what the
// product has just left in L1.
#pragma once

#include "engine.h"

namespace native {

template <class Cell, class T>
class ForwardPass {
  static constexpr int W = kLanes<T>, G = Cell::gates, S = Cell::saved, P = Cell::vectors;
  static constexpr int kChunkBytes = 256 * 1024;  // of L2, for the inputs' share of the gates of a few time steps
  static constexpr int kFewProducts = 3;
  using Record = Records<Cell, T>;

 public:
  static void run(const Sequence& q) { ForwardPass(q).run(); }

 private:
  const Sequence q;
  const int units;
  const bool few;  // products: too few to pay for packing the weights
  const Buffer<T> p, memory_ih, memory_hh;
  const Packed<T> weight_ih, weight_hh;

  explicit ForwardPass(const Sequence& q)
      : q(q),
        units(unit_vectors<T>(q.hidden)),
        few(int64_t(q.time) * q.batch <= kFewProducts),
        p(padded_rows(static_cast<const T*>(q.p), P, q.hidden)),
        memory_ih(few ? 0 : Packed<T>::size(q.input, units, G)),
        memory_hh(few ? 0 : Packed<T>::size(q.hidden, units, G)),
        weight_ih{memory_ih.get(), q.input, units, G, tile_width(blocks(q.batch, q.slices))},
        weight_hh{memory_hh.get(), q.hidden, units, G, weight_ih.width} {}

  void run() {
    over_slices(q, [&](Team& team) { if (!few) pack(team); },
                [&](int, int first, int last, Team& team) { run_slice(first, last - first, team); });
  }

  void pack(Team& team) {
    for (int panel = team.index; panel < weight_hh.panels(); panel += team.size) {
      pack_columns(weight_ih, panel, static_cast<const T*>(q.weight_ih));
      pack_columns(weight_hh, panel, static_cast<const T*>(q.weight_hh));
    }
  }

  // Weights are (gates·H, depth); a column of the packed matrix is W rows of one gate, side by side.
  void pack_columns(const Packed<T>& packed, int panel, const T* weight) {
    packed.pack_panel(panel, [&](int unit, int gate, T* to, ptrdiff_t step) {
      const int lanes = q.hidden - unit * W;
      const T* from = weight + (size_t(gate) * q.hidden + size_t(unit) * W) * packed.depth;
      for (int k = 0; k < packed.depth; k += W) {
        Vec<T> square[W];
        for (int lane = 0; lane < W; ++lane)
          square[lane] = lane < lanes ? load(from + size_t(lane) * packed.depth + k, packed.depth - k) : Vec<T>{};
        transpose<T>(square);
        for (int i = 0; i < W && k + i < packed.depth; ++i) store(to + (k + i) * step, square[i]);
      }
    });
  }

  void run_slice(int first, int rows, Team& team) {
    const int begin_panel = block_begin(weight_hh.panels(), team.size, team.index);
    const int end_panel = block_begin(weight_hh.panels(), team.size, team.index + 1);
    const int begin_unit = weight_hh.panel_begin(begin_panel);
    const int width = (weight_hh.panel_begin(end_panel) - begin_unit) * G * W;
    const int64_t step_bytes = int64_t(rows) * std::max(width, 1) * sizeof(T);
    const int chunk = std::clamp<int64_t>(kChunkBytes / step_bytes, 1, q.time);
    const Buffer<T> wx(size_t(chunk) * rows * width);
    const Buffer<T> uh(size_t(rows) * weight_hh.panel_units() * G * W);
    const T* x = static_cast<const T*>(q.x) + size_t(first) * q.input;
    const T* h = static_cast<const T*>(q.h) + size_t(first) * q.hidden;
    if (Cell::has_cell_state) exchange_c<true>(first, rows, begin_panel, end_panel);
    for (int t0 = 0; t0 < q.time; t0 += chunk) {
      const int steps = std::min(chunk, q.time - t0);
      // Where the inputs' share of a panel's gates lies.
      const auto share = [&](int step, int panel) {
        return wx.get() + (size_t(step) * width + size_t(weight_hh.panel_begin(panel) - begin_unit) * G * W) * rows;
      };
      for (int panel = begin_panel; panel < end_panel; ++panel)
        for (int s = 0; s < steps; ++s)
          multiply(weight_ih, q.weight_ih, panel, x + size_t(t0 + s) * q.batch * q.input, rows, share(s, panel), {});
      for (int s = 0; s < steps; ++s) {
        const int t = t0 + s;
        for (int panel = begin_panel; panel < end_panel; ++panel) {
          const int from = weight_hh.panel_begin(panel), to = weight_hh.panel_begin(panel + 1);
          multiply(weight_hh, q.weight_hh, panel, h + size_t(t) * q.batch * q.hidden, rows, uh.get(),
                   {Record::ahead(q, t + 1, first, rows, from, to), {}});
          for (int u = from; u < to; ++u) {
            const size_t offset = size_t(u - from) * G * W;
            advance(t, first, rows, u, share(s, panel) + offset, uh.get() + offset, panel_width(panel));
          }
        }
        team.wait();
      }
    }
    if (Cell::has_cell_state) exchange_c<false>(first, rows, begin_panel, end_panel);
  }

  // to (rows, the panel's units, gates, W) = a (rows, depth) · the panel.
  void multiply(const Packed<T>& packed, const void* weight, int panel, const T* a, int rows, T* to, Ahead ahead) {
    const int depth = packed.depth, step = panel_width(panel);
    if (!few) return packed.multiply_panel(panel, {a, depth, 0}, rows, to, step, ahead);
    for (int u = packed.panel_begin(panel); u < packed.panel_begin(panel + 1); ++u)
      for (int g = 0; g < G; ++g, to += W)
        for (int r = 0; r < rows; ++r) {
          const T* from = static_cast<const T*>(weight) + (size_t(g) * q.hidden + size_t(u) * W) * depth;
          store(to + r * step, dot(from, std::min(W, q.hidden - u * W), a + size_t(r) * depth, depth));
        }
  }

  // The dot products of `lanes` rows of weights with a vector, one a lane.
  static Vec<T> dot(const T* weight, int lanes, const T* a, int depth) {
    Vec<T> sums[W] = {};
    for (int k = 0; k < depth; k += W) {
      const Vec<T> part = load(a + k, depth - k);
      if (lanes == W) {
#pragma GCC unroll 16
        for (int lane = 0; lane < W; ++lane) sums[lane] += part * load(weight + size_t(lane) * depth + k, depth - k);
      } else {
        for (int lane = 0; lane < lanes; ++lane)
          sums[lane] += part * load(weight + size_t(lane) * depth + k, depth - k);
      }
    }
    transpose<T>(sums);
    for (int lane = 1; lane < W; ++lane) sums[0] += sums[lane];
    return sums[0];
  }

  int panel_width(int panel) const { return (weight_hh.panel_begin(panel + 1) - weight_hh.panel_begin(panel)) * G * W; }

  // Copies c(0) into the records, or c(T) out of them.
  template <bool in>
  void exchange_c(int first, int rows, int begin_panel, int end_panel) {
    for (int u = weight_hh.panel_begin(begin_panel); u < weight_hh.panel_begin(end_panel); ++u)
      for (int r = 0; r < rows; ++r) {
        const size_t own = size_t(first + r) * q.hidden + u * W;
        T* c = Record::at(q, in ? 0 : q.time, first, rows, u) + (r * Record::vectors + S) * W;
        if (in) store(c, load(static_cast<const T*>(q.c_first) + own, q.hidden - u * W));
        else store(static_cast<T*>(q.c_last) + own, load(c), q.hidden - u * W);
      }
  }

  // Where one unit vector finds its things: pointers for the first row, and steps from row to row. Passed by value:
  // the compiler must assume that a store changes whatever is read through a reference.
  struct Unit {
    int lanes, gate_step, h_step, p_step;
    bool keep;
    const T *wx, *uh, *p, *h, *record;
    T *h_next, *record_next;
  };

  // The point-wise part of one unit vector for all rows.
  void advance(int t, int first, int rows, int u, const T* wx, const T* uh, int gate_step) {
    T* h = static_cast<T*>(q.h) + (size_t(t) * q.batch + first) * q.hidden + u * W;
    Unit at;
    at.lanes = q.hidden - u * W, at.keep = q.keep;
    at.wx = wx, at.uh = uh, at.gate_step = gate_step;
    at.p = p.get() + u * W, at.p_step = units * W;
    at.h = h, at.h_next = h + size_t(q.batch) * q.hidden, at.h_step = q.hidden;
    at.record = Record::at(q, t, first, rows, u), at.record_next = Record::at(q, t + 1, first, rows, u);
    over_rows(rows, [at](int r, auto n) { advance_rows<n>(at, r); });
  }

  // N rows from row r on.
  template <int N>
  NATIVE_INLINE static void advance_rows(const Unit at, int r) {
    Forward<Rows<T, N>, Cell> s;
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const ptrdiff_t row = r + n;
#pragma GCC unroll 8
      for (int i = 0; i < P; ++i) s.p[i].v[n] = load(at.p + i * at.p_step);
#pragma GCC unroll 8
      for (int g = 0; g < G; ++g) {
        s.wx[g].v[n] = load(at.wx + row * at.gate_step + g * W);
        s.uh[g].v[n] = load(at.uh + row * at.gate_step + g * W);
      }
      s.h.v[n] = load(at.h + row * at.h_step, at.lanes);
      if constexpr (Cell::has_cell_state) s.c.v[n] = load(at.record + (row * Record::vectors + S) * W);
    }
    Cell::forward(s);
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const ptrdiff_t row = r + n;
      store(at.h_next + row * at.h_step, s.h.v[n], at.lanes);
      if constexpr (Cell::has_cell_state) store(at.record_next + (row * Record::vectors + S) * W, s.c.v[n]);
    }
    if (S == 0 || !at.keep) return;
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n)
#pragma GCC unroll 8
      for (int i = 0; i < S; ++i) store(at.record_next + ((r + n) * Record::vectors + i) * W, s.saved[i].v[n]);
  }
};

}  // namespace native
