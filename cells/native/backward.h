// The recurrence backward in time: gradients of the inputs, the initial state and all parameters.
//
// The gradients of the weights are summed over a few time steps at a time, while the gradients of the gates are
// still in the cache; nothing of size T is kept for them.
#pragma once

#include <vector>

#include "engine.h"

namespace native {

template <class Cell, class T>
class BackwardPass {
  static constexpr int W = kLanes<T>, G = Cell::gates, S = Cell::saved, D = Cell::gradients, P = Cell::vectors;
  static constexpr int kDepth = 128;  // rows that a product for the weights' gradient should have at least
  using Record = Records<Cell, T>;

 public:
  static void run(const Sequence& q, const Gradient& grad) { BackwardPass(q, grad).run(); }

 private:
  const Sequence q;
  const Gradient grad;
  const int units, columns;
  const Buffer<T> p, memory_ih, memory_hh;
  const Packed<T> weight_ih, weight_hh;

  BackwardPass(const Sequence& q, const Gradient& grad)
      : q(q),
        grad(grad),
        units(unit_vectors<T>(q.hidden)),
        columns(round_up<T>(G * q.hidden)),
        p(padded_rows(static_cast<const T*>(q.p), P, q.hidden)),
        memory_ih(grad.x ? Packed<T>::size(G * q.hidden, blocks(q.input, W), 1) : 0),
        memory_hh(Packed<T>::size(G * q.hidden, units, 1)),
        weight_ih{memory_ih.get(), G * q.hidden, grad.x ? blocks(q.input, W) : 0, 1, width_of_tiles()},
        weight_hh{memory_hh.get(), G * q.hidden, units, 1, width_of_tiles()} {}

  int width_of_tiles() const { return tile_width(blocks(q.batch, q.slices)); }

  void run() {
    std::vector<Slice> slices;
    for (int s = 0; s < q.slices; ++s)
      slices.push_back(make_slice(block_begin(q.batch, q.slices, s), block_begin(q.batch, q.slices, s + 1)));
    over_slices(q, [&](Team& team) { pack(team); }, [&](int s, int, int, Team& team) { run_slice(slices[s], team); });
    in_team(q.threads, [&](Team& team) { sum(slices, team); });
  }

  // Weights are (gates·H, columns) as they should be, but for the order of the gates.
  void pack(Team& team) {
    for (int panel = team.index; panel < weight_hh.panels(); panel += team.size)
      pack_rows(weight_hh, panel, static_cast<const T*>(q.weight_hh), q.hidden, [](int g) { return g; });
    for (int panel = team.index; panel < weight_ih.panels(); panel += team.size)
      pack_rows(weight_ih, panel, static_cast<const T*>(q.weight_ih), q.input, Cell::order_x);
  }

  void pack_rows(const Packed<T>& packed, int panel, const T* weight, int size, int (*order)(int)) {
    packed.pack_panel(panel, [&](int vector, int, T* to, ptrdiff_t step) {
      for (int g = 0; g < G; ++g) {
        const T* from = weight + size_t(order(g)) * q.hidden * size + vector * W;
        for (int j = 0; j < q.hidden; ++j, to += step) store(to, load(from + size_t(j) * size, size - vector * W));
      }
    });
  }

  // What is worked on in a slice. Gate gradients of the last `slots` time steps lie in slots 1 …, the earliest in
  // the last of them; slot 0 has those of the time step after them.
  struct Slice {
    int first, rows, slots;
    size_t stride, slot;          // from row to row, from slot to slot
    Buffer<T> d, dh, direct, dc;  // d: (slots + 1, rows, stride); the others: (rows, U·W)
    // This slice's part of the gradients, those of the weights as transposes: (I, columns) for the first `gates` gate
    // gradients, (H, columns) for the last; (vectors, U·W).
    Buffer<T> weight_ih, weight_hh, p;
  };

