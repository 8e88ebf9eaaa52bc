// The recurrence backward in time: gradients of the inputs, the initial states and all parameters.
//
// The gradients of the weights are summed over a few time steps at a time, while the gradients of the products are
// still in the cache; nothing of size T is kept for them.
#pragma once

#include <vector>

#include "engine.h"

namespace native {

template <class Cell, class T>
class BackwardPass {
  static constexpr int W = kLanes<T>, X = Cell::inputs, O = Cell::operands.size(), D = Cell::gradients;
  static constexpr int P = Cell::vectors, J = Cell::states.size(), C = Cell::back_carried;
  // Rows that a product for the weights' gradient should have at least; more where its sum, read and written by each of
  // them, is beyond the caches of a core.
  static constexpr int kDepth = 128, kFarDepth = 512;
  using Record = Records<Cell, T>;

 public:
  static void run(const Sequence& q, const Gradient& grad) { BackwardPass(q, grad).run(); }

 private:
  const Sequence q;
  const Gradient grad;
  const int units;
  const Buffer<T> p, memory;
  Packed<T> of_x, of_operand[O + 1];

  BackwardPass(const Sequence& q, const Gradient& grad)
      : q(q),
        grad(grad),
        units(unit_vectors<T>(q.hidden)),
        p(padded_vectors<Cell, T>(q)),
        memory(Packed<T>::size(X * q.hidden, input_units(), 1) +
               Packed<T>::size(q.hidden, units, Cell::gates.size())) {
    const int width = tile_width(blocks(q.batch, q.slices));
    of_x = {memory.get(), X * q.hidden, 1, width, {input_units(), width}};
    for (int o = 0; o < O; ++o) {
      T* data = memory.get() + Packed<T>::size(X * q.hidden, input_units(), 1) +
                Packed<T>::size(q.hidden, units, Cell::operands[o].gate);
      of_operand[o] = {data, Cell::operands[o].gates * q.hidden, 1, width, {units, width}};
    }
  }

  int input_units() const { return grad.x ? blocks(q.input, W) : 0; }

  void run() {
    std::vector<Slice> slices;
    for (int s = 0; s < q.slices; ++s)
      slices.push_back(make_slice(block_begin(q.batch, q.slices, s), block_begin(q.batch, q.slices, s + 1)));
    over_slices(q, [&](Team& team) { pack(team); }, [&](int s, int, int, Team& team) { run_slice(slices[s], team); });
    in_team(q.threads, [&](Team& team) { sum(slices, team); });
  }

  // Weights are (gates·H, columns) as they should be, but for the order of the gates.
  void pack(Team& team) {
    pack_rows(of_x, X, Cell::input_order.data(), Cell::input_gates.data(), q.input, team);
    for (int o = 0; o < O; ++o) {
      const Operand operand = Cell::operands[o];
      if (operand.cut) continue;
      pack_rows(of_operand[o], operand.gates, Cell::order.data() + operand.gate, Cell::gates.data() + operand.gate,
                q.hidden, team);
    }
  }

  void pack_rows(const Packed<T>& packed, int gates, const int* order, const Block* blocks, int size, Team& team) {
    for (int panel = team.index; panel < packed.panels.count(); panel += team.size)
      packed.pack_panel(panel, [&](int vector, int, T* to, ptrdiff_t step) {
        for (int g = 0; g < gates; ++g) {
          const T* from = block<T>(q.matrices, blocks[order[g]], q.hidden, size) + vector * W;
          for (int j = 0; j < q.hidden; ++j, to += step) store(to, load(from + size_t(j) * size, size - vector * W));
        }
      });
  }

  // What is worked on in a slice. The products' gradients of the last `slots` time steps lie in slots 1 …, the earliest
  // in the last of them; slot 0 has those of the time step after them.
  struct Slice {
    int first, rows, slots;
    size_t stride, slot;                    // from row to row, from slot to slot
    Buffer<T> d;                            // (slots + 1, rows, stride)
    std::vector<Buffer<T>> operand, direct;  // gradients of operands and of states, (rows, U·W)
    Buffer<T> carried;                      // (U, rows, carried, W)
    // This slice's part of the gradients, those of weights as transposes (I or H, columns); (vectors, U·W).
    Buffer<T> input;
    std::vector<Buffer<T>> weights;
    Buffer<T> p;
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
    const bool far = sizeof(T) * D * q.hidden * q.hidden > 8 * kL2Bytes;
    s.slots = std::clamp((far ? kFarDepth : kDepth) / rows, 1, q.time);
    s.d = zeros<T>((s.slots + 1) * s.slot);
    s.carried = Buffer<T>(size * C);
    for (int j = 0; j < J; ++j) s.direct.push_back(zeros<T>(Cell::states[j].direct_phase >= 0 ? size : 0));
    for (int o = 0; o < O; ++o) {
      s.operand.push_back(zeros<T>(Cell::operands[o].cut ? 0 : size));
      s.weights.push_back(zeros<T>(size_t(q.hidden) * columns(Cell::operands[o].gates)));
    }
    for (int j = 0; j < J; ++j) {
      const int o = operand_of(j);
      copy_rows(static_cast<const T*>(grad.last[j]), s, (o < 0 ? s.direct[j] : s.operand[o]).get());
    }
    s.input = zeros<T>(size_t(q.input) * columns(X));
    s.p = zeros<T>(size_t(P) * units * W);
    return s;
  }

