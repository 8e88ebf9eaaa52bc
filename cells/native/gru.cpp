// GRU with the reset gate after the product, gates in the order r, z, n (cells/gru.py).
#include "register.h"

namespace native {

struct GRU {
  static constexpr int gates = 3, saved = 4;
  static constexpr int gradients = 4;  // n_x, r, z, n_h: the reset gate stands between the two parts of n
  static constexpr int vectors = 4;    // biases of r, z, n, and b_hn inside the reset gate's product
  static constexpr bool has_cell_state = false, has_direct = true;
  static constexpr int order_x(int gate) { return (gate + 2) % 3; }  // n_x, r, z are gates 2, 0, 1

  template <class V>
  NATIVE_INLINE static void forward(Forward<V, GRU>& s) {
    const V r = sigmoid(s.wx[0] + s.uh[0] + s.p[0]);
    const V z = sigmoid(s.wx[1] + s.uh[1] + s.p[1]);
    const V n_h = s.uh[2] + s.p[3];
    const V n = tanh(s.wx[2] + s.p[2] + r * n_h);
    s.h = n + z * (s.h - n);
    s.saved[0] = r, s.saved[1] = z, s.saved[2] = n, s.saved[3] = n_h;
  }

  template <class V>
  NATIVE_INLINE static void backward(Backward<V, GRU>& s) {
    const V r = s.saved[0], z = s.saved[1], n = s.saved[2], n_h = s.saved[3];
    const V d_n = s.dh * (1 - z) * (1 - n * n);
    const V d_r = d_n * n_h * r * (1 - r);
    const V d_z = s.dh * (s.h_before - n) * z * (1 - z);
    const V d_n_h = d_n * r;
    s.d[0] = d_n, s.d[1] = d_r, s.d[2] = d_z, s.d[3] = d_n_h;
    s.direct = s.dh * z;
    s.dp[0] = d_r, s.dp[1] = d_z, s.dp[2] = d_n, s.dp[3] = d_n_h;
  }
};

static const Register<GRU> gru("gru");

}  // namespace native
