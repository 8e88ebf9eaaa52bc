"""Stacks against torch.nn with the same weights, and what they refuse."""

import pytest
import torch
from torch import nn

from cells import GRU, LRU, LSTM, RNN, TCN, Attention, MinGRU, Stack
from tests.cells.conftest import unroll

PAIRS = [(RNN, nn.RNN), (LSTM, nn.LSTM), (GRU, nn.GRU)]


def stack_of(kind, inputs=3, size=5, *, own=None, **options) -> Stack:
    return Stack(lambda width: kind(width, size, **(own or {})), inputs, size, **options)


def with_weights_of(kind, layer: nn.RNNBase, stack: Stack) -> Stack:
    """Copy a torch.nn module's parameters, layer by layer, through modules of one layer each."""
    theirs = dict(layer.named_parameters())
    for suffix, cells in (("", stack.cells), ("_reverse", stack.backward_cells)):
        for number, cell in enumerate(cells):
            one = type(layer)(cell.input_size, cell.hidden_size, dtype=torch.float64)
            with torch.no_grad():
                for name, parameter in one.named_parameters():
                    parameter.copy_(theirs[name.replace("_l0", f"_l{number}{suffix}")])
            cell.load_torch(one)
    return stack


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("kind", "theirs"), PAIRS)
def test_layers_and_directions_are_those_of_torch(kind, theirs, layers, bidirectional):
    layer = theirs(3, 5, num_layers=layers, bidirectional=bidirectional, dtype=torch.float64)
    stack = stack_of(kind, layers=layers, bidirectional=bidirectional, own={"dtype": torch.float64})
    with_weights_of(kind, layer, stack)
    inputs = torch.randn(7, 2, 3, dtype=torch.float64)
    outputs, state = stack(inputs)
    expected, last = layer(inputs)
    torch.testing.assert_close(outputs, expected, rtol=1e-9, atol=1e-9)
    assert outputs.shape[-1] == stack.output_size
    hidden = last[0] if isinstance(last, tuple) else last
    ours = [part for each in state for part in (each if bidirectional else [each])]
    ours = [part[0] if isinstance(part, tuple) else part for part in ours]
    torch.testing.assert_close(torch.stack(ours), hidden, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("kind", "theirs"), PAIRS)