  int columns(int gates) const { return round_up<T>(gates * q.hidden); }

  // Which operand state j is that has a gradient, −1 if none.
  static constexpr int operand_of(int j) {
    for (int o = 0; o < O; ++o)
      if (!Cell::operands[o].now && !Cell::operands[o].cut && Cell::operands[o].series == Cell::states[j].series) return o;
    return -1;
  }

  // The slice's rows of (B, H) into rows of whole vectors, if there are any.
  void copy_rows(const T* from, const Slice& s, T* to) const {
    if (!from) return;
    for (int r = 0; r < s.rows; ++r)
      std::copy_n(from + size_t(s.first + r) * q.hidden, q.hidden, to + size_t(r) * units * W);
  }

  void run_slice(const Slice& s, Team& team) {
    const Panels panels{units, tile_width(blocks(q.batch, q.slices))};
    const int begin_panel = block_begin(panels.count(), team.size, team.index);
    const int end_panel = block_begin(panels.count(), team.size, team.index + 1);
    const Buffer<T> dx(size_t(s.rows) * of_x.panels.units * W);
    int slot = 0;  // that of time step t+1
    for (int t = q.time - 1; t >= 0; --t) {
      for_each<Cell::back_phases>([&](auto phase) {
        for (int panel = begin_panel; panel < end_panel; ++panel) {
          const int from = panels.begin(panel), to = panels.begin(panel + 1);
          Ahead ahead{Record::ahead(q, t + 1, s.first, s.rows, from, to), outputs_ahead(s, t, from, to)};
          for (int o = 0; o < O; ++o) {
            const Operand operand = Cell::operands[o];
            if (operand.cut || operand.back_phase != phase || (!operand.now && t == q.time - 1)) continue;
            multiply_back(s, o, operand.now ? slot + 1 : slot, panel, ahead);
            ahead = {};
          }
          for (int u = from; u < to; ++u) retreat<phase>(s, t, u, slot + 1);
        }
        if (phase < Cell::back_phases - 1) team.wait();
      });
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
      for (int o = 0; o < O; ++o)
        if (!Cell::operands[o].now && !Cell::operands[o].cut) multiply_back(s, o, 0, panel, {});
      initial_state_gradients(s, panels.begin(panel), panels.begin(panel + 1));
    }
  }

  // The gradient of an operand from those of its products in a slot.
  void multiply_back(const Slice& s, int o, int slot, int panel, Ahead ahead) {
    const T* d = s.d.get() + slot * s.slot + size_t(Cell::operands[o].gradient) * q.hidden;
    T* to = s.operand[o].get() + of_operand[o].panels.begin(panel) * W;
    of_operand[o].multiply_panel(panel, {d, ptrdiff_t(s.stride), 0}, s.rows, to, units * W, ahead);
  }

  // The share of unit vectors from … to of the outputs' gradients one step earlier.
  Range outputs_ahead(const Slice& s, int t, int from, int to) const {
    if (!grad.outputs || t == 0) return {};
    const T* row = static_cast<const T*>(grad.outputs) + (size_t(t - 1) * q.batch + s.first) * q.hidden;
    return Range{reinterpret_cast<const char*>(row), size_t(s.rows) * q.hidden * sizeof(T)}.part(from, to, units);
  }

  void initial_state_gradients(const Slice& s, int from, int to) {
    for (int j = 0; j < J; ++j)
      for (int u = from; u < to; ++u)
        for (int r = 0; r < s.rows; ++r) {
          const size_t own = (size_t(r) * units + u) * W;
          Vec<T> total{};
          if (Cell::states[j].direct_phase >= 0) total += load(s.direct[j].get() + own);
          if (operand_of(j) >= 0) total += load(s.operand[operand_of(j)].get() + own);
          store(static_cast<T*>(grad.first[j]) + size_t(s.first + r) * q.hidden + u * W, total, q.hidden - u * W);
        }
  }

