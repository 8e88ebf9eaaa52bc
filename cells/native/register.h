// How a cell's file makes its kernel known: `static const Register<Cell> cell("its kernel's name");`
#pragma once

#include "backward.h"
#include "forward.h"

namespace native {

template <class Cell>
struct Register {
  explicit Register(const char* name) {
    add_kernel(name, {Records<Cell, float>::vectors, tensors(Cell::input_gates, Cell::gates),
                      tensors(Cell::vector_blocks), int(Cell::states.size()), int(Cell::series.size()), Cell::output,
                      Cell::inputs, int(Cell::gates.size()), Cell::vectors,
                      Cell::input_gates.data(), Cell::gates.data(), Cell::vector_blocks.data(),
                      {ForwardPass<Cell, float>::run, ForwardPass<Cell, double>::run},
                      {BackwardPass<Cell, float>::run, BackwardPass<Cell, double>::run}});
  }

 private:
  template <class... Blocks>
  static int tensors(const Blocks&... tables) {
    int count = 0;
    const auto seen = [&](Block block) { count = std::max(count, block.tensor + 1); };
    (std::for_each(tables.begin(), tables.end(), seen), ...);
    return count;
  }
};

}  // namespace native