  Slice make_slice(int first, int last) const {
    const int rows = last - first;
    const size_t size = size_t(rows) * units * W;
    Slice s;
    s.first = first, s.rows = rows;
    // An odd number of cache lines a row: rows at a power of two would share the same few sets of the cache.
    constexpr int line = 64 / sizeof(T);
    s.stride = (blocks(D * q.hidden, line) | 1) * line;
    s.slot = size_t(rows) * s.stride;
    s.slots = std::clamp(kDepth / rows, 1, q.time);
    s.d = zeros<T>((s.slots + 1) * s.slot);
    s.dh = zeros<T>(size), s.dc = zeros<T>(size), s.direct = zeros<T>(size);
    copy_rows(static_cast<const T*>(grad.h_last), s, s.dh.get());
    copy_rows(static_cast<const T*>(grad.c_last), s, s.dc.get());
    s.weight_ih = zeros<T>(size_t(q.input) * columns), s.weight_hh = zeros<T>(size_t(q.hidden) * columns);
    s.p = zeros<T>(size_t(P) * units * W);
    return s;
  }

  // The slice's rows of (B, H) into rows of whole vectors, if there are any.
  void copy_rows(const T* from, const Slice& s, T* to) const {
    if (!from) return;
    for (int r = 0; r < s.rows; ++r)
      std::copy_n(from + size_t(s.first + r) * q.hidden, q.hidden, to + size_t(r) * units * W);
  }

  void run_slice(const Slice& s, Team& team) {
    const int begin_panel = block_begin(weight_hh.panels(), team.size, team.index);
    const int end_panel = block_begin(weight_hh.panels(), team.size, team.index + 1);
    const Buffer<T> dx(size_t(s.rows) * weight_ih.units * W);
    int slot = 0;  // that of time step t+1
    for (int t = q.time - 1; t >= 0; --t) {
      for (int panel = begin_panel; panel < end_panel; ++panel) {
        const int from = weight_hh.panel_begin(panel), to = weight_hh.panel_begin(panel + 1);
        if (t < q.time - 1)
          weight_hh.multiply_panel(panel, of_h(s, slot), s.rows, s.dh.get() + from * W, units * W,
                                   {Record::ahead(q, t + 1, s.first, s.rows, from, to), outputs_ahead(s, t, from, to)});
        for (int u = from; u < to; ++u) retreat(s, t, u, slot + 1);
      }
      ++slot;
      team.wait();
      if (slot < s.slots && t > 0) continue;
      add_weight_gradients(s, t, slot, team);
      if (grad.x) input_gradients(s, t, slot, dx.get(), team);
      if (team.index == 0) std::copy_n(s.d.get() + slot * s.slot, s.slot, s.d.get());
      slot = 0;
      team.wait();
    }
    for (int panel = begin_panel; panel < end_panel; ++panel) {
      const int from = weight_hh.panel_begin(panel), to = weight_hh.panel_begin(panel + 1);
      weight_hh.multiply_panel(panel, of_h(s, 0), s.rows, s.dh.get() + from * W, units * W);
      initial_state_gradients(s, from, to);
    }
  }

  // The share of unit vectors from … to of the outputs' gradients one step earlier.
  Range outputs_ahead(const Slice& s, int t, int from, int to) const {
    if (!grad.outputs || t == 0) return {};
    const T* row = static_cast<const T*>(grad.outputs) + (size_t(t - 1) * q.batch + s.first) * q.hidden;
    return Range{reinterpret_cast<const char*>(row), size_t(s.rows) * q.hidden * sizeof(T)}.part(from, to, units);
  }

  // The gate gradients of a slot that belong to U h, as a left operand.
  Left<T> of_h(const Slice& s, int slot) const {
    return {s.d.get() + slot * s.slot + size_t(D - G) * q.hidden, ptrdiff_t(s.stride), 0};
  }

