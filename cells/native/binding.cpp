// The operators that Python calls, recurrent_bench::forward, ::backward and ::learn, which does both and what a training
// step has between them: checks, memory, and dispatch by kernel and dtype, for any number of replicas. Backward is given
// what forward returned, and checks nothing.
#include <ATen/ATen.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/core/CPUAllocator.h>
#include <torch/library.h>

#include <map>
#include <string>
#include <vector>

#include "engine.h"

namespace native {

namespace {

std::map<std::string, Kernel>& kernels() {
  static std::map<std::string, Kernel> all;
  return all;
}

}  // namespace

void add_kernel(const char* name, const Kernel& kernel) { kernels()[name] = kernel; }

void* allocate(size_t bytes) { return c10::GetCPUAllocator()->raw_allocate(bytes); }
void release(void* memory) { c10::GetCPUAllocator()->raw_deallocate(memory); }

namespace {

using at::Tensor;
using at::TensorList;
using OptionalTensors = c10::List<std::optional<Tensor>>;

constexpr int64_t kFewRows = 16;           // for a thread
constexpr int64_t kManyBytes = 384 << 10;  // of weights

const Kernel& find_kernel(const std::string& name) {
  const auto found = kernels().find(name);
  TORCH_CHECK(found != kernels().end(), "no native kernel named " + name);
  return found->second;
}

std::vector<Tensor> contiguous(TensorList tensors) {
  std::vector<Tensor> all;
  for (const Tensor& tensor : tensors) all.push_back(tensor.contiguous());
  return all;
}

std::vector<void*> data_of(const std::vector<Tensor>& tensors) {
  std::vector<void*> data;
  for (const Tensor& tensor : tensors) data.push_back(tensor.defined() ? tensor.data_ptr() : nullptr);
  return data;
}

// Messages are joined from strings: given anything else, TORCH_CHECK writes to a stream, which is broken where the
// compiler links the C++ library statically, beside torch's own.
std::string shape(at::IntArrayRef sizes) {
  std::string joined;
  for (const int64_t size : sizes) joined += (joined.empty() ? "" : ", ") + std::to_string(size);
  return "(" + joined + ")";
}

void check_dtypes(const Tensor& x, std::initializer_list<TensorList> others) {
  const std::string dtype = c10::toString(x.scalar_type());
  TORCH_CHECK_TYPE(x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble,
                   "inputs must be float32 or float64, not " + dtype);
  for (const TensorList& list : others)
    for (const Tensor& other : list)
      TORCH_CHECK_TYPE(other.scalar_type() == x.scalar_type(),
                       "inputs, state and parameters must be of one dtype, not " + dtype + " and " +
                           c10::toString(other.scalar_type()));
}

void check_shapes(const Kernel& kernel, const Tensor& x, TensorList states, TensorList matrices, TensorList vectors,
                  int64_t hidden) {
  TORCH_CHECK_VALUE(x.dim() == 3 && x.size(0) > 0 && x.size(1) > 0,
                    "inputs must be (T, B, I), T and B at least 1, not " + shape(x.sizes()));
  TORCH_CHECK_VALUE(int64_t(matrices.size()) == kernel.matrices && int64_t(vectors.size()) == kernel.vectors &&
                        int64_t(states.size()) == kernel.states,
                    "parameters and states do not fit the kernel");
  // Memory beyond a tensor's end must not be read.
  const auto check = [&](const Tensor& tensor, Block block, std::initializer_list<int64_t> columns) {
    const at::IntArrayRef sizes = tensor.sizes();
    TORCH_CHECK_VALUE(sizes.size() == 1 + columns.size() && sizes[0] >= (block.index + 1) * hidden &&
                          std::equal(columns.begin(), columns.end(), sizes.begin() + 1),
                      "parameters " + shape(sizes) + " do not fit inputs of " + std::to_string(x.size(2)) +
                          " features and " + std::to_string(hidden) + " units");
  };
  for (int i = 0; i < kernel.inputs; ++i)
    check(matrices[kernel.input_gates[i].tensor], kernel.input_gates[i], {x.size(2)});
  for (int i = 0; i < kernel.operand_gates; ++i) check(matrices[kernel.gates[i].tensor], kernel.gates[i], {hidden});
  for (int i = 0; i < kernel.vector_count; ++i)
    check(vectors[kernel.vector_blocks[i].tensor], kernel.vector_blocks[i], {});
  for (const Tensor& state : states)
    TORCH_CHECK_VALUE(state.sizes() == at::IntArrayRef({x.size(1), hidden}),
                      "state must be " + shape({x.size(1), hidden}) + ", not " + shape(state.sizes()));
}

// How many slices to cut the batch into: one for each thread, unless rows are so few that reading the weights takes
// longer than computing with them, and the weights too many for the cache of one core. Then the threads share one.
int64_t slice_count(int64_t batch, TensorList matrices) {
  int64_t weight_bytes = 0;
  for (const Tensor& matrix : matrices) weight_bytes += matrix.nbytes();
  const int64_t most = threads();
  const bool share = batch < most || (batch < kFewRows * most && weight_bytes > kManyBytes);
  return share ? 1 : most;
}

// A sequence and the pointers that it refers to.
struct Described {
  std::vector<void*> matrices, vectors, first, last, series;
  Sequence sequence{};

