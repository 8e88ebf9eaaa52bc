// Linear recurrences over the steps of a sequence, forward and backward: h_t = a_t h_{t−1} + b_t, real or complex; and
// the selective one of Mamba, which computes its a and b as it goes, and its states again for backward.
#include <ATen/ATen.h>
#include <torch/library.h>

#include <algorithm>
#include <complex>
#include <vector>

#include "columns.h"
#include "threads.h"
#include "vector.h"

namespace native {

namespace {

using at::Tensor;

// ── h_t = a_t h_{t−1} + b_t ──────────────────────────────────────────────────────────────────────────────────────────

// (T, B, D) numbers, one beside the other in a row of D; of a decay that many steps or sequences share, the distance of
// two of these is 0.
template <class T>
struct Series {
  T* data;
  int64_t step, row;

  T* at(int64_t t, int64_t b) const { return data + t * step + b * row; }
};

template <class T>
Series<T> series(const Tensor& tensor) {
  const auto distance = [&](int64_t axis) { return tensor.size(axis) == 1 ? 0 : tensor.stride(axis); };
  return {static_cast<T*>(tensor.data_ptr()), distance(0), distance(1)};
}

template <class T>
T conjugate(T x) {
  return x;
}
template <class T>
std::complex<T> conjugate(std::complex<T> x) {
  return {x.real(), -x.imag()};
}

// a·b + c. Of complex numbers without the care that C++ takes of infinities, which would be a call for each product.
template <class T>
T multiply_add(T a, T b, T c) {
  return a * b + c;
}
template <class T>
std::complex<T> multiply_add(std::complex<T> a, std::complex<T> b, std::complex<T> c) {
  return {a.real() * b.real() - a.imag() * b.imag() + c.real(), a.real() * b.imag() + a.imag() * b.real() + c.imag()};
}

template <class T>
void scan_rows(Series<T> a, Series<T> b, const T* start, Series<T> h, at::IntArrayRef sizes) {
  by_columns<T>(sizes[2], [&](int64_t from, int64_t to) {
    for (int64_t t = 0; t < sizes[0]; ++t)
      for (int64_t row = 0; row < sizes[1]; ++row) {
        const T *decay = a.at(t, row), *in = b.at(t, row), *before = t ? h.at(t - 1, row) : start + row * sizes[2];
        T* out = h.at(t, row);
#pragma GCC ivdep
        for (int64_t i = from; i < to; ++i) out[i] = multiply_add(decay[i], before[i], in[i]);
      }
  });
}

// of_b holds ∂L/∂h at first, and ∂L/∂b = ∂L/∂h, with what comes from later steps, in the end. of_a is zero at first.
template <class T>
void differentiate_rows(Series<T> a, Series<T> h, const T* start, Series<T> of_a, Series<T> of_b, T* of_start,
                          at::IntArrayRef sizes) {
  by_columns<T>(sizes[2], [&](int64_t from, int64_t to) {
    for (int64_t t = sizes[0] - 1; t >= 0; --t)
      for (int64_t row = 0; row < sizes[1]; ++row) {
        const T *decay = a.at(t, row), *before = t ? h.at(t - 1, row) : start + row * sizes[2], *g = of_b.at(t, row);
        T *of_decay = of_a.at(t, row), *earlier = t ? of_b.at(t - 1, row) : of_start + row * sizes[2];
#pragma GCC ivdep
        for (int64_t i = from; i < to; ++i) of_decay[i] = multiply_add(g[i], conjugate(before[i]), of_decay[i]);
#pragma GCC ivdep
        for (int64_t i = from; i < to; ++i) earlier[i] = multiply_add(conjugate(decay[i]), g[i], earlier[i]);
      }
  });
}

// decay (T, B, D), T and B or 1; inputs (T, B, D) and start (B, D), contiguous. Returns all states (T, B, D).
Tensor scan(const Tensor& decay, const Tensor& inputs, const Tensor& start) {
  const Tensor states = at::empty_like(inputs);
  by_type<true>(inputs, [&](auto zero) {
    using T = decltype(zero);
    scan_rows<T>(series<T>(decay), series<T>(inputs), static_cast<const T*>(start.const_data_ptr()),
                 series<T>(states), inputs.sizes());
  });
  return states;
}

// Returns the gradients of decay, inputs and start.
std::tuple<Tensor, Tensor, Tensor> scan_backward(const Tensor& decay, const Tensor& states, const Tensor& start,
                                                 const Tensor& of_states) {
  const Tensor of_decay = at::zeros_like(decay), of_inputs = of_states.clone(at::MemoryFormat::Contiguous);
  const Tensor of_start = at::zeros_like(start);
  by_type<true>(states, [&](auto zero) {
    using T = decltype(zero);
    differentiate_rows<T>(series<T>(decay), series<T>(states), static_cast<const T*>(start.const_data_ptr()),
                         series<T>(of_decay), series<T>(of_inputs), static_cast<T*>(of_start.data_ptr()), states.sizes());
  });
  return {of_decay, of_inputs, of_start};
}

// ── s_t = exp(Δ_t A) s_{t−1} + Δ_t u_t B_t,  y_t = s_t C_t ───────────────────────────────────────────────────────────

// How many numbers of a channel's state are computed side by side: as many as registers have room for.
constexpr int kTogether = kRegisters >= 32 ? 4 : 2;

// Steps between states that are kept for backward, which computes those between them again: memory costs more than that.
constexpr int64_t kChunk = 16;

// A sequence batch of E channels, each with N numbers; states and A are (…, N, E) here, so that vectors hold channels.
template <class T>
struct Selective {
  int64_t time, batch, channels, numbers;
  const T *delta, *u, *b, *c;  // (T, B, E) twice, (T, B, N) twice
  std::vector<T> a;            // (N, E), rows padded

