// The two operators that Python calls, recurrent_bench::forward and ::backward: checks, memory, and dispatch by cell
// and dtype. Backward is given what forward returned, and checks nothing.
#include <ATen/ATen.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include <map>
#include <string>

#include "engine.h"

namespace native {

namespace {

std::map<std::string, Kernel>& kernels() {
  static std::map<std::string, Kernel> all;
  return all;
}

}  // namespace

void add_kernel(const std::string& name, const Kernel& kernel) { kernels()[name] = kernel; }

const Kernel& find_kernel(const std::string& name) {
  const auto found = kernels().find(name);
  TORCH_CHECK(found != kernels().end(), "no native kernel for a cell named " + name);
  return found->second;
}

namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

constexpr int64_t kFewRows = 16;           // for a thread
constexpr int64_t kManyBytes = 384 << 10;  // of weights

const void* data_of(const OptionalTensor& tensor) { return tensor ? tensor->const_data_ptr() : nullptr; }

OptionalTensor contiguous(const OptionalTensor& tensor) {
  return tensor ? OptionalTensor(tensor->contiguous()) : tensor;
}

// Messages are joined from strings: given anything else, TORCH_CHECK writes to a stream, which is broken where the
// compiler links the C++ library statically, beside torch's own.
std::string shape(at::IntArrayRef sizes) {
  std::string joined;
  for (const int64_t size : sizes) joined += (joined.empty() ? "" : ", ") + std::to_string(size);
  return "(" + joined + ")";
}

void check_dtypes(const Tensor& x, std::initializer_list<OptionalTensor> others) {
  const std::string dtype = c10::toString(x.scalar_type());
  TORCH_CHECK_TYPE(x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble,
                   "inputs must be float32 or float64, not " + dtype);
  for (const OptionalTensor& other : others)
    TORCH_CHECK_TYPE(!other || other->scalar_type() == x.scalar_type(),
                     "inputs, state and parameters must be of one dtype, not " + dtype + " and " +
                         c10::toString(other->scalar_type()));
}

int padded(const Tensor& like, int64_t hidden) {
  return like.scalar_type() == at::kFloat ? round_up<float>(hidden) : round_up<double>(hidden);
}

void check_shapes(const Kernel& kernel, const Tensor& x, const Tensor& weight_ih, const Tensor& weight_hh,
                  const Tensor& p, const Tensor& h_first, const OptionalTensor& c_first) {
  TORCH_CHECK_VALUE(x.dim() == 3 && x.size(0) > 0 && x.size(1) > 0,
                    "inputs must be (T, B, I), T and B at least 1, not " + shape(x.sizes()));
  const int64_t batch = x.size(1), input = x.size(2), hidden = weight_hh.size(-1), rows = kernel.gates * hidden;
  TORCH_CHECK_VALUE(weight_ih.sizes() == at::IntArrayRef({rows, input}),
                    "inputs of " + std::to_string(input) + " features do not fit weights " + shape(weight_ih.sizes()));
  TORCH_CHECK_VALUE(weight_hh.sizes() == at::IntArrayRef({rows, hidden}) && p.numel() == kernel.vectors * hidden,
                    "weights " + shape(weight_hh.sizes()) + " and vectors " + shape(p.sizes()) +
                        " do not fit each other");
  TORCH_CHECK_VALUE(c_first.has_value() == kernel.has_cell_state, "the state must be (h, c) if the cell has c, else h");
  for (const OptionalTensor& state : {OptionalTensor(h_first), c_first})
    TORCH_CHECK_VALUE(!state || state->sizes() == at::IntArrayRef({batch, hidden}),
                      "state must be " + shape({batch, hidden}) + ", not " + shape(state->sizes()));
}

// How many slices to cut the batch into: one for each thread, unless rows are so few that reading the weights takes
// longer than computing with them, and the weights too many for the cache of one core. Then the threads share one.
int64_t slice_count(int64_t batch, int64_t weight_bytes) {
  const int64_t most = threads();
  const bool share = batch < most || (batch < kFewRows * most && weight_bytes > kManyBytes);
  return share ? 1 : most;
}

Sequence describe(const Tensor& x, const Tensor& weight_ih, const Tensor& weight_hh, const Tensor& p, const Tensor& h,
                  const Tensor& records, int64_t slices, bool keep) {
  Sequence q{};
  q.time = x.size(0), q.batch = x.size(1), q.input = x.size(2), q.hidden = weight_hh.size(1);
  q.slices = slices, q.threads = threads(), q.keep = keep;
  q.x = x.const_data_ptr(), q.weight_ih = weight_ih.const_data_ptr(), q.weight_hh = weight_hh.const_data_ptr();
  q.p = p.const_data_ptr(), q.h = h.data_ptr(), q.records = records.data_ptr();
  return q;
}

// Returns h (T+1, B, H) with the initial state in front and c(T) (B, H); and for backward the engine's records and
// the number of slices. Without `keep`, these two are of no use.
std::tuple<Tensor, Tensor, Tensor, int64_t> forward(const std::string& cell, const Tensor& any_x, const Tensor& any_ih,
                                                    const Tensor& any_hh, const Tensor& any_p, const Tensor& h_first,
                                                    const OptionalTensor& any_c_first, bool keep) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  check_dtypes(any_x, {any_ih, any_hh, any_p, h_first, any_c_first});
  const Tensor x = any_x.contiguous(), weight_ih = any_ih.contiguous(), weight_hh = any_hh.contiguous();
  const Tensor p = any_p.contiguous();
  const OptionalTensor c_first = contiguous(any_c_first);
  const Kernel& kernel = find_kernel(cell);
  check_shapes(kernel, x, weight_ih, weight_hh, p, h_first, c_first);
  const int64_t time = x.size(0), batch = x.size(1), hidden = weight_hh.size(1);
  const int64_t slices = slice_count(batch, kernel.gates * hidden * (hidden + x.size(2)) * x.element_size());
  const Tensor h = at::empty({time + 1, batch, hidden}, x.options());
  h.select(0, 0).copy_(h_first);
  const int64_t steps = keep ? time + 1 : kernel.has_cell_state;
  const Tensor records = at::empty({steps, batch, padded(x, hidden) * kernel.record}, x.options());
  const Tensor c_last = at::empty({kernel.has_cell_state ? batch : 0, hidden}, x.options());
  Sequence sequence = describe(x, weight_ih, weight_hh, p, h, records, slices, keep);
  sequence.c_first = data_of(c_first), sequence.c_last = c_last.data_ptr();
  (x.scalar_type() == at::kFloat ? kernel.forward_float : kernel.forward_double)(sequence);
  return {h, c_last, records, slices};
}

