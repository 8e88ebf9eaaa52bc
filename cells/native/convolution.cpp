// Causal convolutions of each channel by itself, along the steps of a sequence: y_t = b + Σ_k w_k ⊙ x_{t+k}, where the
// first K − 1 of x came before the sequence.
#include <ATen/ATen.h>
#include <torch/library.h>

#include <algorithm>

#include "columns.h"

namespace native {

namespace {

using at::Tensor;

// x (T + K − 1, B, E), w (K, E), b (E), contiguous and of one dtype. Returns y (T, B, E).
Tensor convolve(const Tensor& x, const Tensor& w, const Tensor& b) {
  const int64_t filter = w.size(0), time = x.size(0) - filter + 1, batch = x.size(1), channels = x.size(2);
  const Tensor y = at::empty({time, batch, channels}, x.options());
  by_type<false>(x, [&](auto zero) {
    using T = decltype(zero);
    const T *weights = w.const_data_ptr<T>(), *bias = b.const_data_ptr<T>();
    by_columns<T>(channels, [&](int64_t from, int64_t to) {
      for (int64_t row = 0; row < time * batch; ++row) {
        T* out = y.data_ptr<T>() + row * channels;
        std::copy(bias + from, bias + to, out + from);
        for (int64_t k = 0; k < filter; ++k) {
          const T *in = x.const_data_ptr<T>() + (row + k * batch) * channels, *weight = weights + k * channels;
#pragma GCC ivdep
          for (int64_t e = from; e < to; ++e) out[e] += weight[e] * in[e];
        }
      }
    });
  });
  return y;
}

// Returns the gradients of x, w and b, given that of y. A thread has all of what belongs to its channels, so that no two
// add to the same gradient of a weight.
std::tuple<Tensor, Tensor, Tensor> convolve_backward(const Tensor& x, const Tensor& w, const Tensor& of_y) {
  const int64_t filter = w.size(0), time = of_y.size(0), batch = x.size(1), channels = x.size(2);
  const Tensor of_x = at::zeros_like(x), of_w = at::zeros_like(w), of_b = at::zeros({channels}, w.options());
  by_type<false>(x, [&](auto zero) {
    using T = decltype(zero);
    by_columns<T>(channels, [&](int64_t from, int64_t to) {
      for (int64_t row = 0; row < time * batch; ++row) {
        const T* g = of_y.const_data_ptr<T>() + row * channels;
        T* bias = of_b.data_ptr<T>();
#pragma GCC ivdep
        for (int64_t e = from; e < to; ++e) bias[e] += g[e];
        for (int64_t k = 0; k < filter; ++k) {
          const int64_t at = (row + k * batch) * channels;
          const T *in = x.const_data_ptr<T>() + at, *weight = w.const_data_ptr<T>() + k * channels;
          T *of_in = of_x.data_ptr<T>() + at, *of_weight = of_w.data_ptr<T>() + k * channels;
#pragma GCC ivdep
          for (int64_t e = from; e < to; ++e) of_in[e] += weight[e] * g[e], of_weight[e] += in[e] * g[e];
        }
      }
    });
  });
  return {of_x, of_w, of_b};
}

}  // namespace

}  // namespace native

TORCH_LIBRARY_FRAGMENT(recurrent_bench, library) {
  library.def("convolve(Tensor x, Tensor w, Tensor b) -> Tensor");
  library.def("convolve_backward(Tensor x, Tensor w, Tensor of_y) -> (Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(recurrent_bench, CPU, library) {
  library.impl("convolve", native::convolve);
  library.impl("convolve_backward", native::convolve_backward);
}
