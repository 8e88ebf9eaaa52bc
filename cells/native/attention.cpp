// Causal attention, forward and backward: the operators recurrent_bench::attend and ::attend_backward.
//
// Blocks of queries pass over blocks of keys with a running maximum and sum of the softmax (Milakov & Gimelshein 2018,
// Rabe & Staats 2021); backward computes the weights again from the logarithms of these sums (Dao et al. 2022). So
// nothing of size T² is kept. Each sequence is one thread's.
#include <ATen/ATen.h>
#include <torch/library.h>

#include <cmath>
#include <limits>

#include "engine.h"

namespace native {

namespace {

using at::Tensor;

constexpr int kQueries = 64, kKeys = 128;  // of a block, at most; kKeys whole vectors
constexpr int kGroup = tile_rows(kTileVectors);

// Query t sees the keys 0 … t + S − T.
struct Attention {
  int queries, keys, sequences, depth, width;  // T, S, N, D, E
  double scale;                                // of scores
  const void *q, *k, *v;                       // (T, N, D), (S, N, D), (S, N, E)
};

// A matrix of whole vectors. Its rows are an odd number of cache lines apart: at a power of two they would share the
// same few sets of the cache.
template <class T>
struct Matrix {
  static constexpr int line = 64 / sizeof(T);
  const int stride;
  const Buffer<T> memory;

  Matrix(int rows, int columns)
      : stride((blocks(round_up<T>(columns), line) | 1) * line), memory(size_t(rows) * stride) {}
  T* row(int r) const { return memory.get() + size_t(r) * stride; }
};

// The rows of one sequence in an array (…, N, columns).
template <class T>
struct OfSequence {
  T* const data;
  const ptrdiff_t step;  // from time to time
  const int columns;

  OfSequence(const void* all, int sequences, int columns, int n)
      : data(static_cast<T*>(const_cast<void*>(all)) + size_t(n) * columns),
        step(ptrdiff_t(sequences) * columns),
        columns(columns) {}

  T* row(int t) const { return data + t * step; }

  // Copies rows from time t on, filled up to whole vectors with zeros.
  void read(int t, int rows, const Matrix<T>& to, T scale = 1) const {
    for (int r = 0; r < rows; ++r)
      for (int i = 0; i < columns; i += kLanes<T>) store(to.row(r) + i, scale * load(row(t + r) + i, columns - i));
  }

  void write(int t, int rows, const Matrix<T>& from, T scale = 1) const {
    for (int r = 0; r < rows; ++r)
      for (int i = 0; i < columns; i += kLanes<T>) store(row(t + r) + i, scale * load(from.row(r) + i), columns - i);
  }
};

// The transposes (columns, kKeys) of each kKeys rows of a sequence, filled up to whole vectors with zeros.
template <class T>
struct Transposed {
  const int columns;
  const Matrix<T> all;

  Transposed(const OfSequence<T>& from, int rows)
      : columns(from.columns), all(blocks(rows, kKeys) * columns, std::min(kKeys, rows)) {
    constexpr int W = kLanes<T>;
    for (int key = 0; key < rows; key += W)
      for (int column = 0; column < columns; column += W) {
        Vec<T> square[W];
        for (int i = 0; i < W; ++i)
          square[i] = key + i < rows ? load(from.row(key + i) + column, columns - column) : Vec<T>{};
        transpose<T>(square);
        T* to = block(key) + size_t(column) * all.stride + key % kKeys;
        for (int i = 0; i < W && column + i < columns; ++i) store(to + size_t(i) * all.stride, square[i]);
      }
  }

  T* block(int key) const { return all.row(key / kKeys * columns); }
};

// A block of queries and a block of keys.
template <class T>
struct Pair {
  static constexpr int W = kLanes<T>;
  int first_query, queries, first_key, keys, ahead;  // ahead: S − T

  // How many of the keys a query sees.
  int seen(int query) const { return std::clamp(first_query + query + ahead + 1 - first_key, 0, keys); }
  // The first query that sees a key.
  int first_to_see(int key) const { return std::clamp(first_key + key - ahead - first_query, 0, queries); }

  // Calls work(first vector, vectors, first row, rows) for the tiles of a result.
  template <class Work>
  static void over_tiles(int rows, int vectors, Work work) {
    const int across = blocks(vectors, kTileVectors), down = blocks(rows, kGroup);
    for (int i = 0; i < across; ++i) {
      const int v = block_begin(vectors, across, i), width = block_begin(vectors, across, i + 1) - v;
      for (int j = 0; j < down; ++j) {
        const int r = block_begin(rows, down, j);
        work(v, width, r, block_begin(rows, down, j + 1) - r);
      }
    }
  }