// Returns the gradients of x (empty unless asked for), weight_ih, weight_hh, p, h_first and c_first.
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> backward(
    const std::string& cell, const Tensor& any_x, const Tensor& any_ih, const Tensor& any_hh, const Tensor& any_p,
    const Tensor& h, const Tensor& records, int64_t slices, const OptionalTensor& any_grad_outputs,
    const OptionalTensor& any_grad_h, const OptionalTensor& any_grad_c, bool of_x) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  const Tensor x = any_x.contiguous(), weight_ih = any_ih.contiguous(), weight_hh = any_hh.contiguous();
  const Tensor p = any_p.contiguous();
  const OptionalTensor grad_outputs = contiguous(any_grad_outputs);
  const OptionalTensor grad_h = contiguous(any_grad_h), grad_c = contiguous(any_grad_c);
  const Kernel& kernel = find_kernel(cell);
  const int64_t batch = x.size(1), hidden = weight_hh.size(1);
  const auto options = x.options();
  const Tensor grad_x = of_x ? at::empty_like(x) : at::empty({0}, options);
  const Tensor grad_ih = at::empty_like(weight_ih), grad_hh = at::empty_like(weight_hh), grad_p = at::empty_like(p);
  const Tensor grad_h_first = at::empty({batch, hidden}, options);
  const Tensor grad_c_first = at::empty({kernel.has_cell_state ? batch : 0, hidden}, options);
  const Sequence sequence = describe(x, weight_ih, weight_hh, p, h, records, slices, true);
  const Gradient gradient{data_of(grad_outputs), data_of(grad_h), data_of(grad_c), of_x ? grad_x.data_ptr() : nullptr,
                          grad_h_first.data_ptr(), grad_c_first.data_ptr(), grad_ih.data_ptr(), grad_hh.data_ptr(),
                          grad_p.data_ptr()};
  (x.scalar_type() == at::kFloat ? kernel.backward_float : kernel.backward_double)(sequence, gradient);
  return {grad_x, grad_ih, grad_hh, grad_p, grad_h_first, grad_c_first};
}

}  // namespace

}  // namespace native

TORCH_LIBRARY(recurrent_bench, library) {
  library.def("instructions() -> str", [] { return std::string(native::kInstructions); });
  library.def(
      "forward(str cell, Tensor x, Tensor weight_ih, Tensor weight_hh, Tensor p, Tensor h_first, Tensor? c_first, "
      "bool keep) -> (Tensor h, Tensor c_last, Tensor records, int slices)");
  library.def(
      "backward(str cell, Tensor x, Tensor weight_ih, Tensor weight_hh, Tensor p, Tensor h, Tensor records, int slices, "
      "Tensor? grad_outputs, Tensor? grad_h, Tensor? grad_c, bool of_x) -> (Tensor x, Tensor weight_ih, "
      "Tensor weight_hh, Tensor p, Tensor h_first, Tensor c_first)");
}

TORCH_LIBRARY_IMPL(recurrent_bench, CPU, library) {
  library.impl("forward", native::forward);
  library.impl("backward", native::backward);
}