  int64_t padded() const { return (channels + kLanes<T> - 1) / kLanes<T> * kLanes<T>; }
  int64_t size() const { return numbers * padded(); }
  int64_t channel(int64_t t, int64_t row) const { return (t * batch + row) * channels; }
  int64_t number(int64_t t, int64_t row) const { return (t * batch + row) * numbers; }

  Selective(const Tensor& delta, const Tensor& a, const Tensor& b, const Tensor& c, const Tensor& u)
      : time(delta.size(0)), batch(delta.size(1)), channels(delta.size(2)), numbers(a.size(1)) {
    this->delta = delta.const_data_ptr<T>(), this->u = u.const_data_ptr<T>();
    this->b = b.const_data_ptr<T>(), this->c = c.const_data_ptr<T>();
    this->a.assign(numbers * padded(), T(0));
    const T* from = a.const_data_ptr<T>();
    for (int64_t e = 0; e < channels; ++e)
      for (int64_t n = 0; n < numbers; ++n) this->a[n * padded() + e] = from[e * numbers + n];
  }

  // (B, E, N) as (B, N, E), rows padded by zeros.
  Tensor padded_rows(const Tensor& states) const {
    const Tensor to = at::zeros({batch, numbers, padded()}, states.options());
    to.narrow(2, 0, channels).copy_(states.transpose(1, 2));
    return to;
  }

  template <int R>
  Rows<T, R> rates(int64_t n, int64_t e) const {
    return rows<R>(a.data() + n * padded() + e, padded(), kLanes<T>);
  }

  template <int R>
  static NATIVE_INLINE Rows<T, R> rows(const T* from, int64_t distance, int count) {
    Rows<T, R> all;
    for (int i = 0; i < R; ++i) all.v[i] = load(from + i * distance, count);
    return all;
  }

  template <int R>
  static NATIVE_INLINE void put(T* to, int64_t distance, const Rows<T, R>& all, int count) {
    for (int i = 0; i < R; ++i) store(to + i * distance, all.v[i], count);
  }