  Described(const Tensor& x, const std::vector<Tensor>& matrices, const std::vector<Tensor>& vectors,
            const std::vector<Tensor>& series, const Tensor& records, int64_t hidden, int64_t slices, bool keep)
      : matrices(data_of(matrices)), vectors(data_of(vectors)), series(data_of(series)) {
    Sequence& q = sequence;
    q.time = x.size(0), q.batch = x.size(1), q.input = x.size(2), q.hidden = hidden;
    q.slices = slices, q.threads = threads(), q.keep = keep;
    q.x = x.const_data_ptr(), q.matrices = this->matrices.data(), q.vectors = this->vectors.data();
    q.series = this->series.data(), q.records = records.data_ptr();
  }
};

int dtype_index(const Tensor& x) { return x.scalar_type() == at::kFloat ? 0 : 1; }

int64_t padded(const Tensor& like, int64_t hidden) {
  return dtype_index(like) == 0 ? round_up<float>(hidden) : round_up<double>(hidden);
}

// Replicas: calls of one kernel with tensors of their own, done one after the other. Lists have the tensors of the first
// replica, then those of the second, and so on; what a replica computes does not depend on the others.

// The part of a list that is a replica's.
template <class List>
List of_replica(const List& list, size_t replica, size_t replicas) {
  const size_t count = list.size() / replicas;
  return list.slice(replica * count, count);
}

OptionalTensors of_replica(const OptionalTensors& list, size_t replica, size_t replicas) {
  const size_t count = list.size() / replicas;
  OptionalTensors part;
  for (size_t i = 0; i < count; ++i) part.push_back(list.get(replica * count + i));
  return part;
}

void check_count(size_t tensors, size_t replicas) {
  TORCH_CHECK_VALUE(replicas > 0 && tensors % replicas == 0, "each replica must have as many tensors as the others");
}

void append(std::vector<Tensor>& all, const std::vector<Tensor>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

struct Passed {
  std::vector<Tensor> outputs, last, series, records;
  std::vector<int64_t> slices;
};

void forward_one(Passed& passed, const Kernel& kernel, int64_t hidden, const Tensor& any_x, TensorList any_states,
                 TensorList any_matrices, TensorList any_vectors, bool keep) {
  check_dtypes(any_x, {any_states, any_matrices, any_vectors});
  check_shapes(kernel, any_x, any_states, any_matrices, any_vectors, hidden);
  const Tensor x = any_x.contiguous();
  const std::vector<Tensor> first = contiguous(any_states), matrices = contiguous(any_matrices);
  const std::vector<Tensor> vectors = contiguous(any_vectors);
  const int64_t time = x.size(0), batch = x.size(1), slices = slice_count(batch, any_matrices);
  std::vector<Tensor> series, last;
  for (int i = 0; i < kernel.series; ++i)
    series.push_back(at::empty({keep || i == kernel.output ? time + 1 : 2, batch, hidden}, x.options()));
  for (int j = 0; j < kernel.states; ++j) last.push_back(at::empty({batch, hidden}, x.options()));
  const Tensor records = at::empty({keep ? time + 1 : 2, batch, padded(x, hidden) * kernel.record}, x.options());
  Described described(x, matrices, vectors, series, records, hidden, slices, keep);
  described.first = data_of(first), described.last = data_of(last);
  described.sequence.first = described.first.data(), described.sequence.last = described.last.data();
  kernel.forward[dtype_index(x)](described.sequence);
  passed.outputs.push_back(series[kernel.output]);
  append(passed.last, last);
  if (!keep) return;
  append(passed.series, series);
  passed.records.push_back(records);
  passed.slices.push_back(slices);
}

// Returns of each replica the outputs (T+1, B, H), from the second step on, and the last states (B, H); and with `keep`
// for backward the engine's series, records and number of slices.
std::tuple<std::vector<Tensor>, std::vector<Tensor>, std::vector<Tensor>, std::vector<Tensor>, std::vector<int64_t>>
forward(const std::string& name, int64_t hidden, TensorList x, TensorList states, TensorList matrices,
        TensorList vectors, bool keep) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  const Kernel& kernel = find_kernel(name);
  const size_t replicas = x.size();
  for (const TensorList& list : {states, matrices, vectors}) check_count(list.size(), replicas);
  Passed passed;
  for (size_t r = 0; r < replicas; ++r)
    forward_one(passed, kernel, hidden, x[r], of_replica(states, r, replicas), of_replica(matrices, r, replicas),
                of_replica(vectors, r, replicas), keep);
  return {passed.outputs, passed.last, passed.series, passed.records, passed.slices};
}

struct Gradients {
  std::vector<Tensor> x, states, matrices, vectors;
};

void backward_one(Gradients& gradients, const Kernel& kernel, int64_t hidden, const Tensor& any_x,
                  TensorList any_matrices, TensorList any_vectors, TensorList series, const Tensor& records,
                  int64_t slices, const std::optional<Tensor>& any_grad_outputs, const OptionalTensors& any_grad_last,
                  bool of_x) {
  const Tensor x = any_x.contiguous();
  const std::vector<Tensor> matrices = contiguous(any_matrices), vectors = contiguous(any_vectors);
  const Tensor grad_outputs = any_grad_outputs ? any_grad_outputs->contiguous() : Tensor();
  std::vector<Tensor> grad_last, grad_first, grad_matrices, grad_vectors;
  for (const std::optional<Tensor>& grad : any_grad_last)
    grad_last.push_back(grad ? grad->contiguous() : Tensor());
  const Tensor grad_x = of_x ? at::empty_like(x) : Tensor();
  for (int j = 0; j < kernel.states; ++j) grad_first.push_back(at::empty({x.size(1), hidden}, x.options()));
  for (const Tensor& matrix : matrices) grad_matrices.push_back(at::zeros_like(matrix));
  for (const Tensor& vector : vectors) grad_vectors.push_back(at::zeros_like(vector));
  const Described described(x, matrices, vectors, contiguous(series), records, hidden, slices, true);
  const std::vector<void*> last = data_of(grad_last), first = data_of(grad_first);
  const std::vector<void*> of_matrices = data_of(grad_matrices), of_vectors = data_of(grad_vectors);
  const Gradient gradient{grad_outputs.defined() ? grad_outputs.const_data_ptr() : nullptr, last.data(),
                          of_x ? grad_x.data_ptr() : nullptr, first.data(), of_matrices.data(), of_vectors.data()};
  kernel.backward[dtype_index(x)](described.sequence, gradient);
  if (of_x) gradients.x.push_back(grad_x);
  append(gradients.states, grad_first);
  append(gradients.matrices, grad_matrices);
  append(gradients.vectors, grad_vectors);
}

// Returns of each replica the gradients of x (none unless asked for), the states, the matrices and the vectors.
std::tuple<std::vector<Tensor>, std::vector<Tensor>, std::vector<Tensor>, std::vector<Tensor>> backward(
    const std::string& name, int64_t hidden, TensorList x, TensorList matrices, TensorList vectors, TensorList series,
    TensorList records, at::IntArrayRef slices, const OptionalTensors& grad_outputs, const OptionalTensors& grad_last,
    bool of_x) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  const Kernel& kernel = find_kernel(name);
  const size_t replicas = x.size();
  Gradients gradients;
  for (size_t r = 0; r < replicas; ++r)
    backward_one(gradients, kernel, hidden, x[r], of_replica(matrices, r, replicas), of_replica(vectors, r, replicas),
                 of_replica(series, r, replicas), records[r], slices[r], grad_outputs.get(r),
                 of_replica(grad_last, r, replicas), of_x);
  return {gradients.x, gradients.states, gradients.matrices, gradients.vectors};
}

// A mean loss of outputs (T, B, O) at their last steps, and its gradient: by torch's operations, in autograd's order.
using Criterion = Tensor (*)(const Tensor& outputs, const Tensor& targets, Tensor& gradient);

// Targets (B): of the last step's first feature.
Tensor mean_squared_error(const Tensor& outputs, const Tensor& targets, Tensor& gradient) {
  const auto answers = [](const Tensor& all) { return all.select(0, -1).select(1, 0); };
  const Tensor loss = at::mse_loss(answers(outputs), targets);
  gradient = at::zeros_like(outputs);
  answers(gradient).copy_(at::mse_loss_backward(at::ones_like(loss), answers(outputs), targets, at::Reduction::Mean));
  return loss;
}

// Targets are classes: (B) of the last step, (S, B) of the last S steps.
Tensor cross_entropy(const Tensor& outputs, const Tensor& targets, Tensor& gradient) {
  const int64_t first = outputs.size(0) - (targets.dim() == 1 ? 1 : targets.size(0));
  const auto answers = [first](const Tensor& all) { return all.slice(0, first).flatten(0, 1); };
  const Tensor classes = targets.flatten(), scores = answers(outputs);
  const Tensor logarithms = at::_log_softmax(scores, 1, false);
  constexpr int64_t kMean = at::Reduction::Mean, kNone = -100;  // kNone: the class that is left out, as by default
  const auto [loss, weight] = at::nll_loss_forward(logarithms, classes, {}, kMean, kNone);
  const Tensor of_logarithms =
      at::nll_loss_backward(at::ones_like(loss), logarithms, classes, {}, kMean, kNone, weight);
  const Tensor of_scores = at::_log_softmax_backward_data(of_logarithms, logarithms, 1, scores.scalar_type());
  if (first == 0) {
    gradient = of_scores.view(outputs.sizes());
  } else {
    gradient = at::zeros_like(outputs);
    answers(gradient).copy_(of_scores);
  }
  return loss;
}

Criterion find_criterion(const std::string& name) {
  if (name == "mse") return mean_squared_error;
  TORCH_CHECK_VALUE(name == "cross_entropy", "no criterion named " + name);
  return cross_entropy;
}

// A training step's gradients: of each replica, run from states of zero, the loss of what a linear readout (O, H), (O)
// makes of its outputs, and the gradients of the matrices, the vectors and the readout. One replica is done after the
// other, so that what forward leaves is still in the cache.
std::tuple<std::vector<Tensor>, std::vector<Tensor>, std::vector<Tensor>, std::vector<Tensor>, std::vector<Tensor>>
learn(const std::string& name, int64_t hidden, TensorList x, TensorList matrices, TensorList vectors,
      TensorList weights, TensorList biases, const std::string& criterion, TensorList targets) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  const Kernel& kernel = find_kernel(name);
  const Criterion criterion_of = find_criterion(criterion);
  const size_t replicas = x.size();
  for (const TensorList& list : {matrices, vectors, weights, biases, targets}) check_count(list.size(), replicas);
  std::vector<Tensor> losses, of_weights, of_biases;
  Gradients gradients;
  const OptionalTensors of_last(std::vector<std::optional<Tensor>>(kernel.states));
  for (size_t r = 0; r < replicas; ++r) {
    const TensorList own_matrices = of_replica(matrices, r, replicas), own_vectors = of_replica(vectors, r, replicas);
    const std::vector<Tensor> zeros(kernel.states, at::zeros({x[r].size(1), hidden}, x[r].options()));
    Passed passed;
    forward_one(passed, kernel, hidden, x[r], zeros, own_matrices, own_vectors, true);
    const Tensor states = passed.outputs[0].slice(0, 1), rows = states.flatten(0, 1);
    Tensor gradient;
    losses.push_back(criterion_of(at::linear(states, weights[r], biases[r]), targets[r], gradient));
    const Tensor of_rows = gradient.flatten(0, 1);
    of_weights.push_back(of_rows.t().mm(rows));
    of_biases.push_back(of_rows.sum(0));
    backward_one(gradients, kernel, hidden, x[r], own_matrices, own_vectors, passed.series, passed.records[0],
                 passed.slices[0], of_rows.mm(weights[r]), of_last, false);
  }
  return {losses, gradients.matrices, gradients.vectors, of_weights, of_biases};
}

}  // namespace

}  // namespace native

