// What a cell is to the engine: some tables, and the point-wise part of one time step, forward and backward.
//
// cells/compiler generates such a struct from a cell's equations; `python -m cells compile lstm` prints one.
// Everything in it is H wide, for one row of the batch and one vector of hidden units: it has no loops, no memory.
//
// A step runs in phases. Each multiplies operands by weights and then computes what needs these products. Most
// cells have one phase. A cell that multiplies a value of the same step, such as r ⊙ h(t−1), has more, because such
// a product needs the whole row of units. Backward runs in phases of its own.
#pragma once

#include <array>
#include <cstddef>

#include "vector.h"

namespace native {

// H rows of a matrix, or H elements of a vector, among the parameters: which tensor, which block of it.
struct Block {
  int tensor, index;
};

// Values (T+1, B, H) that are multiplied or returned. Step t computes those at t+1; at 0 is a state's initial value.
struct Series {
  int state;  // whose values they are, −1 if of none
  int phase;  // that computes them
};

// What is multiplied by weights: a series at t, as step t−1 left it, or at t+1.
struct Operand {
  int series;
  bool now;        // at t+1
  bool cut;        // only its weights have gradients from its products
  int phase;       // that multiplies it
  int back_phase;  // that needs its gradient; 0 unless `now` and not `cut`
  int gates;       // H-wide products of it
  int gate;        // index of the first in Cell::gates and Forward::u
  int gradient;    // index of the first of their gradients in Backward::d, where they lie side by side
};

struct State {
  int series;        // index of the series that has its values, −1 if they are in the records
  int record;        // index in a record, after what is saved, −1 if they are in a series
  int phase;         // that computes its new value
  int direct_phase;  // of backward, that computes Backward::direct; −1 if there is none
};

// The tables of a struct Cell, all static constexpr:
//   int inputs, vectors          H-wide products of x(t), at least 1; parameters a unit, such as biases
//   int phases, back_phases
//   int saved, carried           values that a record keeps, of which later phases of the step read the last `carried`
//   int gradients                distinct gradients of products
//   int back_carried             values that phases of backward hand to later ones
//   int output                   index in `series`
//   int input_gradient           as Operand::gradient
//   std::array<Block, …> input_gates, gates, vector_blocks
//   std::array<int, …> input_order, order   which product of its operand each gradient is of, from its first on
//   std::array<…> series, operands, states
//   std::array<int, …> saved_phases, gradient_phases, back_carried_phases, vector_phases   that compute each
// and its functions: template <int phase, class V> static void forward(Forward<V, Cell>&), backward(Backward<V, Cell>&)

// One element more where there may be none, since C++ has no empty arrays.
template <class V, class Cell>
struct Forward {
  V x[Cell::inputs];                  // in: the products of x(t)
  V u[Cell::gates.size() + 1];        // in: those of the operands
  V p[Cell::vectors + 1];             // in: the unit's parameters
  V before[Cell::states.size() + 1];  // in: states at t−1
  V after[Cell::states.size() + 1];   // out: states at t that are kept in records
  V series[Cell::series.size()];      // out; in, from earlier phases
  V saved[Cell::saved + 1];           // out; in, from earlier phases
};

template <class V, class Cell>
struct Backward {
  V p[Cell::vectors + 1];
  V before[Cell::states.size() + 1];
  V after[Cell::states.size() + 1];
  V series[Cell::series.size()];
  V saved[Cell::saved + 1];
  V d_output;                              // in phase 0: gradient of the output
  V d_state[Cell::states.size() + 1];      // in phase 0: gradients of states at t, from t+1
  V d_operand[Cell::operands.size() + 1];  // in its phase: gradient of an operand of this step that is not cut
  V carried[Cell::back_carried + 1];       // out; in, from earlier phases
  V d[Cell::gradients + 1];                // out: gradients of products
  V direct[Cell::states.size() + 1];       // out: gradients of states at t−1 that do not pass through products
  V dp[Cell::vectors + 1];                 // out: gradients of p
};

// A cell's sizes and entry points, found by the name of its kernel.
struct Sequence;
struct Gradient;

struct Kernel {
  int record;                           // values a unit that are kept for each time step
  int matrices, vectors;                // tensors of parameters
  int states, series, output;           // output: which series
  int inputs, operand_gates, vector_count;
  const Block *input_gates, *gates, *vector_blocks;
  void (*forward[2])(const Sequence&);  // float, double
  void (*backward[2])(const Sequence&, const Gradient&);
};

void add_kernel(const char* name, const Kernel& kernel);

}  // namespace native
