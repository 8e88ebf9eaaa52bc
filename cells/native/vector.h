// SIMD vectors of the width this machine has, and the functions that gates need.
//
// Vectors are the compiler's own (gcc's and clang's vector extension): one source serves AVX-512,
// AVX2, SSE and NEON, and whatever is narrower than asked for is split by the compiler.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace native {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kRegisters = 32;
constexpr const char* kInstructions = "AVX-512";
#elif defined(__AVX__)
constexpr int kVectorBytes = 32, kRegisters = 16;
#if defined(__AVX2__) && defined(__FMA__)
constexpr const char* kInstructions = "AVX2";
#else
constexpr const char* kInstructions = "AVX";
#endif
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16, kRegisters = 32;
constexpr const char* kInstructions = "NEON";
#else
constexpr int kVectorBytes = 16, kRegisters = 16;
constexpr const char* kInstructions = "128-bit vectors";
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

// Transposes a square of kLanes rows: each of log2(kLanes) rounds interleaves the first half of the rows with the
// second.
template <class T, size_t... i>
inline void interleave(Vec<T>& low, Vec<T>& high, std::index_sequence<i...>) {
  constexpr size_t W = sizeof...(i);
  const Vec<T> a = low, b = high;
  low = __builtin_shufflevector(a, b, (i % 2 * W + i / 2)...);
  high = __builtin_shufflevector(a, b, (i % 2 * W + (W + i) / 2)...);
}

template <class T>
inline void transpose(Vec<T> (&rows)[kLanes<T>]) {
  constexpr int W = kLanes<T>;
#pragma GCC unroll 4
  for (int round = 1; round < W; round *= 2) {
    Vec<T> next[W];
#pragma GCC unroll 8
    for (int i = 0; i < W / 2; ++i) {
      next[2 * i] = rows[i], next[2 * i + 1] = rows[i + W / 2];
      interleave<T>(next[2 * i], next[2 * i + 1], std::make_index_sequence<W>());
    }
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) rows[i] = next[i];
  }
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

// A unit vector of each of N rows, computed side by side: the functions below are long chains in which each
// operation waits for the one before, and another row fills the time.
template <class T, int N>
struct Rows {
  Vec<T> v[N];

  static Rows of(T value) {
    Rows all;
    for (Vec<T>& vector : all.v) vector = Vec<T>{} + value;
    return all;
  }
};

// Truth values, all bits set or none.
template <class T, int N>
struct Truths {
  decltype(Vec<T>{} < Vec<T>{}) v[N];
};

// f applied to the vectors of its arguments, row by row. Spelled without a loop and always inlined, or the
// compiler would keep rows in memory.
#define NATIVE_INLINE inline __attribute__((always_inline))

template <class Result, class F, size_t... I, class... Arguments>
NATIVE_INLINE Result each_of(std::index_sequence<I...>, F f, const Arguments&... arguments) {
  const auto at = [&](auto i) __attribute__((always_inline)) { return f(arguments.v[i]...); };
  return {{at(std::integral_constant<size_t, I>())...}};
}

template <class F, class T, int N, class... More>
NATIVE_INLINE Rows<T, N> each(F f, const Rows<T, N>& a, const More&... more) {
  return each_of<Rows<T, N>>(std::make_index_sequence<N>(), f, a, more...);
}

template <class T, int N, class F, class... Arguments>
NATIVE_INLINE Truths<T, N> truths(F f, const Arguments&... arguments) {
  return each_of<Truths<T, N>>(std::make_index_sequence<N>(), f, arguments...);
}

template <class F, class T, int N, class... More>
NATIVE_INLINE Truths<T, N> truths_of(F f, const Rows<T, N>& a, const More&... more) {
  return truths<T, N>(f, a, more...);
}

#define NATIVE_OPERATOR(op, Result, each)                                               \
  template <class T, int N>                                                             \
  NATIVE_INLINE Result<T, N> operator op(const Rows<T, N>& a, const Rows<T, N>& b) {    \
    return each([](Vec<T> x, Vec<T> y) { return x op y; }, a, b);                       \
  }                                                                                     \
  template <class T, int N>                                                             \
  NATIVE_INLINE Result<T, N> operator op(std::type_identity_t<T> a, const Rows<T, N>& b) {\
    return each([a](Vec<T> y) { return (Vec<T>{} + a) op y; }, b);                      \
  }                                                                                     \
  template <class T, int N>                                                             \
  NATIVE_INLINE Result<T, N> operator op(const Rows<T, N>& a, std::type_identity_t<T> b) {\
    return each([b](Vec<T> x) { return x op (Vec<T>{} + b); }, a);                      \
  }