def test_dropout_is_that_of_torch_mask_by_mask(kind, theirs):
    layer = theirs(3, 5, num_layers=3, dropout=0.4, dtype=torch.float64)
    stack = stack_of(kind, layers=3, dropout=0.4, own={"dtype": torch.float64})
    with_weights_of(kind, layer, stack)
    inputs = torch.randn(7, 2, 3, dtype=torch.float64)
    torch.manual_seed(1)
    outputs, _ = stack(inputs)
    torch.manual_seed(1)
    torch.testing.assert_close(outputs, layer(inputs)[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(stack.eval()(inputs)[0], layer.eval()(inputs)[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", ["auto", "loop"])
def test_recurrent_dropout_is_a_mask_of_the_state_in_every_product(backend):
    size, share = 64, 0.25
    stack = stack_of(RNN, 3, size, recurrent_dropout=share, own={"backend": backend})
    (cell,) = stack.cells
    inputs = torch.randn(6, 2, 3)
    torch.manual_seed(1)
    outputs, _ = stack(inputs)
    torch.manual_seed(1)
    mask = nn.functional.dropout(torch.ones(1, size), share)
    assert 0.1 < (mask == 0).float().mean() < 0.4
    h, expected = torch.zeros(2, size), []
    for x in inputs:
        h = torch.tanh(x @ cell.weight_ih.T + cell.bias + (h * mask) @ cell.weight_hh.T)
        expected.append(h)
    torch.testing.assert_close(outputs, torch.stack(expected), rtol=1e-5, atol=1e-6)
    outputs.sum().backward()
    assert not cell.weight_hh.grad[:, mask[0] == 0].any()  # a unit that is out learns nothing
    assert cell.weight_hh.grad.any()
    torch.testing.assert_close(stack.eval()(inputs)[0], cell(inputs)[0])


@pytest.mark.parametrize("options", [{}, {"residual": True, "norm": True, "feedforward": 2.0}, {"norm": True}])
@pytest.mark.parametrize("kind", [GRU, LSTM, MinGRU, LRU, TCN, Attention])
def test_a_sequence_in_pieces_is_the_whole(kind, options):
    stack = stack_of(kind, layers=2, **options).double()
    assert stack.can_step
    inputs, state, outputs = torch.randn(9, 2, 3, dtype=torch.float64), None, []
    for piece in inputs.split([1, 1, 3, 4]):
        output, state = stack(piece, state)
        outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs), stack(inputs)[0], rtol=1e-9, atol=1e-9)


def test_a_transformer_is_torchs_encoder_with_its_weights_but_for_the_positions():
    """Attention with one step has no positions and weight 1, and so is W_o W_v: all else of a block can be compared."""
    size = 8
    stack = stack_of(Attention, 3, size, layers=2, residual=True, norm=True, feedforward=4.0, own={"heads": 2}).double()
    block = nn.TransformerEncoderLayer(size, 2, 4 * size, 0.0, "gelu", norm_first=True, dtype=torch.float64)
    theirs = nn.TransformerEncoder(block, 2, nn.LayerNorm(size, dtype=torch.float64), enable_nested_tensor=False)
    with torch.no_grad():
        for number, layer in enumerate(theirs.layers):
            attention, feedforward = stack.cells[number], stack.feedforwards[number]
            layer.self_attn.in_proj_weight.copy_(attention.enter.weight)
            layer.self_attn.in_proj_bias.zero_()
            layer.self_attn.out_proj.weight.copy_(attention.leave.weight)
            layer.self_attn.out_proj.bias.zero_()
            layer.norm1.load_state_dict(stack.norms[number].state_dict())
            layer.norm2.load_state_dict(feedforward[0].state_dict())
            layer.linear1.load_state_dict(feedforward[1].state_dict())
            layer.linear2.load_state_dict(feedforward[3].state_dict())
    inputs = torch.randn(1, 5, 3, dtype=torch.float64)
    torch.testing.assert_close(stack(inputs)[0], theirs(stack.encoder(inputs)), rtol=1e-9, atol=1e-9)


def test_both_directions_cannot_step():
    stack = stack_of(GRU, bidirectional=True)
    assert stack.can_step is False
    assert stack.why_no_steps == "it reads sequences in both directions"


def test_whether_it_steps_is_what_its_cells_say():
    class Silent(nn.Module):
        pass

    assert Stack(lambda _: Silent(), 3, 5).can_step is None
    assert stack_of(GRU).can_step is True


def test_one_layer_without_options_is_the_cell():
    stack = stack_of(GRU)
    inputs = torch.randn(7, 2, 3)
    torch.testing.assert_close(stack(inputs)[0], unroll(stack.cells[0], inputs, None)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        (GRU, {"layers": 0}, "layers must be at least 1"),
        (GRU, {"layers": 2, "dropout": 1.0}, "dropout must be"),
        (GRU, {"dropout": 0.1}, "dropout is between layers"),
        (GRU, {"bidirectional": 1}, "bidirectional must be True or False"),
        (GRU, {"bidirectional": True, "residual": True}, "one direction"),
        (GRU, {"feedforward": 2.0}, "feedforward needs residual"),
        (GRU, {"feedforward": -1.0, "residual": True}, "feedforward must be"),
        (TCN, {"recurrent_dropout": 0.1}, "weight_hh"),
        (MinGRU, {"recurrent_dropout": 0.1}, "weight_hh"),
    ],
)
def test_what_makes_no_sense_is_refused(kind, options, says):
    with pytest.raises(ValueError, match=says):
        stack_of(kind, **options)


@pytest.mark.parametrize(("kind", "theirs"), PAIRS)
def test_sequences_of_different_lengths_are_those_of_torch_packed(kind, theirs):
    layer = theirs(3, 5, num_layers=2, bidirectional=True, dtype=torch.float64)
    stack = stack_of(kind, layers=2, bidirectional=True, own={"dtype": torch.float64})
    with_weights_of(kind, layer, stack)
    lengths = torch.tensor([4, 9, 1, 6])
    inputs = torch.randn(9, 4, 3, dtype=torch.float64)
    outputs, _ = stack(inputs, None, lengths)
    packed = nn.utils.rnn.pack_padded_sequence(inputs, lengths, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(layer(packed)[0])
    for number, length in enumerate(lengths):
        torch.testing.assert_close(outputs[:length, number], expected[:length, number], rtol=1e-9, atol=1e-9)


def test_what_is_behind_a_sequences_end_changes_nothing_before_it():
    stack = stack_of(GRU, layers=2, bidirectional=True)
    lengths, inputs = torch.tensor([4, 9]), torch.randn(9, 2, 3)
    outputs, _ = stack(inputs, None, lengths)
    alone, _ = stack(inputs[:4, :1])
    torch.testing.assert_close(outputs[:4, 0], alone[:, 0])
    other = inputs.clone()
    other[4:, 0] = 100.0
    torch.testing.assert_close(stack(other, None, lengths)[0][:4], outputs[:4])
    assert not torch.allclose(stack(other)[0][:4, 0], outputs[:4, 0])  # which it does without lengths
