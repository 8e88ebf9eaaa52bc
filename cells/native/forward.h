// The recurrence forward in time.
//
// Small matrix products (matmul.h) alternate with the cell's point-wise part (cell.h), which works on what the
// product has just left in L1.
#pragma once

#include "engine.h"

namespace native {

template <class Cell, class T>
class ForwardPass {
  static constexpr int W = kLanes<T>, X = Cell::inputs, O = Cell::operands.size(), P = Cell::vectors;
  static constexpr int kChunkBytes = 256 * 1024;  // of L2, for the inputs' products of a few time steps
  static constexpr int kFewProducts = 3;
  using Record = Records<Cell, T>;

 public:
  static void run(const Sequence& q) { ForwardPass(q).run(); }

 private:
  const Sequence q;
  const bool few;   // products: too few to pay for packing the weights
  const int width;  // vectors of a tile
  const Panels panels;
  const Buffer<T> p, memory;
  Packed<T> of_x, of_operand[O + 1];

  explicit ForwardPass(const Sequence& q)
      : q(q),
        few(int64_t(q.time) * q.batch <= kFewProducts),
        width(tile_width(blocks(q.batch, q.slices))),
        panels{unit_vectors<T>(q.hidden), panel_units(width)},
        p(padded_vectors<Cell, T>(q)),
        memory(few ? 0 : Packed<T>::size(q.input, panels.units, X) +
                             Packed<T>::size(q.hidden, panels.units, Cell::gates.size())) {
    of_x = {memory.get(), q.input, X, width, panels};
    for (int o = 0; o < O; ++o) {
      T* data = memory.get() + Packed<T>::size(q.input, panels.units, X) +
                Packed<T>::size(q.hidden, panels.units, Cell::operands[o].gate);
      of_operand[o] = {data, q.hidden, Cell::operands[o].gates, width, panels};
    }
  }

  // The units of a panel: as few as make whole tiles.
  static int panel_units(int width) {
    const auto whole = [&](int units) {
      bool all = units * X % width == 0;
      for (const Operand& operand : Cell::operands) all &= units * operand.gates % width == 0;
      return all;
    };
    int units = 1;
    while (!whole(units)) ++units;
    return units;
  }

  void run() {
    over_slices(q, [&](Team& team) { if (!few) pack(team); },
                [&](int, int first, int last, Team& team) { run_slice(first, last - first, team); });
  }

  void pack(Team& team) {
    for (int panel = team.index; panel < panels.count(); panel += team.size) {
      pack_columns(of_x, panel, Cell::input_gates.data());
      for (int o = 0; o < O; ++o) pack_columns(of_operand[o], panel, Cell::gates.data() + Cell::operands[o].gate);
    }
  }

