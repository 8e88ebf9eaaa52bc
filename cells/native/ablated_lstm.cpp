// LSTMs with peepholes without one of their parts, gates in the order i, f, g, o (cells/ablated_lstm.py).
#include "register.h"

namespace native {

enum class Without { kInputGate, kForgetGate, kOutputGate, kInputActivation, kOutputActivation, kForgetWeights };

template <Without part>
struct AblatedLSTM {
  static constexpr bool has_i = part != Without::kInputGate, has_o = part != Without::kOutputGate;
  static constexpr bool coupled = part == Without::kForgetWeights;  // f = 1 − i
  static constexpr bool has_f = part != Without::kForgetGate && !coupled;
  static constexpr bool tanh_in = part != Without::kInputActivation, tanh_out = part != Without::kOutputActivation;
  static constexpr int sigmoids = has_i + has_f + has_o;
  static constexpr int at_f = has_i, at_g = has_i + has_f, at_o = at_g + 1;
  static constexpr int gates = sigmoids + 1, saved = gates, gradients = gates;
  static constexpr int vectors = gates + sigmoids;  // biases, then the peepholes of the gates but g
  static constexpr int p_i = gates, p_f = gates + has_i, p_o = gates + has_i + has_f;
  static constexpr bool has_cell_state = true, has_direct = false;
  static constexpr int order_x(int gate) { return gate; }

  template <class V>
  NATIVE_INLINE static void forward(Forward<V, AblatedLSTM>& s) {
    const auto sum = [&](int gate) { return s.wx[gate] + s.uh[gate] + s.p[gate]; };
    V kept = s.c;
    if constexpr (has_i) s.saved[0] = sigmoid(sum(0) + s.p[p_i] * s.c);
    if constexpr (has_f) kept = (s.saved[at_f] = sigmoid(sum(at_f) + s.p[p_f] * s.c)) * s.c;
    if constexpr (coupled) kept = (1 - s.saved[0]) * s.c;
    V g = sum(at_g);
    if constexpr (tanh_in) g = tanh(g);
    s.saved[at_g] = g;
    if constexpr (has_i) g = s.saved[0] * g;
    s.c = kept + g;
    s.h = s.c;
    if constexpr (tanh_out) s.h = tanh(s.c);
    if constexpr (has_o) s.h = (s.saved[at_o] = sigmoid(sum(at_o) + s.p[p_o] * s.c)) * s.h;
  }

  template <class V>
  NATIVE_INLINE static void backward(Backward<V, AblatedLSTM>& s) {
    V y = s.c, dy = s.dh;  // what the output gate lets through, and its gradient
    if constexpr (tanh_out) y = tanh(s.c);
    V dc = s.dc;
    if constexpr (has_o) {
      const V o = s.saved[at_o];
      s.d[at_o] = s.dh * y * o * (1 - o);
      dy = s.dh * o;
      dc += s.d[at_o] * s.p[p_o];
      s.dp[p_o] = s.d[at_o] * s.c;
    }
    if constexpr (tanh_out) dy = dy * (1 - y * y);
    dc += dy;
    const V g = s.saved[at_g];
    V dg = dc;
    if constexpr (has_i) dg = dc * s.saved[0];
    if constexpr (tanh_in) dg = dg * (1 - g * g);
    s.d[at_g] = dg;
    V through = dc;  // what is left of dc for c(t−1)
    if constexpr (coupled) through = dc * (1 - s.saved[0]);
    if constexpr (has_f) {
      const V f = s.saved[at_f];
      s.d[at_f] = dc * s.c_before * f * (1 - f);
      through = dc * f + s.d[at_f] * s.p[p_f];
      s.dp[p_f] = s.d[at_f] * s.c_before;
    }
    if constexpr (has_i) {
      const V i = s.saved[0];
      V of_i = g;
      if constexpr (coupled) of_i = g - s.c_before;
      s.d[0] = dc * of_i * i * (1 - i);
      through += s.d[0] * s.p[p_i];
      s.dp[p_i] = s.d[0] * s.c_before;
    }
    s.dc = through;
    for (int k = 0; k < gates; ++k) s.dp[k] = s.d[k];
  }
};

static const Register<AblatedLSTM<Without::kInputGate>> input_gate("lstm_without_input_gate");
static const Register<AblatedLSTM<Without::kForgetGate>> forget_gate("lstm_without_forget_gate");
static const Register<AblatedLSTM<Without::kOutputGate>> output_gate("lstm_without_output_gate");
static const Register<AblatedLSTM<Without::kInputActivation>> input_activation("lstm_without_input_activation");
static const Register<AblatedLSTM<Without::kOutputActivation>> output_activation("lstm_without_output_activation");
static const Register<AblatedLSTM<Without::kForgetWeights>> forget_weights("lstm_with_coupled_gates");

}  // namespace native