NATIVE_OPERATOR(+, Rows, each)
NATIVE_OPERATOR(-, Rows, each)
NATIVE_OPERATOR(*, Rows, each)
NATIVE_OPERATOR(/, Rows, each)
NATIVE_OPERATOR(<, Truths, truths_of)
NATIVE_OPERATOR(>, Truths, truths_of)
NATIVE_OPERATOR(<=, Truths, truths_of)
NATIVE_OPERATOR(>=, Truths, truths_of)
NATIVE_OPERATOR(==, Truths, truths_of)
NATIVE_OPERATOR(!=, Truths, truths_of)
#undef NATIVE_OPERATOR

template <class T, int N>
NATIVE_INLINE Rows<T, N> operator-(const Rows<T, N>& a) {
  return each([](Vec<T> x) { return -x; }, a);
}

template <class T, int N>
NATIVE_INLINE Rows<T, N>& operator+=(Rows<T, N>& a, const Rows<T, N>& b) {
  return a = a + b;
}

template <class T, int N>
NATIVE_INLINE Truths<T, N> operator&&(const Truths<T, N>& a, const Truths<T, N>& b) {
  return truths<T, N>([](auto x, auto y) { return x & y; }, a, b);
}

template <class T, int N>
NATIVE_INLINE Truths<T, N> operator||(const Truths<T, N>& a, const Truths<T, N>& b) {
  return truths<T, N>([](auto x, auto y) { return x | y; }, a, b);
}

template <class T, int N>
NATIVE_INLINE Truths<T, N> operator!(const Truths<T, N>& a) {
  return truths<T, N>([](auto x) { return ~x; }, a);
}

// a where the condition holds, else b.
template <class T, int N>
NATIVE_INLINE Rows<T, N> where(const Truths<T, N>& condition, const Rows<T, N>& a, const Rows<T, N>& b) {
  return each([](Vec<T> x, Vec<T> y, auto holds) { return holds ? x : y; }, a, b, condition);
}

// The greater, and the lesser; NaN if either is.
template <class T, int N>
NATIVE_INLINE Rows<T, N> max(const Rows<T, N>& a, const Rows<T, N>& b) {
  return each([](Vec<T> x, Vec<T> y) { return (x != x) | (x > y) ? x : y; }, a, b);
}

template <class T, int N>
NATIVE_INLINE Rows<T, N> min(const Rows<T, N>& a, const Rows<T, N>& b) {
  return each([](Vec<T> x, Vec<T> y) { return (x != x) | (x < y) ? x : y; }, a, b);
}

// max(x, 0); NaN stays NaN.
template <class T, int N>
NATIVE_INLINE Rows<T, N> relu(const Rows<T, N>& x) {
  return each([](Vec<T> value) { return value < 0 ? Vec<T>{} : value; }, x);
}

template <class T, int N>
NATIVE_INLINE Rows<T, N> abs(const Rows<T, N>& x) {
  return each([](Vec<T> value) { return value < 0 ? -value : value; }, x);
}

// −1, 0 or 1.
template <class T, int N>
NATIVE_INLINE Rows<T, N> sign(const Rows<T, N>& x) {
  const auto one = Rows<T, N>::of(1);
  return where(x > 0, one, where(x < 0, -one, x));
}

// x within ±limit. NaN stays NaN: a comparison with it is false, and of a NaN and a number the instructions return
// what stands last.
template <class T, int N>
NATIVE_INLINE Rows<T, N> clamp(const Rows<T, N>& x, std::type_identity_t<T> limit) {
  return each(
      [limit](Vec<T> value) {
        const Vec<T> high = Vec<T>{} + limit, low = -high;
#if defined(__AVX512F__)
        if constexpr (sizeof(T) == 4)
          return Vec<T>(_mm512_max_ps(__m512(low), _mm512_min_ps(__m512(high), __m512(value))));
        else
          return Vec<T>(_mm512_max_pd(__m512d(low), _mm512_min_pd(__m512d(high), __m512d(value))));
#else
        value = value > high ? high : value;
        return value < low ? low : value;
#endif
      },
      x);
}

