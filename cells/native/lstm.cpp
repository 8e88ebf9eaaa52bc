// LSTM with forget gate, gates in the order i, f, g, o (cells/lstm.py).
#include "register.h"

namespace native {

struct LSTM {
  static constexpr int gates = 4, saved = 4, gradients = 4, vectors = 4;
  static constexpr bool has_cell_state = true, has_direct = false;
  static constexpr int order_x(int gate) { return gate; }

  template <class V>
  NATIVE_INLINE static void forward(Forward<V, LSTM>& s) {
    const V i = sigmoid(s.wx[0] + s.uh[0] + s.p[0]);
    const V f = sigmoid(s.wx[1] + s.uh[1] + s.p[1]);
    const V g = tanh(s.wx[2] + s.uh[2] + s.p[2]);
    const V o = sigmoid(s.wx[3] + s.uh[3] + s.p[3]);
    s.c = f * s.c + i * g;
    s.h = o * tanh(s.c);
    s.saved[0] = i, s.saved[1] = f, s.saved[2] = g, s.saved[3] = o;
  }

  template <class V>
  NATIVE_INLINE static void backward(Backward<V, LSTM>& s) {
    const V i = s.saved[0], f = s.saved[1], g = s.saved[2], o = s.saved[3];
    const V tanh_c = tanh(s.c);
    const V dc = s.dc + s.dh * o * (1 - tanh_c * tanh_c);
    s.d[0] = dc * g * i * (1 - i);
    s.d[1] = dc * s.c_before * f * (1 - f);
    s.d[2] = dc * i * (1 - g * g);
    s.d[3] = s.dh * tanh_c * o * (1 - o);
    s.dc = dc * f;
    for (int k = 0; k < 4; ++k) s.dp[k] = s.d[k];
  }
};

static const Register<LSTM> lstm("lstm");

}  // namespace native