  // Time steps t … t+slots−1 lie in the slots, the earliest in the last. Threads divide the rows of the result.
  void add_weight_gradients(const Slice& s, int t, int slots, const Team& team) {
    const auto add = [&](const T* left, int size, int gradient, int gates, const Buffer<T>& sum) {
      const int from = block_begin(size, team.size, team.index), to = block_begin(size, team.size, team.index + 1);
      if (from == to) return;
      const Left<T> a{left + (size_t(t) * q.batch + s.first) * size + from, size, ptrdiff_t(q.batch) * size, true};
      const T* earliest = s.d.get() + slots * s.slot + size_t(gradient) * q.hidden;
      const Right<T> b{earliest, ptrdiff_t(s.stride), -ptrdiff_t(s.slot)};
      T* to_rows = sum.get() + size_t(from) * columns(gates);
      multiply<T>({a, b, slots, s.rows, to_rows, columns(gates), true}, to - from, columns(gates) / W);
    };
    add(static_cast<const T*>(q.x), q.input, Cell::input_gradient, X, s.input);
    for (int o = 0; o < O; ++o) {
      const Operand operand = Cell::operands[o];
      const T* left = static_cast<const T*>(q.series[operand.series]) + size_t(operand.now) * q.batch * q.hidden;
      add(left, q.hidden, operand.gradient, operand.gates, s.weights[o]);
    }
  }

  void input_gradients(const Slice& s, int t, int slots, T* dx, const Team& team) {
    const int width = of_x.panels.units * W;
    for (int slot = slots - team.index; slot > 0; slot -= team.size) {
      const Left<T> d{s.d.get() + slot * s.slot + size_t(Cell::input_gradient) * q.hidden, ptrdiff_t(s.stride), 0};
      for (int panel = 0; panel < of_x.panels.count(); ++panel)
        of_x.multiply_panel(panel, d, s.rows, dx + of_x.panels.begin(panel) * W, width);
      T* to = static_cast<T*>(grad.x) + (size_t(t + slots - slot) * q.batch + s.first) * q.input;
      for (int r = 0; r < s.rows; ++r) std::copy_n(dx + size_t(r) * width, q.input, to + size_t(r) * q.input);
    }
  }

  // Sums the slices' parts of the gradients into the results. Operands may share weights.
  void sum(const std::vector<Slice>& slices, Team& team) {
    add_transposed(slices, [](const Slice& s) { return s.input.get(); }, q.input, X, Cell::input_order.data(),
                   Cell::input_gates.data(), team);
    for (int o = 0; o < O; ++o) {
      const Operand operand = Cell::operands[o];
      team.wait();
      add_transposed(slices, [o](const Slice& s) { return s.weights[o].get(); }, q.hidden, operand.gates,
                     Cell::order.data() + operand.gate, Cell::gates.data() + operand.gate, team);
    }
    for (int unit = team.index; unit < q.hidden; unit += team.size)
      for (int i = 0; i < P; ++i) {
        T total = 0;
        for (const Slice& s : slices) total += s.p.get()[i * units * W + unit];
        of_block(grad.vectors, Cell::vector_blocks[i], 1)[unit] += total;
      }
  }

  T* of_block(void* const* tensors, Block at, int columns) const {
    return const_cast<T*>(block<T>(tensors, at, q.hidden, columns));
  }

  // (size, columns) of each slice → (gates·H, size), gates as the weights have them. Threads divide the units, so that
  // gates of the same weights do not meet.
  template <class Part>
  void add_transposed(const std::vector<Slice>& slices, Part part, int size, int gates, const int* order,
                      const Block* blocks, const Team& team) {
    for (int unit = team.index * W; unit < q.hidden; unit += team.size * W)
      for (int g = 0; g < gates; ++g) {
        T* result = of_block(grad.matrices, blocks[order[g]], size) + size_t(unit) * size;
        for (int row = 0; row < size; row += W) {
          Vec<T> square[W];
          for (int i = 0; i < W; ++i) {
            square[i] = Vec<T>{};
            if (row + i < size)
              for (const Slice& s : slices)
                square[i] += load(part(s) + size_t(row + i) * columns(gates) + g * q.hidden + unit);
          }
          transpose<T>(square);
          for (int i = 0; i < W && unit + i < q.hidden; ++i) {
            T* to = result + size_t(i) * size + row;
            store(to, load(to, size - row) + square[i], size - row);
          }
        }
      }
  }

  // As in forward.h.
  struct Unit {
    int lanes, h_step, d_step, own_step, p_step;
    const T *p, *before[Cell::series.size()], *series[Cell::series.size()], *record_before, *record;
    const T* outputs;  // null if they have no gradient
    const T* operand[O + 1];
    T *direct[J + 1], *carried, *d;
  };

