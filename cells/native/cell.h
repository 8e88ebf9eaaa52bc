// What a cell is to the engine: some sizes, and the point-wise part of one time step, forward and backward.
//
// Everything here is for one row of the batch and one vector of hidden units. A cell adds no loops and no
// memory; it is a struct like the one in lstm.cpp, registered under its name at the end of its file:
//
//   static constexpr int gates;      // rows of the weights over H
//   static constexpr int saved;      // values a unit that forward keeps for backward, 0 if none
//   static constexpr int gradients;  // distinct gate gradients, see Backward
//   static constexpr int vectors;    // parameters a unit beside the weights: biases, peepholes
//   static constexpr bool has_cell_state;
//   static constexpr bool has_direct;  // whether h(t−1) reaches h(t) other than through weight_hh
//   static constexpr int order_x(int g);  // which gate, in the weights' order, the g-th gradient is of
//   template <class V> static void forward(Forward<V, Cell>& s);
//   template <class V> static void backward(Backward<V, Cell>& s);
#pragma once

#include <string>

#include "vector.h"

namespace native {

template <class V, class Cell>
struct Forward {
  V wx[Cell::gates];     // in: W x(t), without bias
  V uh[Cell::gates];     // in: U h(t−1), without bias
  V p[Cell::vectors];    // in: the unit's other parameters
  V h, c;                // in: h(t−1), c(t−1); out: h(t), c(t)
  V saved[Cell::saved + 1];  // out (one more, since C++ has no empty arrays)
};

template <class V, class Cell>
struct Backward {
  V p[Cell::vectors];
  V saved[Cell::saved + 1];
  V h_before, h;         // h(t−1), h(t)
  V c_before, c;         // c(t−1), c(t)
  V dh;                  // in: gradient of h(t), all of it
  V dc;                  // in: gradient of c(t) from t+1; out: of c(t−1)
  V direct;              // out, if has_direct: gradient of h(t−1) that does not pass through weight_hh
  // out: gradients of the gates before their nonlinearity. The first `gates` of them belong to W x(t), in the
  // order order_x, the last `gates` to U h(t−1), in the weights' order. Where the two are the same things,
  // gradients = gates; a gate whose two parts have gradients of their own (the GRU's n) has one at each end.
  V d[Cell::gradients];
  V dp[Cell::vectors];   // out: gradients of p
};

// The engine's entry points for one cell, found by the cell's name.
struct Sequence;
struct Gradient;

struct Kernel {
  int gates, vectors, record;  // record: values a unit that forward keeps for each time step
  bool has_cell_state;
  void (*forward_float)(const Sequence&);
  void (*forward_double)(const Sequence&);
  void (*backward_float)(const Sequence&, const Gradient&);
  void (*backward_double)(const Sequence&, const Gradient&);
};

const Kernel& find_kernel(const std::string& name);
void add_kernel(const std::string& name, const Kernel& kernel);

}  // namespace native