  // The same number in all lanes, of R in a row.
  template <int R>
  static NATIVE_INLINE Rows<T, R> spread(const T* numbers) {
    Rows<T, R> all;
    for (int i = 0; i < R; ++i) all.v[i] = Vec<T>{} + numbers[i];
    return all;
  }

  template <int R>
  static NATIVE_INLINE Rows<T, R> same(Vec<T> value) {
    Rows<T, R> all;
    for (int i = 0; i < R; ++i) all.v[i] = value;
    return all;
  }

  template <int R>
  static NATIVE_INLINE Vec<T> sum(const Rows<T, R>& all) {
    Vec<T> total = all.v[0];
    for (int i = 1; i < R; ++i) total += all.v[i];
    return total;
  }

  // Calls work(constant R, n) for the numbers of a channel, R at a time.
  template <class Work>
  NATIVE_INLINE void by_numbers(Work work) const {
    int64_t n = 0;
    for (; n + kTogether <= numbers; n += kTogether) work(std::integral_constant<int, kTogether>(), n);
    for (; n < numbers; ++n) work(std::integral_constant<int, 1>(), n);
  }

  // One step of the channels from e on; returns y. `state` holds their numbers, `distance` from one to the next, and the
  // new ones go to `now`. What they were multiplied by goes to `decay`, if there is such a place.
  NATIVE_INLINE Vec<T> step(int64_t t, int64_t row, int64_t e, int count, const T* state, T* now, T* decay,
                            int64_t distance) const {
    const T *in = b + number(t, row), *out = c + number(t, row);
    const Vec<T> d = load(delta + channel(t, row) + e, count), du = d * load(u + channel(t, row) + e, count);
    Vec<T> y{};
    by_numbers([&](auto together, int64_t n) __attribute__((always_inline)) {
      constexpr int R = together;
      const auto kept = exp(same<R>(d) * rates<R>(n, e));
      if (decay) put<R>(decay + n * distance, distance, kept, kLanes<T>);
      const auto s = kept * rows<R>(state + n * distance, distance, kLanes<T>) + same<R>(du) * spread<R>(in + n);
      put<R>(now + n * distance, distance, s, kLanes<T>);
      y += sum<R>(s * spread<R>(out + n));
    });
    return y;
  }

  // y (T, B, E) of one row of the batch. `state` (N, E, rows padded) is the first, and becomes the last. Those before
  // each chunk of steps are stored in `kept` (chunks, B, N, E, rows padded) if there is such a place.
  void forward(int64_t row, T* state, T* y, T* kept) const {
    for (int64_t t = 0; t < time; ++t) {
      if (kept && t % kChunk == 0) std::copy(state, state + size(), kept + (t / kChunk * batch + row) * size());
      for (int64_t e = 0; e < channels; e += kLanes<T>) {
        const int count = int(std::min<int64_t>(kLanes<T>, channels - e));
        store(y + channel(t, row) + e, step(t, row, e, count, state + e, state + e, nullptr, padded()), count);
      }
    }
  }

