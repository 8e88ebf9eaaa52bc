// SIMD vectors of the width this machine has, and the functions that gates need.
//
// Vectors are the compiler's own (gcc's and clang's vector extension): one source serves AVX-512,
// AVX2, SSE and NEON, and whatever is narrower than asked for is split by the compiler.
#pragma once

#include <cstdint>
#include <cstring>

namespace native {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kRegisters = 32;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32, kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16, kRegisters = 32;
#else
constexpr int kVectorBytes = 16, kRegisters = 16;
#endif

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vec = typename VectorOf<T>::type;

template <class T>
constexpr int kLanes = kVectorBytes / sizeof(T);

template <class T>
inline Vec<T> load(const T* from) {
  Vec<T> value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class T>
inline void store(T* to, Vec<T> value) {
  std::memcpy(to, &value, sizeof value);
}

// The same for the first `count` lanes only: memory beyond them is not touched, lanes beyond are zero.
template <class T>
inline Vec<T> load(const T* from, int count) {
  if (count >= kLanes<T>) return load(from);
  Vec<T> value{};
  std::memcpy(&value, from, count * sizeof(T));
  return value;
}

template <class T>
inline void store(T* to, Vec<T> value, int count) {
  if (count >= kLanes<T>) return store(to, value);
  std::memcpy(to, &value, count * sizeof(T));
}

// Numbers of the exponential function, per type.
template <class T>
struct Exponential;

template <>
struct Exponential<float> {
  using Bits = int32_t;
  static constexpr int mantissa = 23, degree = 7;        // Taylor's remainder: 0.35^8/8! = 5e-9
  static constexpr float shift = 12582912.0f;            // 1.5 · 2^23: adding it rounds to an integer
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr float limit = 87.0f;                  // e^±limit and 2^n within it are normal numbers
};

template <>
struct Exponential<double> {
  using Bits = int64_t;
  static constexpr int mantissa = 52, degree = 13;       // 0.35^14/14! = 4e-18
  static constexpr double shift = 6755399441055744.0;    // 1.5 · 2^52
  static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
  static constexpr double limit = 708.0;
};

// e^x as `scale` · (1 + `rest`) with scale = 2^n and rest = e^r − 1, |r| ≤ ln 2 / 2: kept apart so that
// e^x − 1 can be had without cancellation.
template <class T>
struct ScaledExponential {
  Vec<T> scale, rest;
};

template <class T>
inline ScaledExponential<T> scaled_exponential(Vec<T> x) {
  using E = Exponential<T>;
  typedef typename E::Bits Bits __attribute__((vector_size(kVectorBytes)));
  // Written so that NaN passes through: a comparison with NaN is false.
  x = x > E::limit ? Vec<T>{} + E::limit : x;
  x = x < -E::limit ? Vec<T>{} - E::limit : x;
  const Vec<T> shifted = x * T(1.4426950408889634) + E::shift;
  const Vec<T> n = shifted - E::shift;
  const Vec<T> r = (x - n * E::ln2_high) - n * E::ln2_low;
  double factorial = 1;
  for (int k = 2; k <= E::degree; ++k) factorial *= k;
  Vec<T> sum = Vec<T>{} + T(1 / factorial);  // Horner: (e^r − 1)/r = 1 + r/2! + r²/3! + …
#pragma GCC unroll 16
  for (int k = E::degree; k > 1; --k) {
    factorial /= k;
    sum = sum * r + T(1 / factorial);
  }
  // The low bits of `shifted` hold n; moved into the exponent's place they make 2^n.
  const Bits one = reinterpret_cast<Bits>(Vec<T>{} + T(1));
  const Bits power = (reinterpret_cast<Bits>(shifted) << E::mantissa) + one;
  return {reinterpret_cast<Vec<T>>(power), sum * r};
}

// σ(x), within 3 units in the last place (tests/cells/test_native.py measures it).
template <class T>
inline Vec<T> sigmoid_of(Vec<T> x) {
  const auto e = scaled_exponential<T>(-x);
  return T(1) / (T(1) + (e.scale + e.scale * e.rest));
}

// tanh(x) = (e^2x − 1)/(e^2x + 1), within 4 units in the last place, also near zero.
template <class T>
inline Vec<T> tanh_of(Vec<T> x) {
  const T saturated = sizeof(T) == 4 ? T(10) : T(20);  // beyond, tanh rounds to ±1
  x = x > saturated ? Vec<T>{} + saturated : x;
  x = x < -saturated ? Vec<T>{} - saturated : x;
  const auto e = scaled_exponential<T>(x + x);
  const Vec<T> above_one = e.scale * e.rest + (e.scale - T(1));
  return above_one / (above_one + T(2));
}

// Overloads by vector type, so that cells are written without naming it.
inline Vec<float> sigmoid(Vec<float> x) { return sigmoid_of<float>(x); }
inline Vec<double> sigmoid(Vec<double> x) { return sigmoid_of<double>(x); }
inline Vec<float> tanh(Vec<float> x) { return tanh_of<float>(x); }
inline Vec<double> tanh(Vec<double> x) { return tanh_of<double>(x); }

}  // namespace native
