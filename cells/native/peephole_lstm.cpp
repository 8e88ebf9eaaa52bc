// LSTM with peepholes, gates in the order i, f, g, o (cells/peephole_lstm.py).
#include "register.h"

namespace native {

struct PeepholeLSTM {
  static constexpr int gates = 4, saved = 4, gradients = 4;
  static constexpr int vectors = 7;  // four biases, then the peepholes of i, f, o
  static constexpr bool has_cell_state = true, has_direct = false;
  static constexpr int order_x(int gate) { return gate; }

  template <class V>
  NATIVE_INLINE static void forward(Forward<V, PeepholeLSTM>& s) {
    const V p_i = s.p[4], p_f = s.p[5], p_o = s.p[6];
    const V i = sigmoid(s.wx[0] + s.uh[0] + s.p[0] + p_i * s.c);
    const V f = sigmoid(s.wx[1] + s.uh[1] + s.p[1] + p_f * s.c);
    const V g = tanh(s.wx[2] + s.uh[2] + s.p[2]);
    s.c = f * s.c + i * g;
    const V o = sigmoid(s.wx[3] + s.uh[3] + s.p[3] + p_o * s.c);
    s.h = o * tanh(s.c);
    s.saved[0] = i, s.saved[1] = f, s.saved[2] = g, s.saved[3] = o;
  }

  template <class V>
  NATIVE_INLINE static void backward(Backward<V, PeepholeLSTM>& s) {
    const V i = s.saved[0], f = s.saved[1], g = s.saved[2], o = s.saved[3];
    const V p_i = s.p[4], p_f = s.p[5], p_o = s.p[6];
    const V tanh_c = tanh(s.c);
    const V d_o = s.dh * tanh_c * o * (1 - o);
    const V dc = s.dc + s.dh * o * (1 - tanh_c * tanh_c) + d_o * p_o;
    const V d_i = dc * g * i * (1 - i);
    const V d_f = dc * s.c_before * f * (1 - f);
    s.d[0] = d_i, s.d[1] = d_f, s.d[2] = dc * i * (1 - g * g), s.d[3] = d_o;
    s.dc = dc * f + d_i * p_i + d_f * p_f;
    for (int k = 0; k < 4; ++k) s.dp[k] = s.d[k];
    s.dp[4] = d_i * s.c_before;
    s.dp[5] = d_f * s.c_before;
    s.dp[6] = d_o * s.c;
  }
};

static const Register<PeepholeLSTM> peephole_lstm("peephole_lstm");

}  // namespace native
