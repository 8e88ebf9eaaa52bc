// Plain recurrent network with tanh or relu (cells/rnn.py). Its output alone tells the derivative.
#include "register.h"

namespace native {

template <bool is_tanh>
struct RNN {
  static constexpr int gates = 1, saved = 0, gradients = 1, vectors = 1;
  static constexpr bool has_cell_state = false, has_direct = false;
  static constexpr int order_x(int gate) { return gate; }

  template <class V>
  NATIVE_INLINE static void forward(Forward<V, RNN>& s) {
    const V a = s.wx[0] + s.uh[0] + s.p[0];
    if constexpr (is_tanh) s.h = tanh(a);
    else s.h = relu(a);
  }

  template <class V>
  NATIVE_INLINE static void backward(Backward<V, RNN>& s) {
    if constexpr (is_tanh) s.d[0] = s.dh * (1 - s.h * s.h);
    else s.d[0] = where_positive(s.h, s.dh);
    s.dp[0] = s.d[0];
  }
};

static const Register<RNN<true>> rnn_tanh("rnn_tanh");
static const Register<RNN<false>> rnn_relu("rnn_relu");

}  // namespace native