  // Gradients, given that of y and, in `of_state` (N, E, rows padded), that of the last state, which becomes that of the
  // first. What belongs to A is added to `of_a` (N, E, rows padded). The states within a chunk are computed again.
  void backward(int64_t row, const T* of_y, const T* kept, T* of_state, T* of_delta, T* of_a, T* of_b, T* of_c,
                T* of_u) const {
    const int64_t width = numbers * kLanes<T>;
    std::vector<Vec<T>> to_b(kChunk * numbers), to_c(kChunk * numbers);
    std::vector<T> states((kChunk + 1) * width), decays(kChunk * width);
    for (int64_t first = (time - 1) / kChunk * kChunk; first >= 0; first -= kChunk) {
      const int64_t steps = std::min<int64_t>(kChunk, time - first);
      std::fill(to_b.begin(), to_b.end(), Vec<T>{}), std::fill(to_c.begin(), to_c.end(), Vec<T>{});
      for (int64_t e = 0; e < channels; e += kLanes<T>) {
        const int count = int(std::min<int64_t>(kLanes<T>, channels - e));
        const T* before = kept + (first / kChunk * batch + row) * size() + e;
        for (int64_t n = 0; n < numbers; ++n)
          store(&states[n * kLanes<T>], load(before + n * padded(), kLanes<T>), kLanes<T>);
        for (int64_t t = 0; t < steps; ++t)
          step(first + t, row, e, count, &states[t * width], &states[(t + 1) * width], &decays[t * width], kLanes<T>);
        for (int64_t t = steps - 1; t >= 0; --t)
          step_back(first + t, row, e, count, of_y, &states[t * width], &states[(t + 1) * width], &decays[t * width],
                    of_state + e, of_delta, of_a + e, &to_b[t * numbers], &to_c[t * numbers], of_u);
      }
      for (int64_t t = 0; t < steps; ++t)
        for (int64_t n = 0; n < numbers; ++n) {
          T total_b = 0, total_c = 0;
          for (int i = 0; i < kLanes<T>; ++i)
            total_b += to_b[t * numbers + n][i], total_c += to_c[t * numbers + n][i];
          of_b[number(first + t, row) + n] = total_b, of_c[number(first + t, row) + n] = total_c;
        }
    }
  }

