// The two operators that Python calls, recurrent_bench::forward and ::backward: shapes, memory, dispatch by
// cell and dtype. Arguments are checked by cells/native/__init__.py; what it passes is contiguous and of one dtype.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include <map>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#include "engine.h"

namespace native {

namespace {

std::map<std::string, Kernel>& kernels() {
  static std::map<std::string, Kernel> all;
  return all;
}

bool forked = false;

#if defined(__unix__) || defined(__APPLE__)
const int watch_forks = pthread_atfork(nullptr, nullptr, [] { forked = true; });
#endif

}  // namespace

void add_kernel(const std::string& name, const Kernel& kernel) { kernels()[name] = kernel; }

const Kernel& find_kernel(const std::string& name) {
  const auto found = kernels().find(name);
  TORCH_CHECK(found != kernels().end(), "no native kernel for a cell named ", name);
  return found->second;
}

int threads() { return forked || at::in_parallel_region() ? 1 : at::get_num_threads(); }

namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

const void* data_of(const OptionalTensor& tensor) { return tensor ? tensor->const_data_ptr() : nullptr; }

int padded(const Tensor& like, int64_t hidden) {
  return like.scalar_type() == at::kFloat ? round_up<float>(hidden) : round_up<double>(hidden);
}

Sequence describe(const Tensor& x, const Tensor& weight_ih, const Tensor& weight_hh, const Tensor& p, const Tensor& h,
                  const Tensor& c, const Tensor& saved, bool keep) {
  return {int(x.size(0)), int(x.size(1)), int(x.size(2)), int(weight_hh.size(1)),
          x.const_data_ptr(), weight_ih.const_data_ptr(), weight_hh.const_data_ptr(), p.const_data_ptr(),
          h.data_ptr(), c.defined() ? c.data_ptr() : nullptr, saved.defined() ? saved.data_ptr() : nullptr, keep};
}

// Returns h (T+1, B, H) with the initial state in front; and, for backward, c (T+1, B, H padded) and what the cell
// saved, (T, B, …). Without `keep`, c is only the last, (1, B, H padded), and nothing is saved.
std::tuple<Tensor, Tensor, Tensor> forward(const std::string& cell, const Tensor& x, const Tensor& weight_ih,
                                           const Tensor& weight_hh, const Tensor& p, const Tensor& h_first,
                                           const OptionalTensor& c_first, bool keep) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  const Kernel& kernel = find_kernel(cell);
  const int64_t time = x.size(0), batch = x.size(1), hidden = weight_hh.size(1), width = padded(x, hidden);
  const Tensor h = at::empty({time + 1, batch, hidden}, x.options());
  h.select(0, 0).copy_(h_first);
  Tensor c = at::empty({0}, x.options()), saved = c;
  if (kernel.has_cell_state) {
    c = at::empty({keep ? time + 1 : 1, batch, width}, x.options());
    const Tensor first = c.select(0, 0);
    first.narrow(1, 0, hidden).copy_(*c_first);
    if (width > hidden) first.narrow(1, hidden, width - hidden).zero_();
  }
  if (keep && kernel.saved > 0) saved = at::empty({time, batch, width * kernel.saved}, x.options());
  const Sequence sequence = describe(x, weight_ih, weight_hh, p, h, c, saved, keep);
  (x.scalar_type() == at::kFloat ? kernel.forward_float : kernel.forward_double)(sequence);
  return {h, c, saved};
}

// Sums the slices' (slices, rows, columns) and returns the gradient of weights (gates·H, rows), whose g-th block of
// H columns is of gate order(g).
Tensor weight_gradient(const Tensor& parts, int gates, int64_t hidden, int (*order)(int)) {
  const Tensor total = parts.size(0) == 1 ? parts[0] : parts.sum(0);
  const Tensor result = at::empty({gates * hidden, total.size(0)}, total.options());
  for (int g = 0; g < gates; ++g)
    result.narrow(0, order(g) * hidden, hidden).copy_(total.narrow(1, g * hidden, hidden).t());
  return result;
}

// Returns the gradients of x (empty unless asked for), weight_ih, weight_hh, p, h_first and c_first.
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> backward(
    const std::string& cell, const Tensor& x, const Tensor& weight_ih, const Tensor& weight_hh, const Tensor& p,
    const Tensor& h, const Tensor& c, const Tensor& saved, const OptionalTensor& grad_outputs,
    const OptionalTensor& grad_h, const OptionalTensor& grad_c, bool of_x) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  const Kernel& kernel = find_kernel(cell);
  const int64_t batch = x.size(1), input = x.size(2), hidden = weight_hh.size(1);
  const int64_t columns = padded(x, kernel.gates * hidden), slices = slice_count(batch);
  const auto options = x.options();
  const Tensor grad_x = of_x ? at::empty_like(x) : at::empty({0}, options);
  const Tensor grad_ih = at::empty({slices, input, columns}, options);
  const Tensor grad_hh = at::empty({slices, hidden, columns}, options);
  const Tensor grad_p = at::empty({slices, kernel.vectors, padded(x, hidden)}, options);
  const Tensor grad_h_first = at::empty({batch, hidden}, options);
  const Tensor grad_c_first = at::empty({kernel.has_cell_state ? batch : 0, hidden}, options);
  const Sequence sequence = describe(x, weight_ih, weight_hh, p, h, c, saved, true);
  const Gradient gradient{data_of(grad_outputs), data_of(grad_h), data_of(grad_c), of_x ? grad_x.data_ptr() : nullptr,
                          grad_h_first.data_ptr(), grad_c_first.data_ptr(), int(slices), grad_ih.data_ptr(),
                          grad_hh.data_ptr(), grad_p.data_ptr()};
  (x.scalar_type() == at::kFloat ? kernel.backward_float : kernel.backward_double)(sequence, gradient);
  const auto in_order = [](int gate) { return gate; };
  return {grad_x, weight_gradient(grad_ih, kernel.gates, hidden, kernel.order_x),
          weight_gradient(grad_hh, kernel.gates, hidden, in_order), grad_p.sum(0).narrow(1, 0, hidden).contiguous(),
          grad_h_first, grad_c_first};
}

}  // namespace

}  // namespace native

TORCH_LIBRARY(recurrent_bench, library) {
  library.def(
      "forward(str cell, Tensor x, Tensor weight_ih, Tensor weight_hh, Tensor p, Tensor h_first, Tensor? c_first, "
      "bool keep) -> (Tensor h, Tensor c, Tensor saved)");
  library.def(
      "backward(str cell, Tensor x, Tensor weight_ih, Tensor weight_hh, Tensor p, Tensor h, Tensor c, Tensor saved, "
      "Tensor? grad_outputs, Tensor? grad_h, Tensor? grad_c, bool of_x) -> (Tensor x, Tensor weight_ih, "
      "Tensor weight_hh, Tensor p, Tensor h_first, Tensor c_first)");
}

TORCH_LIBRARY_IMPL(recurrent_bench, CPU, library) {
  library.impl("forward", native::forward);
  library.impl("backward", native::backward);
}