  void initial_state_gradients(const Slice& s, int from, int to) {
    for (int u = from; u < to; ++u)
      for (int r = 0; r < s.rows; ++r) {
        const size_t to_h = size_t(s.first + r) * q.hidden + u * W, own = (size_t(r) * units + u) * W;
        const Vec<T> direct = Cell::has_direct ? load(s.direct.get() + own) : Vec<T>{};
        store(static_cast<T*>(grad.h_first) + to_h, load(s.dh.get() + own) + direct, q.hidden - u * W);
        if (Cell::has_cell_state) store(static_cast<T*>(grad.c_first) + to_h, load(s.dc.get() + own), q.hidden - u * W);
      }
  }

  // Time steps t … t+slots−1 lie in the slots, the earliest in the last. Threads divide the rows of the result.
  void add_weight_gradients(const Slice& s, int t, int slots, const Team& team) {
    const size_t row = size_t(t) * q.batch + s.first;
    const auto add = [&](const void* left, int size, int gradient, const Buffer<T>& sum) {
      const int from = block_begin(size, team.size, team.index), to = block_begin(size, team.size, team.index + 1);
      if (from == to) return;
      const Left<T> a{static_cast<const T*>(left) + row * size + from, size, ptrdiff_t(q.batch) * size, true};
      const T* earliest = s.d.get() + slots * s.slot + size_t(gradient) * q.hidden;
      const Right<T> b{earliest, ptrdiff_t(s.stride), -ptrdiff_t(s.slot)};
      multiply<T>({a, b, slots, s.rows, sum.get() + size_t(from) * columns, columns, true}, to - from, columns / W);
    };
    add(q.x, q.input, 0, s.weight_ih);
    add(q.h, q.hidden, D - G, s.weight_hh);
  }

  void input_gradients(const Slice& s, int t, int slots, T* dx, const Team& team) {
    const int width = weight_ih.units * W;
    for (int slot = slots - team.index; slot > 0; slot -= team.size) {
      const Left<T> d{s.d.get() + slot * s.slot, ptrdiff_t(s.stride), 0};
      for (int panel = 0; panel < weight_ih.panels(); ++panel)
        weight_ih.multiply_panel(panel, d, s.rows, dx + weight_ih.panel_begin(panel) * W, width);
      T* to = static_cast<T*>(grad.x) + (size_t(t + slots - slot) * q.batch + s.first) * q.input;
      for (int r = 0; r < s.rows; ++r) std::copy_n(dx + size_t(r) * width, q.input, to + size_t(r) * q.input);
    }
  }

  // Sums the slices' parts of the gradients into the results.
  void sum(const std::vector<Slice>& slices, const Team& team) {
    sum_transposed(slices, &Slice::weight_ih, q.input, static_cast<T*>(grad.weight_ih), Cell::order_x, team);
    sum_transposed(slices, &Slice::weight_hh, q.hidden, static_cast<T*>(grad.weight_hh), [](int g) { return g; }, team);
    for (int i = team.index; i < P; i += team.size)
      for (int j = 0; j < q.hidden; ++j) {
        T total = 0;
        for (const Slice& s : slices) total += s.p.get()[i * units * W + j];
        static_cast<T*>(grad.p)[i * q.hidden + j] = total;
      }
  }

  // (size, columns) of each slice → (gates·H, size), gates as the weights have them. Threads divide the columns.
  void sum_transposed(const std::vector<Slice>& slices, Buffer<T> Slice::* part, int size, T* result, int (*order)(int),
                      const Team& team) {
    for (int column = team.index * W; column < G * q.hidden; column += team.size * W)
      for (int row = 0; row < size; row += W) {
        Vec<T> square[W];
        for (int i = 0; i < W; ++i) {
          square[i] = Vec<T>{};
          if (row + i < size)
            for (const Slice& s : slices) square[i] += load((s.*part).get() + size_t(row + i) * columns + column);
        }
        transpose<T>(square);
        for (int i = 0; i < W && column + i < G * q.hidden; ++i) {
          const int gate = (column + i) / q.hidden, unit = (column + i) % q.hidden;
          store(result + (size_t(order(gate)) * q.hidden + unit) * size + row, square[i], size - row);
        }
      }
  }