  // The gradients of one step of the channels from e on, given its states and decays; `to_b` and `to_c` are added to.
  NATIVE_INLINE void step_back(int64_t t, int64_t row, int64_t e, int count, const T* of_y, const T* before, const T* now,
                               const T* decay, T* of_state, T* of_delta, T* of_a, Vec<T>* to_b, Vec<T>* to_c,
                               T* of_u) const {
    const T *in = b + number(t, row), *out = c + number(t, row);
    const Vec<T> d = load(delta + channel(t, row) + e, count), x = load(u + channel(t, row) + e, count);
    const Vec<T> g_y = load(of_y + channel(t, row) + e, count), dx = d * x;
    Vec<T> through_decay{}, through_input{};
    by_numbers([&](auto together, int64_t n) __attribute__((always_inline)) {
      constexpr int R = together;
      T *of_s = of_state + n * padded(), *of_decay = of_a + n * padded();
      const auto a_n = rates<R>(n, e), kept = rows<R>(decay + n * kLanes<T>, kLanes<T>, kLanes<T>);
      const auto g = rows<R>(of_s, padded(), kLanes<T>) + same<R>(g_y) * spread<R>(out + n);
      const auto of_exponent = g * kept * rows<R>(before + n * kLanes<T>, kLanes<T>, kLanes<T>);
      const auto s = rows<R>(now + n * kLanes<T>, kLanes<T>, kLanes<T>);
      for (int i = 0; i < R; ++i) to_c[n + i] += g_y * s.v[i], to_b[n + i] += dx * g.v[i];
      through_decay += sum<R>(of_exponent * a_n);
      through_input += sum<R>(g * spread<R>(in + n));
      put<R>(of_decay, padded(), rows<R>(of_decay, padded(), kLanes<T>) + of_exponent * same<R>(d), kLanes<T>);
      put<R>(of_s, padded(), g * kept, kLanes<T>);
    });
    store(of_delta + channel(t, row) + e, through_decay + x * through_input, count);
    store(of_u + channel(t, row) + e, d * through_input, count);
  }
};

// delta, u (T, B, E), a (E, N), b, c (T, B, N), start (B, E, N), contiguous and of one dtype. Returns y (T, B, E), the
// last state (B, E, N) and, with `keep`, those before each chunk of steps, in an order of their own.
std::tuple<Tensor, Tensor, Tensor> selective_scan(const Tensor& delta, const Tensor& a, const Tensor& b, const Tensor& c,
                                                  const Tensor& u, const Tensor& start, bool keep) {
  const int64_t time = delta.size(0), batch = delta.size(1), channels = delta.size(2), numbers = a.size(1);
  const Tensor y = at::empty_like(delta);
  Tensor last, kept;
  by_type<false>(delta, [&](auto zero) {
    using T = decltype(zero);
    const Selective<T> sequence(delta, a, b, c, u);
    const Tensor state = sequence.padded_rows(start);
    kept = at::empty({keep ? (time + kChunk - 1) / kChunk : 0, batch, numbers, sequence.padded()}, delta.options());
    T *first = state.data_ptr<T>(), *to = keep ? kept.data_ptr<T>() : nullptr;
    in_team(int(std::min<int64_t>(threads(), batch)), [&](Team& team) {
      for (int64_t row = team.index; row < batch; row += team.size)
        sequence.forward(row, first + row * sequence.size(), y.data_ptr<T>(), to);
    });
    last = state.narrow(2, 0, channels).transpose(1, 2).contiguous();
  });
  return {y, last, kept};
}

// Returns the gradients of delta, a, b, c, u and start, which is among the states that were kept; Triton needs it.
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> selective_scan_backward(
    const Tensor& delta, const Tensor& a, const Tensor& b, const Tensor& c, const Tensor& u, const Tensor& /*start*/,
    const Tensor& kept, const Tensor& of_y, const Tensor& of_last) {
  const int64_t batch = delta.size(1), channels = delta.size(2), numbers = a.size(1);
  const Tensor of_delta = at::empty_like(delta), of_b = at::empty_like(b), of_c = at::empty_like(c);
  const Tensor of_u = at::empty_like(u);
  Tensor of_a, of_start;
  by_type<false>(delta, [&](auto zero) {
    using T = decltype(zero);
    const Selective<T> sequence(delta, a, b, c, u);
    const int team_size = int(std::min<int64_t>(threads(), batch));
    const Tensor of_state = sequence.padded_rows(of_last);
    const Tensor parts = at::zeros({team_size, numbers, sequence.padded()}, delta.options());
    in_team(team_size, [&](Team& team) {
      for (int64_t row = team.index; row < batch; row += team.size)
        sequence.backward(row, of_y.const_data_ptr<T>(), kept.const_data_ptr<T>(),
                          of_state.data_ptr<T>() + row * sequence.size(), of_delta.data_ptr<T>(),
                          parts.data_ptr<T>() + team.index * sequence.size(), of_b.data_ptr<T>(), of_c.data_ptr<T>(),
                          of_u.data_ptr<T>());
    });
    of_a = parts.sum(0).narrow(1, 0, channels).t().contiguous();
    of_start = of_state.narrow(2, 0, channels).transpose(1, 2).contiguous();
  });
  return {of_delta, of_a, of_b, of_c, of_u, of_start};
}

}  // namespace

}  // namespace native

TORCH_LIBRARY_FRAGMENT(recurrent_bench, library) {
  library.def("scan(Tensor decay, Tensor inputs, Tensor start) -> Tensor");
  library.def("scan_backward(Tensor decay, Tensor states, Tensor start, Tensor of_states) -> (Tensor, Tensor, Tensor)");
  library.def(
      "selective_scan(Tensor delta, Tensor a, Tensor b, Tensor c, Tensor u, Tensor start, bool keep) -> "
      "(Tensor, Tensor, Tensor)");
  library.def(
      "selective_scan_backward(Tensor delta, Tensor a, Tensor b, Tensor c, Tensor u, Tensor start, Tensor states, "
      "Tensor of_y, Tensor of_last) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(recurrent_bench, CPU, library) {
  library.impl("scan", native::scan);
  library.impl("scan_backward", native::scan_backward);
  library.impl("selective_scan", native::selective_scan);
  library.impl("selective_scan_backward", native::selective_scan_backward);
}