  // Weights are (gates·H, depth); a column of the packed matrix is W rows of one gate, side by side.
  void pack_columns(const Packed<T>& packed, int panel, const Block* gates) {
    packed.pack_panel(panel, [&](int unit, int gate, T* to, ptrdiff_t step) {
      const int lanes = q.hidden - unit * W;
      const T* from = block<T>(q.matrices, gates[gate], q.hidden, packed.depth) + size_t(unit) * W * packed.depth;
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
    const int begin_panel = block_begin(panels.count(), team.size, team.index);
    const int end_panel = block_begin(panels.count(), team.size, team.index + 1);
    const int begin_unit = panels.begin(begin_panel), width = (panels.begin(end_panel) - begin_unit) * X * W;
    const int64_t step_bytes = int64_t(rows) * std::max(width, 1) * sizeof(T);
    const int chunk = std::clamp<int64_t>(kChunkBytes / step_bytes, 1, q.time);
    const Buffer<T> wx(size_t(chunk) * rows * width);
    const Buffer<T> uh(size_t(rows) * panels.size * Cell::gates.size() * W);
    const T* x = static_cast<const T*>(q.x) + size_t(first) * q.input;
    exchange_states<true>(first, rows, begin_unit, panels.begin(end_panel));
    team.wait();
    for (int t0 = 0; t0 < q.time; t0 += chunk) {
      const int steps = std::min(chunk, q.time - t0);
      // Where the inputs' products of a panel lie.
      const auto share = [&](int step, int panel) {
        return wx.get() + (size_t(step) * width + size_t(panels.begin(panel) - begin_unit) * X * W) * rows;
      };
      for (int panel = begin_panel; panel < end_panel; ++panel)
        for (int s = 0; s < steps; ++s)
          multiply(of_x, Cell::input_gates.data(), panel, x + size_t(t0 + s) * q.batch * q.input, rows,
                   share(s, panel), {});
      for (int s = 0; s < steps; ++s)
        for_each<Cell::phases>([&](auto phase) {
          for (int panel = begin_panel; panel < end_panel; ++panel)
            run_panel<phase>(t0 + s, first, rows, panel, share(s, panel), uh.get());
          team.wait();
        });
    }
    exchange_states<false>(first, rows, begin_unit, panels.begin(end_panel));
  }

  template <int phase>
  void run_panel(int t, int first, int rows, int panel, const T* wx, T* uh) {
    const int from = panels.begin(panel), to = panels.begin(panel + 1);
    Ahead ahead{Record::ahead(q, t + 1, first, rows, from, to), {}};
    const T* products[O + 1];
    for_each<O>([&](auto o) {
      constexpr Operand operand = Cell::operands[o];
      if constexpr (operand.phase == phase) {
        multiply(of_operand[o], Cell::gates.data() + operand.gate, panel,
                 series_at<Cell, T>(q, operand.series, t + operand.now, first), rows, uh, ahead);
        products[o] = uh, uh += size_t(rows) * (to - from) * operand.gates * W, ahead = {};
      }
    });
    for (int u = from; u < to; ++u) {
      advance<phase>(t, first, rows, u, to - from, wx, products);
      wx += X * W;
      for_each<O>([&](auto o) { if (Cell::operands[o].phase == phase) products[o] += Cell::operands[o].gates * W; });
    }
  }

  // to (rows, the panel's units, gates, W) = a (rows, depth) · the panel.
  void multiply(const Packed<T>& packed, const Block* gates, int panel, const T* a, int rows, T* to, Ahead ahead) {
    const int depth = packed.depth, step = panels.width(panel) * packed.gates * W;
    if (!few) return packed.multiply_panel(panel, {a, depth, 0}, rows, to, step, ahead);
    for (int u = panels.begin(panel); u < panels.begin(panel + 1); ++u)
      for (int g = 0; g < packed.gates; ++g, to += W)
        for (int r = 0; r < rows; ++r) {
          const T* from = block<T>(q.matrices, gates[g], q.hidden, depth) + size_t(u) * W * depth;
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

  // Copies the states at time 0 to where they are kept, or those at time T out of there.
  template <bool in>
  void exchange_states(int first, int rows, int begin_unit, int end_unit) {
    for (size_t j = 0; j < Cell::states.size(); ++j)
      for (int u = begin_unit; u < end_unit; ++u)
        for (int r = 0; r < rows; ++r) {
          const State state = Cell::states[j];
          const int t = in ? 0 : q.time, lanes = q.hidden - u * W;
          const size_t own = size_t(first + r) * q.hidden + u * W;
          T* kept = state.series >= 0
                        ? series_at<Cell, T>(q, state.series, t, first + r) + u * W
                        : Record::at(q, t, first, rows, u) + (r * Record::vectors + Cell::saved + state.record) * W;
          if (in && state.series >= 0) store(kept, load(static_cast<const T*>(q.first[j]) + own, lanes), lanes);
          else if (in) store(kept, load(static_cast<const T*>(q.first[j]) + own, lanes));
          else store(static_cast<T*>(q.last[j]) + own, load(kept, lanes), lanes);
        }
  }

  // Where one unit vector finds its things: pointers for the first row, and steps from row to row. Passed by value:
  // the compiler must assume that a store changes whatever is read through a reference.
  struct Unit {
    int lanes, x_step, u_step, h_step, p_step;
    bool keep;
    const T *x, *p, *u[O + 1], *series_before[Cell::series.size()], *record_before;
    T *series[Cell::series.size()], *record;
  };

  // The point-wise part of one unit vector for all rows.
  template <int phase>
  void advance(int t, int first, int rows, int u, int panel_units, const T* wx, const T* const* products) {
    Unit at;
    at.lanes = q.hidden - u * W, at.keep = q.keep;
    at.x = wx, at.x_step = panel_units * X * W, at.u_step = panel_units * W;
    for_each<O>([&](auto o) { at.u[o] = products[o]; });
    at.p = p.get() + u * W, at.p_step = panels.units * W, at.h_step = q.hidden;
    for_each<Cell::series.size()>([&](auto i) {
      at.series_before[i] = series_at<Cell, T>(q, i, t, first) + u * W;
      at.series[i] = series_at<Cell, T>(q, i, t + 1, first) + u * W;
    });
    at.record_before = Record::at(q, t, first, rows, u), at.record = Record::at(q, t + 1, first, rows, u);
    over_rows(rows, [at](int r, auto n) { advance_rows<phase, n>(at, r); });
  }

  // N rows from row r on. What nobody reads of what is loaded here is not loaded in truth.
  template <int phase, int N>
  NATIVE_INLINE static void advance_rows(const Unit at, int r) {
    Forward<Rows<T, N>, Cell> s;
    for_each<N>([&](auto n) {
      const ptrdiff_t row = r + n;
      const T *before = at.record_before + row * Record::vectors * W, *now = at.record + row * Record::vectors * W;
      for_each<P>([&](auto i) { s.p[i].v[n] = load(at.p + i * at.p_step); });
      for_each<X>([&](auto g) { s.x[g].v[n] = load(at.x + row * at.x_step + g * W); });
      for_each<O>([&](auto o) {
        constexpr int gates = Cell::operands[o].gates, first = Cell::operands[o].gate;
        if constexpr (Cell::operands[o].phase == phase)
          for_each<gates>([&](auto g) { s.u[first + g].v[n] = load(at.u[o] + row * at.u_step * gates + g * W); });
      });
      for_each<Cell::states.size()>([&](auto j) {
        constexpr State state = Cell::states[j];
        if constexpr (state.series >= 0)
          s.before[j].v[n] = load(at.series_before[state.series] + row * at.h_step, at.lanes);
        else s.before[j].v[n] = load(before + (Cell::saved + state.record) * W);
      });
      for_each<Cell::series.size()>([&](auto i) {
        if constexpr (Cell::series[i].phase < phase)
          s.series[i].v[n] = load(at.series[i] + row * at.h_step, at.lanes);
      });
      for_each<Cell::saved>([&](auto i) {
        if constexpr (Cell::saved_phases[i] < phase) s.saved[i].v[n] = load(now + i * W);
      });
    });
    Cell::template forward<phase>(s);
    for_each<N>([&](auto n) {
      const ptrdiff_t row = r + n;
      T* now = at.record + row * Record::vectors * W;
      for_each<Cell::series.size()>([&](auto i) {
        if constexpr (Cell::series[i].phase == phase)
          store(at.series[i] + row * at.h_step, s.series[i].v[n], at.lanes);
      });
      for_each<Cell::states.size()>([&](auto j) {
        constexpr State state = Cell::states[j];
        if constexpr (state.series < 0 && state.phase == phase)
          store(now + (Cell::saved + state.record) * W, s.after[j].v[n]);
      });
    });
    for_each<Cell::saved>([&](auto i) {
      if constexpr (Cell::saved_phases[i] == phase)
        if (at.keep || i >= Cell::saved - Cell::carried)
          for_each<N>([&](auto n) { store(at.record + ((r + n) * Record::vectors + i) * W, s.saved[i].v[n]); });
    });
  }
};

}  // namespace native