  // As in forward.h.
  struct Unit {
    int lanes, h_step, d_step, own_step, p_step, gate_step;
    const T *p, *h_before, *h, *record_before, *record, *outputs;  // outputs is null if they have no gradient
    T *dh, *dc, *direct, *d;
  };

  // The point-wise part of one unit vector for all rows.
  void retreat(const Slice& s, int t, int u, int slot) {
    const size_t at_h = (size_t(t) * q.batch + s.first) * q.hidden + u * W;
    const T* outputs = static_cast<const T*>(grad.outputs);
    Unit at;
    at.lanes = q.hidden - u * W;
    at.p = p.get() + u * W, at.p_step = units * W;
    at.h_before = static_cast<const T*>(q.h) + at_h;
    at.h = at.h_before + size_t(q.batch) * q.hidden, at.h_step = q.hidden;
    at.record_before = Record::at(q, t, s.first, s.rows, u), at.record = Record::at(q, t + 1, s.first, s.rows, u);
    at.outputs = outputs ? outputs + at_h : nullptr;
    at.dh = s.dh.get() + u * W, at.dc = s.dc.get() + u * W, at.direct = s.direct.get() + u * W, at.own_step = units * W;
    at.d = s.d.get() + slot * s.slot + u * W, at.d_step = s.stride, at.gate_step = q.hidden;
    Vec<T> dp[P];
    for (int i = 0; i < P; ++i) dp[i] = load(s.p.get() + i * at.p_step + u * W);
    over_rows(s.rows, [at, &dp](int r, auto n) { retreat_rows<n>(at, r, dp); });
    for (int i = 0; i < P; ++i) store(s.p.get() + i * at.p_step + u * W, dp[i]);
  }

  // N rows from row r on.
  template <int N>
  NATIVE_INLINE static void retreat_rows(const Unit at, int r, Vec<T> (&dp)[P]) {
    Backward<Rows<T, N>, Cell> b;
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const ptrdiff_t row = r + n;
#pragma GCC unroll 8
      for (int i = 0; i < P; ++i) b.p[i].v[n] = load(at.p + i * at.p_step);
#pragma GCC unroll 8
      for (int i = 0; i < S; ++i) b.saved[i].v[n] = load(at.record + (row * Record::vectors + i) * W);
      b.h_before.v[n] = load(at.h_before + row * at.h_step, at.lanes);
      b.h.v[n] = load(at.h + row * at.h_step, at.lanes);
      b.dh.v[n] = load(at.dh + row * at.own_step);
      if constexpr (Cell::has_direct) b.dh.v[n] += load(at.direct + row * at.own_step);
      if (at.outputs) b.dh.v[n] += load(at.outputs + row * at.h_step, at.lanes);
      if constexpr (Cell::has_cell_state) {
        b.c_before.v[n] = load(at.record_before + (row * Record::vectors + S) * W);
        b.c.v[n] = load(at.record + (row * Record::vectors + S) * W);
        b.dc.v[n] = load(at.dc + row * at.own_step);
      }
    }
    Cell::backward(b);
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const ptrdiff_t row = r + n;
#pragma GCC unroll 8
      for (int i = 0; i < D; ++i) store(at.d + row * at.d_step + ptrdiff_t(i) * at.gate_step, b.d[i].v[n], at.lanes);
      if constexpr (Cell::has_cell_state) store(at.dc + row * at.own_step, b.dc.v[n]);
      if constexpr (Cell::has_direct) store(at.direct + row * at.own_step, b.direct.v[n]);
#pragma GCC unroll 8
      for (int i = 0; i < P; ++i) dp[i] += b.dp[i].v[n];
    }
  }
};

}  // namespace native
