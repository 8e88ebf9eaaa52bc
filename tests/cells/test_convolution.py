"""The convolution of each channel by itself: C++ against torch's."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cells import native
from cells.convolution import DepthwiseConvolution

pytestmark = pytest.mark.skipif(not native.library().loaded, reason="no native kernels here")


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def by_torch(layer: DepthwiseConvolution, inputs: Tensor, past: Tensor) -> Tensor:
    seen = torch.cat([past, inputs.permute(1, 2, 0)], dim=-1)
    return F.conv1d(seen, layer.weight, layer.bias, groups=len(layer.weight)).permute(2, 0, 1)


def drawn(time: int, batch: int, channels: int, kernel: int, dtype: torch.dtype):
    layer = DepthwiseConvolution(channels, kernel).to(dtype)
    # One of two halves of features, as Mamba has it: not contiguous.
    inputs = torch.randn(time, batch, 2 * channels, dtype=dtype).chunk(2, dim=-1)[0].requires_grad_()
    past = torch.randn(batch, channels, kernel - 1, dtype=dtype, requires_grad=True)
    return layer, inputs, past


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (7, 3, 5, 4), (2, 2, 33, 4), (9, 1, 16, 1), (5, 4, 100, 9)])
def test_outputs_and_gradients_are_torchs(sizes: tuple[int, int, int, int], dtype: torch.dtype):
    layer, inputs, past = drawn(*sizes, dtype)
    outputs, last = layer(inputs, past)
    given = [inputs, past, *layer.parameters()]
    gradients = torch.autograd.grad(outputs.sin().sum(), given)
    expected = by_torch(layer, inputs, past)
    assert outputs.grad_fn is not None
    assert "Depthwise" in type(outputs.grad_fn).__name__
    for one, other in zip(
        (outputs, *gradients), (expected, *torch.autograd.grad(expected.sin().sum(), given)), strict=True
    ):
        torch.testing.assert_close(one, other)
    seen = torch.cat([past, inputs.permute(1, 2, 0)], dim=-1)
    assert torch.equal(last, seen[..., inputs.shape[0] :])


def test_second_derivatives_are_finite_differences():
    layer, inputs, past = drawn(4, 2, 3, 3, torch.float64)

    def of(x: Tensor, before: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x, before))[0].sin()

    given = (inputs, past, *layer.parameters())
    assert torch.autograd.gradcheck(of, given)
    assert torch.autograd.gradgradcheck(of, given)