  // to (queries, keys) = a (queries, depth) · b (depth, keys), where keys are seen.
  void score(const Matrix<T>& a, const Transposed<T>& b, const Matrix<T>& to) const {
    over_tiles(queries, blocks(keys, W), [&](int v, int width, int r, int rows) {
      const int needed = std::min(width, blocks(seen(r + rows - 1), W) - v);
      if (needed <= 0) return;
      const Left<T> left{a.row(r), a.stride, 0};
      const Right<T> right{b.block(first_key) + v * W, b.all.stride, 0};
      multiply_tile<T>({left, right, 1, b.columns, to.row(r) + v * W, to.stride, false}, rows, needed);
    });
  }

  // to (queries, columns) (+)= weights (queries, keys) · values (keys, columns), added for all but the first keys.
  void gather(const Matrix<T>& weights, const Matrix<T>& values, int columns, const Matrix<T>& to) const {
    over_tiles(queries, blocks(columns, W), [&](int v, int width, int r, int rows) {
      const int depth = seen(r + rows - 1);
      if (depth == 0) return;
      const Left<T> left{weights.row(r), weights.stride, 0};
      const Right<T> right{values.row(first_key) + v * W, values.stride, 0};
      multiply_tile<T>({left, right, 1, depth, to.row(r) + v * W, to.stride, first_key > 0}, rows, width);
    });
  }

  // to (keys, columns) += weightsᵀ (keys, queries) · values (queries, columns)
  void scatter(const Matrix<T>& weights, const Matrix<T>& values, int columns, const Matrix<T>& to) const {
    over_tiles(keys, blocks(columns, W), [&](int v, int width, int key, int rows) {
      const int first = first_to_see(key);
      if (first == queries) return;
      const Left<T> left{weights.row(first) + key, weights.stride, 0, true};
      const Right<T> right{values.row(first) + v * W, values.stride, 0};
      T* sum = to.row(first_key + key) + v * W;
      multiply_tile<T>({left, right, 1, queries - first, sum, to.stride, true}, rows, width);
    });
  }
};

// Calls work(first, how many) for the blocks of queries.
template <class Work>
void over_queries(const Attention& a, Work work) {
  const int count = blocks(a.queries, kQueries);
  for (int i = 0; i < count; ++i) {
    const int first = block_begin(a.queries, count, i);
    work(first, block_begin(a.queries, count, i + 1) - first);
  }
}

// Calls work(pair) for a block of queries and each block of keys that it sees.
template <class T, class Work>
void over_keys(const Attention& a, int first_query, int queries, Work work) {
  const int ahead = a.keys - a.queries, seen = first_query + queries + ahead;
  for (int key = 0; key < seen; key += kKeys)
    work(Pair<T>{first_query, queries, key, std::min(kKeys, seen - key), ahead});
}

// `value` in the first `count` lanes, `other` in those that follow.
template <class T>
inline Vec<T> first_lanes(Vec<T> value, int count, T other) {
  typedef typename Exponential<T>::Bits Bits __attribute__((vector_size(kVectorBytes)));
  Bits lane;
  for (int i = 0; i < kLanes<T>; ++i) lane[i] = i;
  return lane < count ? value : Vec<T>{} + other;
}

template <class T>
inline T sum(Vec<T> all) {
  T total = all[0];
  for (int i = 1; i < kLanes<T>; ++i) total += all[i];
  return total;
}

// e^(score − shift) of a vector of scores, of which `seen` are seen; 0 for the others.
template <class T>
inline Vec<T> weight_of(const T* scores, T shift, int seen) {
  return first_lanes<T>(exp(Rows<T, 1>{{load(scores) - shift}}).v[0], seen, T(0));
}

// The softmax of one query so far, not divided by its sum.
template <class T>
struct Softmax {
  T most = -std::numeric_limits<T>::infinity(), total = 0;