TORCH_LIBRARY(recurrent_bench, library) {
  library.def("instructions() -> str", [] { return std::string(native::kInstructions); });
  library.def(
      "forward(str name, int hidden, Tensor[] x, Tensor[] states, Tensor[] matrices, Tensor[] vectors, bool keep) -> "
      "(Tensor[] outputs, Tensor[] last, Tensor[] series, Tensor[] records, int[] slices)");
  library.def(
      "backward(str name, int hidden, Tensor[] x, Tensor[] matrices, Tensor[] vectors, Tensor[] series, "
      "Tensor[] records, int[] slices, Tensor?[] grad_outputs, Tensor?[] grad_last, bool of_x) -> (Tensor[] x, "
      "Tensor[] states, Tensor[] matrices, Tensor[] vectors)");
  library.def(
      "learn(str name, int hidden, Tensor[] x, Tensor[] matrices, Tensor[] vectors, Tensor[] weights, Tensor[] biases, "
      "str criterion, Tensor[] targets) -> (Tensor[] losses, Tensor[] matrices, Tensor[] vectors, Tensor[] weights, "
      "Tensor[] biases)");
}

TORCH_LIBRARY_IMPL(recurrent_bench, CPU, library) {
  library.impl("forward", native::forward);
  library.impl("backward", native::backward);
  library.impl("learn", native::learn);
}
