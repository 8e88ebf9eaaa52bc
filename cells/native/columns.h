// What goes over the numbers of a step, one beside the other in a row, does so by columns and in one of several types.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <complex>
#include <string>

#include "threads.h"

namespace native {

// Calls work(from, to) for the columns of a row, divided among threads.
template <class T, class Work>
void by_columns(int64_t columns, Work work) {
  constexpr int64_t line = 64 / sizeof(T);
  const int64_t lines = (columns + line - 1) / line;
  in_team(int(std::min<int64_t>(threads(), lines)), [&](Team& team) {
    work(line * (lines * team.index / team.size), std::min(columns, line * (lines * (team.index + 1) / team.size)));
  });
}

// Calls work(0 of the tensor's type), a real one or, if Complex, a complex one.
template <bool Complex, class Work>
void by_type(const at::Tensor& like, Work work) {
  const at::ScalarType type = like.scalar_type();
  if (type == at::kFloat) return work(float());
  if (type == at::kDouble) return work(double());
  if constexpr (Complex) {
    if (type == at::kComplexFloat) return work(std::complex<float>());
    if (type == at::kComplexDouble) return work(std::complex<double>());
  }
  TORCH_CHECK_TYPE(false, std::string("no native kernel for ") + c10::toString(type));
}

}  // namespace native