  // The point-wise part of one unit vector for all rows.
  template <int phase>
  void retreat(const Slice& s, int t, int u, int slot) {
    Unit at;
    at.lanes = q.hidden - u * W, at.h_step = q.hidden;
    at.p = p.get() + u * W, at.p_step = at.own_step = units * W;
    for_each<Cell::series.size()>([&](auto i) {
      at.before[i] = series_at<Cell, T>(q, i, t, s.first) + u * W;
      at.series[i] = at.before[i] + size_t(q.batch) * q.hidden;
    });
    at.record_before = Record::at(q, t, s.first, s.rows, u), at.record = Record::at(q, t + 1, s.first, s.rows, u);
    const T* outputs = static_cast<const T*>(grad.outputs);
    at.outputs = outputs ? outputs + (size_t(t) * q.batch + s.first) * q.hidden + u * W : nullptr;
    for_each<O>([&](auto o) { at.operand[o] = s.operand[o].get() + u * W; });
    for_each<J>([&](auto j) { at.direct[j] = s.direct[j].get() + u * W; });
    at.carried = s.carried.get() + size_t(u) * s.rows * C * W;
    at.d = s.d.get() + slot * s.slot + u * W, at.d_step = s.stride;
    Vec<T> dp[P + 1];
    for_each<P>([&](auto i) {
      if constexpr (Cell::vector_phases[i] == phase) dp[i] = load(s.p.get() + i * at.p_step + u * W);
    });
    over_rows(s.rows, [at, hidden = q.hidden, &dp](int r, auto n) { retreat_rows<phase, n>(at, hidden, r, dp); });
    for_each<P>([&](auto i) {
      if constexpr (Cell::vector_phases[i] == phase) store(s.p.get() + i * at.p_step + u * W, dp[i]);
    });
  }

  // N rows from row r on.
  template <int phase, int N>
  NATIVE_INLINE static void retreat_rows(const Unit at, ptrdiff_t hidden, int r, Vec<T> (&dp)[P + 1]) {
    Backward<Rows<T, N>, Cell> b;
    for_each<N>([&](auto n) {
      const ptrdiff_t row = r + n;
      const T *before = at.record_before + row * Record::vectors * W, *now = at.record + row * Record::vectors * W;
      for_each<P>([&](auto i) { b.p[i].v[n] = load(at.p + i * at.p_step); });
      for_each<Cell::saved>([&](auto i) { b.saved[i].v[n] = load(now + i * W); });
      for_each<Cell::series.size()>([&](auto i) {
        b.series[i].v[n] = load(at.series[i] + row * at.h_step, at.lanes);
      });
      for_each<J>([&](auto j) {
        constexpr State state = Cell::states[j];
        if constexpr (state.series >= 0) {
          b.before[j].v[n] = load(at.before[state.series] + row * at.h_step, at.lanes);
        } else {
          b.before[j].v[n] = load(before + (Cell::saved + state.record) * W);
          b.after[j].v[n] = load(now + (Cell::saved + state.record) * W);
        }
        if constexpr (phase == 0) {
          constexpr int o = operand_of(j);
          if constexpr (o < 0) {
            b.d_state[j].v[n] = load(at.direct[j] + row * at.own_step);
          } else {
            b.d_state[j].v[n] = load(at.operand[o] + row * at.own_step);
            if constexpr (state.direct_phase >= 0) b.d_state[j].v[n] += load(at.direct[j] + row * at.own_step);
          }
        }
      });
      if constexpr (phase == 0)
        b.d_output.v[n] = at.outputs ? load(at.outputs + row * at.h_step, at.lanes) : Vec<T>{};
      for_each<O>([&](auto o) {
        if constexpr (Cell::operands[o].now && !Cell::operands[o].cut && Cell::operands[o].back_phase == phase)
          b.d_operand[o].v[n] = load(at.operand[o] + row * at.own_step);
      });
      for_each<C>([&](auto i) {
        if constexpr (Cell::back_carried_phases[i] < phase) b.carried[i].v[n] = load(at.carried + (row * C + i) * W);
      });
    });
    Cell::template backward<phase>(b);
    for_each<N>([&](auto n) {
      const ptrdiff_t row = r + n;
      for_each<D>([&](auto i) {
        if constexpr (Cell::gradient_phases[i] == phase)
          store(at.d + row * at.d_step + i * hidden, b.d[i].v[n], at.lanes);
      });
      for_each<J>([&](auto j) {
        if constexpr (Cell::states[j].direct_phase == phase)
          store(at.direct[j] + row * at.own_step, b.direct[j].v[n]);
      });
      for_each<C>([&](auto i) {
        if constexpr (Cell::back_carried_phases[i] == phase) store(at.carried + (row * C + i) * W, b.carried[i].v[n]);
      });
      for_each<P>([&](auto i) { if constexpr (Cell::vector_phases[i] == phase) dp[i] += b.dp[i].v[n]; });
    });
  }
};

}  // namespace native
