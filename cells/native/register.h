// How a cell's file makes its kernels known: `static const Register<LSTM> lstm("lstm");`
#pragma once

#include "backward.h"
#include "forward.h"

namespace native {

template <class Cell>
struct Register {
  explicit Register(const char* name) {
    add_kernel(name, {Cell::gates, Cell::vectors, Records<Cell, float>::vectors, Cell::has_cell_state,
                      ForwardPass<Cell, float>::run, ForwardPass<Cell, double>::run, BackwardPass<Cell, float>::run,
                      BackwardPass<Cell, double>::run});
  }
};

}  // namespace native