// 1/x for normal x. AVX-512 has an estimate good to 14 bits, which a step of Newton's method doubles; that is
// several times faster than a division.
template <class T, int N>
NATIVE_INLINE Rows<T, N> reciprocal(const Rows<T, N>& x) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    const auto estimate = each(
        [](Vec<T> value) { return reinterpret_cast<Vec<T>>(_mm512_rcp14_ps(reinterpret_cast<__m512>(value))); }, x);
    return estimate * (2 - x * estimate);
  }
#endif
  return each([](Vec<T> value) { return T(1) / value; }, x);
}

// e^x as `scale` · (1 + `rest`) with scale = 2^n and rest = e^r − 1, |r| ≤ ln 2 / 2: kept apart so that
// e^x − 1 can be had without cancellation. |x| must be within Exponential<T>::limit.
template <class T, int N>
struct ScaledExponential {
  Rows<T, N> scale, rest;
};

template <class T, int N>
NATIVE_INLINE ScaledExponential<T, N> scaled_exponential(const Rows<T, N>& x) {
  using E = Exponential<T>;
  typedef typename E::Bits Bits __attribute__((vector_size(kVectorBytes)));
  const auto shifted = x * T(1.4426950408889634) + E::shift;
  const auto n = shifted - E::shift;
  const auto r = (x - n * E::ln2_high) - n * E::ln2_low;
  double factorial = 1;
  for (int k = 2; k <= E::degree; ++k) factorial *= k;
  // Horner: (e^r − 1)/r = 1 + r/2! + r²/3! + …
  auto sum = each([&](Vec<T>) { return Vec<T>{} + T(1 / factorial); }, x);
#pragma GCC unroll 16
  for (int k = E::degree; k > 1; --k) {
    factorial /= k;
    sum = sum * r + T(1 / factorial);
  }
  // The low bits of `shifted` hold n; moved into the exponent's place they make 2^n.
  const auto scale = each(
      [](Vec<T> value) {
        const Bits one = reinterpret_cast<Bits>(Vec<T>{} + T(1));
        return reinterpret_cast<Vec<T>>((reinterpret_cast<Bits>(value) << E::mantissa) + one);
      },
      shifted);
  return {scale, sum * r};
}

// σ(x), within 3 units in the last place (tests/cells/test_native.py measures it).
template <class T, int N>
NATIVE_INLINE Rows<T, N> sigmoid(const Rows<T, N>& x) {
  const auto e = scaled_exponential(clamp(T(0) - x, Exponential<T>::limit));
  return reciprocal(1 + (e.scale + e.scale * e.rest));
}

// tanh(x) = (e^2x − 1)/(e^2x + 1), within 4 units in the last place, also near zero.
template <class T, int N>
NATIVE_INLINE Rows<T, N> tanh(const Rows<T, N>& x) {
  const auto e = scaled_exponential(clamp(x + x, sizeof(T) == 4 ? 20 : 40));  // beyond, tanh rounds to ±1
  const auto above_one = e.scale * e.rest + (e.scale - 1);
  return above_one * reciprocal(above_one + 2);
}

// e^x, within 2 units in the last place; infinite and 0 where that is no normal number.
template <class T, int N>
NATIVE_INLINE Rows<T, N> exp(const Rows<T, N>& x) {
  const auto e = scaled_exponential(clamp(x, Exponential<T>::limit));
  const auto limit = Exponential<T>::limit;
  const auto below = where(x < -limit, Rows<T, N>::of(0), e.scale + e.scale * e.rest);
  return where(x > limit, Rows<T, N>::of(std::numeric_limits<T>::infinity()), below);
}

// Functions that few cells use, by the C library's, lane by lane.
#define NATIVE_LANES(function)                                             \
  template <class T, int N>                                                \
  NATIVE_INLINE Rows<T, N> function(const Rows<T, N>& x) {                 \
    return each(                                                           \
        [](Vec<T> value) {                                                 \
          for (int i = 0; i < kLanes<T>; ++i) value[i] = std::function(value[i]); \
          return value;                                                    \
        },                                                                 \
        x);                                                                \
  }
NATIVE_LANES(log)
NATIVE_LANES(log1p)
NATIVE_LANES(expm1)
NATIVE_LANES(sin)
NATIVE_LANES(cos)
NATIVE_LANES(erf)
NATIVE_LANES(sqrt)
#undef NATIVE_LANES

}  // namespace native