  // Turns scores into weights, 0 for those of `all` that are not seen; returns by what earlier weights are to be
  // multiplied.
  T add(T* scores, int seen, int all) {
    constexpr int W = kLanes<T>;
    const T before = most;
    Vec<T> highest = Vec<T>{} + most, sums{};
    for (int i = 0; i < seen; i += W) {
      const Vec<T> score = first_lanes<T>(load(scores + i), seen - i, before);
      highest = score > highest ? score : highest;
    }
    for (int i = 0; i < W; ++i) most = std::max(most, highest[i]);
    for (int i = 0; i < all; i += W) {
      const Vec<T> weight = i < seen ? weight_of(scores + i, most, seen - i) : Vec<T>{};
      store(scores + i, weight);
      sums += weight;
    }
    const T factor = std::exp(before - most);
    total = total * factor + sum<T>(sums);
    return factor;
  }
};

template <class T>
void attend(const Attention& a, void* contexts, void* log_sums) {
  constexpr int W = kLanes<T>;
  const int most_queries = std::min(kQueries, a.queries), most_keys = std::min(kKeys, a.keys);
  in_team(std::min(threads(), a.sequences), [&](Team& team) {
    const Matrix<T> q(most_queries, a.depth), weights(most_queries, most_keys), sums(most_queries, a.width);
    const Matrix<T> values(a.keys, a.width);
    for (int n = team.index; n < a.sequences; n += team.size) {
      const Transposed<T> keys(OfSequence<T>(a.k, a.sequences, a.depth, n), a.keys);
      OfSequence<T>(a.v, a.sequences, a.width, n).read(0, a.keys, values);
      over_queries(a, [&](int first, int queries) {
        OfSequence<T>(a.q, a.sequences, a.depth, n).read(first, queries, q, a.scale);
        Softmax<T> softmax[kQueries];
        over_keys<T>(a, first, queries, [&](const Pair<T>& pair) {
          pair.score(q, keys, weights);
          for (int r = 0; r < queries; ++r) {
            const T factor = softmax[r].add(weights.row(r), pair.seen(r), pair.keys);
            if (pair.first_key > 0 && factor != 1)
              for (int i = 0; i < a.width; i += W) store(sums.row(r) + i, factor * load(sums.row(r) + i));
          }
          pair.gather(weights, values, a.width, sums);
        });
        for (int r = 0; r < queries; ++r) {
          const auto [most, total] = softmax[r];
          for (int i = 0; i < a.width; i += W) store(sums.row(r) + i, load(sums.row(r) + i) / total);
          static_cast<T*>(log_sums)[size_t(n) * a.queries + first + r] = most + std::log(total);
        }
        OfSequence<T>(contexts, a.sequences, a.width, n).write(first, queries, sums);
      });
    }
  });
}

struct AttentionGradient {
  const void *contexts, *log_sums, *of_contexts;  // what forward returned, and the contexts' gradient
  void *q, *k, *v;                                // v is null if keys are the values: their gradient is k's
};

template <class T>
void attend_backward(const Attention& a, const AttentionGradient& g) {
  constexpr int W = kLanes<T>;
  const int most_queries = std::min(kQueries, a.queries), most_keys = std::min(kKeys, a.keys);
  const bool one = g.v == nullptr;
  in_team(std::min(threads(), a.sequences), [&](Team& team) {
    const Matrix<T> q(most_queries, a.depth), dq(most_queries, a.depth), d_context(most_queries, a.width);
    const Matrix<T> weights(most_queries, most_keys), d_scores(most_queries, most_keys), keys(a.keys, a.depth);
    const Matrix<T> dk(a.keys, a.depth), own_dv(one ? 0 : a.keys, a.width);
    const Matrix<T>& dv = one ? dk : own_dv;
    for (int n = team.index; n < a.sequences; n += team.size) {
      const OfSequence<T> of_q(a.q, a.sequences, a.depth, n), of_k(a.k, a.sequences, a.depth, n);
      const OfSequence<T> contexts(g.contexts, a.sequences, a.width, n);
      const Transposed<T> keys_across(of_k, a.keys);
      const Transposed<T> own_values({a.v, a.sequences, a.width, n}, one ? 0 : a.keys);
      const Transposed<T>& values_across = one ? keys_across : own_values;
      of_k.read(0, a.keys, keys);
      std::fill_n(dk.row(0), size_t(a.keys) * dk.stride, T(0));
      if (!one) std::fill_n(dv.row(0), size_t(a.keys) * dv.stride, T(0));
      over_queries(a, [&](int first, int queries) {
        of_q.read(first, queries, q, a.scale);
        OfSequence<T>(g.of_contexts, a.sequences, a.width, n).read(first, queries, d_context);
        T along[kQueries];  // what moves all weights of a query alike leaves its softmax as it is
        for (int r = 0; r < queries; ++r) {
          Vec<T> sums{};
          const T* context = contexts.row(first + r);
          for (int i = 0; i < a.width; i += W) sums += load(d_context.row(r) + i) * load(context + i, a.width - i);
          along[r] = sum<T>(sums);
        }
        const T* log_sum = static_cast<const T*>(g.log_sums) + size_t(n) * a.queries + first;
        over_keys<T>(a, first, queries, [&](const Pair<T>& pair) {
          pair.score(q, keys_across, weights);
          pair.score(d_context, values_across, d_scores);
          for (int r = 0; r < queries; ++r)
            for (int i = 0, seen = pair.seen(r); i < pair.keys; i += W) {
              T *weight = weights.row(r) + i, *d_score = d_scores.row(r) + i;
              const bool any = i < seen;  // else there are no scores here
              store(weight, any ? weight_of(weight, log_sum[r], seen - i) : Vec<T>{});
              const Vec<T> derived = any ? load(weight) * (load(d_score) - along[r]) : Vec<T>{};
              store(d_score, first_lanes<T>(derived, seen - i, T(0)));
            }
          pair.scatter(weights, d_context, a.width, dv);
          pair.scatter(d_scores, q, a.depth, dk);
          pair.gather(d_scores, keys, a.depth, dq);
        });
        OfSequence<T>(g.q, a.sequences, a.depth, n).write(first, queries, dq, a.scale);
      });
      OfSequence<T>(g.k, a.sequences, a.depth, n).write(0, a.keys, dk);
      if (!one) OfSequence<T>(g.v, a.sequences, a.width, n).write(0, a.keys, dv);
    }
  });
}

Attention describe(const Tensor& q, const Tensor& k, const Tensor& v, double scale) {
  const auto size = [](const Tensor& tensor, int dim) { return int(tensor.size(dim)); };
  return {size(q, 0), size(k, 0), size(q, 1), size(q, 2), size(v, 2), scale,
          q.const_data_ptr(), k.const_data_ptr(), v.const_data_ptr()};
}

// Returns the contexts (T, N, E), and the logarithms of the softmax's sums (N, T), for backward.
std::tuple<Tensor, Tensor> attend_operator(const Tensor& any_q, const Tensor& any_k, const std::optional<Tensor>& any_v,
                                           double scale) {
  const Tensor q = any_q.contiguous(), k = any_k.contiguous(), v = any_v ? any_v->contiguous() : k;
  TORCH_CHECK_VALUE(q.dim() == 3 && k.dim() == 3 && v.dim() == 3 && q.size(0) > 0 && q.size(0) <= k.size(0) &&
                        q.size(1) == k.size(1) && q.size(2) == k.size(2) && v.size(0) == k.size(0) &&
                        v.size(1) == k.size(1),
                    "queries must be (T, N, D), keys (S, N, D) and values (S, N, E), S at least T");
  const bool alike = k.scalar_type() == q.scalar_type() && v.scalar_type() == q.scalar_type();
  TORCH_CHECK_TYPE(alike && (q.scalar_type() == at::kFloat || q.scalar_type() == at::kDouble),
                   "queries, keys and values must be of one dtype, float32 or float64");
  const Tensor contexts = at::empty({q.size(0), q.size(1), v.size(2)}, q.options());
  const Tensor log_sums = at::empty({q.size(1), q.size(0)}, q.options());
  const auto run = q.scalar_type() == at::kFloat ? attend<float> : attend<double>;
  run(describe(q, k, v, scale), contexts.data_ptr(), log_sums.data_ptr());
  return {contexts, log_sums};
}

// Returns the gradients of queries, keys and values; none of values if the keys are these.
std::tuple<Tensor, Tensor, std::optional<Tensor>> attend_backward_operator(
    const Tensor& any_q, const Tensor& any_k, const std::optional<Tensor>& any_v, double scale, const Tensor& contexts,
    const Tensor& log_sums, const Tensor& any_gradient) {
  const Tensor q = any_q.contiguous(), k = any_k.contiguous(), v = any_v ? any_v->contiguous() : k;
  const Tensor of_contexts = any_gradient.contiguous(), of_q = at::empty_like(q), of_k = at::empty_like(k);
  const std::optional<Tensor> of_v = any_v ? std::optional(at::empty_like(v)) : std::nullopt;
  const auto run = q.scalar_type() == at::kFloat ? attend_backward<float> : attend_backward<double>;
  run(describe(q, k, v, scale), {contexts.const_data_ptr(), log_sums.const_data_ptr(), of_contexts.const_data_ptr(),
                                 of_q.data_ptr(), of_k.data_ptr(), of_v ? of_v->data_ptr() : nullptr});
  return {of_q, of_k, of_v};
}

}  // namespace

}  // namespace native

TORCH_LIBRARY_FRAGMENT(recurrent_bench, library) {
  library.def("attend(Tensor q, Tensor k, Tensor? v, float scale) -> (Tensor contexts, Tensor log_sums)");
  library.def(
      "attend_backward(Tensor q, Tensor k, Tensor? v, float scale, Tensor contexts, Tensor log_sums, Tensor gradient) "
      "-> (Tensor q, Tensor k, Tensor? v)");
}

TORCH_LIBRARY_IMPL(recurrent_bench, CPU, library) {
  library.impl("attend", native::attend_operator);
  library.impl("attend_backward", native::attend_backward_operator);
}
