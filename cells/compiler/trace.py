"""One step of a cell as products and point-wise operations.

The step is run once, on a few numbers, and every operation that torch dispatches is recorded. What depends on
parameters alone (a chunk of a weight, W − Wᵀ, the sigmoid of a scale) stays in torch: it is computed once a sequence,
and torch differentiates it. All else must be products by parameters and point-wise work on pieces of H units."""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
BATCH = 3  # of the step that is traced
OF_PARAMETERS = "the dtype of the parameters"
Step = Callable[[Tensor, list[Tensor]], tuple[Tensor, list[Tensor]]]  # x(t), states(t−1) → output, states(t)


class Untraceable(Exception):
    """A step that the compiler cannot turn into a kernel. The message says why, in one line."""


@dataclass(eq=False)
class Static:
    """A tensor that depends on parameters alone: a parameter or buffer, or an operation on such."""

    name: str | None = None
    func: Any = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    part: int | None = None  # of several results
    shape: tuple[int, ...] = ()
    dtype: torch.dtype | None = None  # None: that of the parameters, whatever it is

    def evaluate(self, module: nn.Module, known: dict["Static", Any]) -> Tensor:
        """Compute it from a module's parameters as they are now."""
        if self not in known:
            if self.name is not None:
                return functools.reduce(getattr, self.name.split("."), module)  # type: ignore[arg-type, return-value]

            def now(arg: Any) -> Any:
                if arg is OF_PARAMETERS:
                    return next(module.parameters()).dtype
                return arg.evaluate(module, known) if isinstance(arg, Static) else arg

            args, kwargs = _mapped((self.args, self.kwargs), now)
            result = self.func(*args, **kwargs)
            known[self] = result if self.part is None else result[self.part]
        return known[self]

    def __str__(self) -> str:
        if self.name is not None:
            return self.name
        part = "" if self.part is None else f"[{self.part}]"
        return f"{self.func}({', '.join(map(str, [*self.args, *self.kwargs.values()]))}){part}"


@dataclass(frozen=True)
class Block:
    """The `index`-th block of H rows of a matrix (·H, K), or of H elements of a vector."""

    tensor: Static
    index: int


@dataclass(eq=False)
class Node:
    """H-wide values of the step, (B, H).

    `op` is "state" (args: its index), "vector" (a `Block`), "product" (what is multiplied, a `Node` or None for x(t),
    and the `Block` of weights), "constant" (a number), or a point-wise operation of torch.
    """

    op: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    name: str | None = None
    mask: bool = False  # whether it holds truth values
    number: int = field(default_factory=itertools.count().__next__)  # in the order of the equations


@dataclass
class Traced:
    """A step's equations."""

    hidden: int
    output: Node
    before: list[Node]  # the states at t−1, "state" nodes, and at t
    after: list[Node]
    widths: list[int]  # how many nodes each part of the state as it was given consists of

    def nodes(self) -> list[Node]:
        """Return all nodes that output and states need, in the order of the equations."""
        seen: set[Node] = set()
        left = [self.output, *self.after]
        while left:
            node = left.pop()
            if node not in seen:
                seen.add(node)
                left += [arg for arg in node.args if isinstance(arg, Node)]
        return sorted(seen, key=lambda node: node.number)


@dataclass
class _Row:
    """A tensor (B, k·H) of the step, as its k pieces."""

    pieces: list[Node]


class _X:
    """The input x(t)."""


@dataclass
class _Opaque:
    """A tensor of the step that kernels cannot compute. That matters only where the step needs it."""

    why: str


def trace(step: Step, module: nn.Module, input_size: int, hidden: int, widths: Sequence[int]) -> Traced:
    """Trace a step.

    Args:
        step: x(t) (B, I) and the states, (B, width·H) each, to the output (B, H) and the new states.
        module: whose parameters and buffers it uses.
        input_size, hidden: I, H.
        widths: of the states, in units of H.

    Raises:
        Untraceable: it does something else than products with parameters and point-wise operations.
    """
    like = next(module.parameters()).detach()
    x = like.new_zeros(BATCH, input_size)
    states = [like.new_zeros(BATCH, width * hidden) for width in widths]
    recorder = _Recorder(hidden, like.dtype)
    before: list[Node] = []
    for state, width in zip(states, widths, strict=True):
        row = [Node("state", (len(before) + i,)) for i in range(width)]
        before += row
        recorder.know(state, _Row(row))
    recorder.know(x, _X())
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        dtype = None if tensor.dtype == like.dtype else tensor.dtype
        recorder.know(tensor, Static(name, shape=tuple(tensor.shape), dtype=dtype))
    try:
        with torch.no_grad(), torch.autocast(like.device.type, enabled=False), recorder, _shown(module, recorder):
            output, after = step(x, states)
    except Untraceable:
        raise
    except Exception as error:
        if recorder.refused is not None:
            raise recorder.refused from None
        raise Untraceable(f"its step fails: {str(error).splitlines()[0] if str(error) else error!r}") from error
    if recorder.refused is not None:
        raise recorder.refused
    pieces = recorder.row(output).pieces
    if len(pieces) != 1:
        raise Untraceable(f"its output is {len(pieces)}·H wide")
    rows = [recorder.row(state).pieces for state in after]
    if [len(row) for row in rows] != list(widths):
        raise Untraceable("its new state is of another size than its state")
    traced = Traced(hidden, pieces[0], before, [piece for row in rows for piece in row], list(widths))
    if not any(node.op == "product" and node.args[0] is None for node in traced.nodes()):
        raise Untraceable("it does not multiply its input by weights")
    return traced


@contextlib.contextmanager
def _shown(module: nn.Module, recorder: "_Recorder") -> Iterator[None]:
    """Let the recorder observe what a module shows of its steps, instead of whoever does."""
    if not hasattr(module, "observer"):
        yield
        return
    before = module.observer
    module.observer = recorder.observe  # type: ignore[assignment]
    try:
        yield
    finally:
        module.observer = before


class _Recorder(TorchDispatchMode):
    """Records what is dispatched, and stops at what is no product and not point-wise."""

    def __init__(self, hidden: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.hidden, self.dtype = hidden, dtype
        self.values: dict[int, Any] = {}
        self.alive: list[Tensor] = []  # so that no two tensors have one identity
        self.refused: Untraceable | None = None

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or torch imports its compiler, for seconds

    def know(self, tensor: Tensor, value: Any) -> None:
        self.values[id(tensor)] = value
        self.alive.append(tensor)

    def observe(self, values: dict[str, Tensor]) -> None:
        """Name what a step shows of what it computes on the way."""
        for name, tensor in values.items():
            value = self.values.get(id(tensor))
            if isinstance(value, _Row) and len(value.pieces) == 1:
                value.pieces[0].name = name

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        try:
            return self._record(func, args, kwargs)
        except Untraceable as error:
            self.refused = self.refused or error
            raise

    def _record(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        known_args, known_kwargs = _mapped((args, kwargs), self.value)
        kinds = Static | _Row | _X | _Opaque
        values = [value for value in _flat((known_args, known_kwargs)) if isinstance(value, kinds)]
        if func is aten._local_scalar_dense.default:
            raise Untraceable("its step depends on the value of a tensor (a branch, a loop, or .item())")
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise Untraceable(f"{func} is random")
        if func._schema.is_mutable:
            raise Untraceable(f"{func} writes in place")
        result = func(*args, **kwargs)
        if not values and any(isinstance(arg, Tensor) for arg in _flat((args, kwargs))):
            return result  # a number made in the step: `value` reads it
        several = isinstance(result, list | tuple)
        tensors = list(result) if several else [result]
        opaque = next((value for value in values if isinstance(value, _Opaque)), None)
        rule = _RULES.get(func.overloadpacket) or (_point_wise if torch.Tag.pointwise in func.tags else None)
        if opaque is not None:
            made: list[Any] = [opaque] * len(tensors)
        elif all(isinstance(value, Static) for value in values):
            if known_kwargs.get("dtype") == self.dtype:
                known_kwargs = {**known_kwargs, "dtype": OF_PARAMETERS}
            of_parameters = [value for value in values if isinstance(value, Static) and value.dtype is None]
            follows = bool(of_parameters) or known_kwargs.get("dtype") is OF_PARAMETERS
            made = [
                Static(
                    None, func, known_args, known_kwargs, i if several else None, tuple(tensor.shape),
                    None if follows and tensor.dtype == self.dtype else tensor.dtype,
                )
                for i, tensor in enumerate(tensors)
            ]  # fmt: skip
        elif rule is None:
            made = [_Opaque(f"{func} is no product with parameters and not point-wise")] * len(tensors)
        else:
            try:
                made = rule(self, func, result, *known_args, **known_kwargs)
            except Untraceable as error:
                made = [_Opaque(str(error))] * len(tensors)
        for tensor, value in zip(tensors, made, strict=True):
            self.know(tensor, value)
        return result

    def value(self, arg: Any) -> Any:
        """Return what a tensor among an operation's arguments is; other arguments as they are."""
        if not isinstance(arg, Tensor):
            return arg
        if id(arg) in self.values:
            return self.values[id(arg)]
        if arg.numel() == 1:
            return float(arg.item()) if arg.dtype.is_floating_point else arg.item()
        raise Untraceable("its step uses a tensor that is neither a parameter nor a buffer")

    def row(self, tensor: Any) -> _Row:
        value = self.values.get(id(tensor)) if isinstance(tensor, Tensor) else None
        if isinstance(value, _X):
            raise Untraceable("its input x(t) is used other than in a product with parameters")
        if isinstance(value, _Opaque):
            raise Untraceable(value.why)
        if not isinstance(value, _Row):
            raise Untraceable("its step returns something that does not depend on input or state")
        return value

    def pieces(self, value: Any, count: int) -> list[Any]:
        """Return an operand of a point-wise operation as `count` pieces."""
        if isinstance(value, _X):
            raise Untraceable("its input x(t) is used other than in a product with parameters")
        if isinstance(value, _Row):
            if len(value.pieces) != count:
                raise Untraceable(f"rows {len(value.pieces)}·H and {count}·H wide meet point-wise")
            return list(value.pieces)
        if isinstance(value, Static):
            return self.vectors(value, count)
        return [value] * count

    def vectors(self, static: Static, count: int) -> list[Node]:
        """Return parameters (k·H), or a single one, as vectors of units."""
        if static.dtype is not None:
            numbers = self.vectors(_converted(static), count)
            truths = static.dtype == torch.bool
            return [Node(aten.ne.Scalar, (node, 0.0), mask=True) for node in numbers] if truths else numbers
        size = static.shape[-1] if static.shape else 1
        if any(length != 1 for length in static.shape[:-1]):
            raise Untraceable(f"parameters {static.shape} meet rows of {count}·H point-wise")
        if size == count * self.hidden:
            flat = static if len(static.shape) == 1 else _applied(aten.view.default, static, [size], shape=(size,))
            block = _block(flat, self.hidden)
            return [Node("vector", (Block(block.tensor, block.index + i),)) for i in range(count)]
        if size == 1:
            shape = (self.hidden,)
            flat = _applied(aten.view.default, static, [1], shape=(1,))
            return [
                Node("vector", (Block(_applied(aten.expand.default, flat, [self.hidden], shape=shape), 0),))
            ] * count
        raise Untraceable(f"parameters {static.shape} meet rows of {count}·H point-wise")


def _applied(func: Any, static: Static, *args: Any, shape: tuple[int, ...]) -> Static:
    return Static(None, func, (static, *args), shape=shape)


def _converted(static: Static) -> Static:
    return Static(None, aten._to_copy.default, (static,), {"dtype": OF_PARAMETERS}, shape=static.shape)


def _block(static: Static, hidden: int) -> Block:
    """Return which block of which tensor the chunks, splits and slices of a tensor's rows amount to."""
    first, tensor = 0, static
    while tensor.name is None:
        if tensor.func in (aten.split.Tensor, aten.split_with_sizes.default) and not any(tensor.args[2:]):
            sizes, part = tensor.args[1], tensor.part
            assert part is not None
            first += part * sizes if isinstance(sizes, int) else sum(sizes[:part])
        elif tensor.func is aten.slice.Tensor and len(tensor.args) == 4 and tensor.args[1] == 0 <= tensor.args[2]:
            first += tensor.args[2]
        else:
            break
        tensor = tensor.args[0]
    whole = first % hidden == 0 and tensor.shape[0] % hidden == 0
    return Block(tensor, first // hidden) if whole else Block(static, 0)


def _transposed(static: Static) -> Static:
    """Return the transpose of a matrix of parameters; of a transpose, the matrix itself."""
    if static.name is None and (
        static.func is aten.t.default
        or (static.func is aten.permute.default and list(static.args[1]) == [1, 0])
        or (static.func is aten.transpose.int and set(static.args[1:]) in ({0, 1}, {0, -1}, {-2, 1}, {-2, -1}))
    ):
        return static.args[0]
    return _applied(aten.t.default, static, shape=static.shape[::-1])


# What is done to rows, operation by operation. Each returns what its results are.


def _matmul(recorder: _Recorder, func: Any, result: Any, left: Any, right: Any) -> list[Any]:
    if not isinstance(right, Static) or len(right.shape) != 2:
        raise Untraceable("a product of two things of the step is no product with parameters")
    hidden = recorder.hidden
    if right.shape[1] % hidden:
        raise Untraceable(f"a product is {right.shape[1]} wide, which is no multiple of the {hidden} units")
    weight = _transposed(right if right.dtype is None else _converted(right))
    if isinstance(left, _X):
        return [_Row(_products(None, weight, hidden))]
    pieces = left.pieces
    parts = [weight] if len(pieces) == 1 else [
        _applied(aten.slice.Tensor, weight, 1, i * hidden, (i + 1) * hidden, shape=(weight.shape[0], hidden))
        for i in range(len(pieces))
    ]  # fmt: skip
    sums: list[Node] = []
    for piece, part in zip(pieces, parts, strict=True):
        found = _products(piece, part, hidden)
        sums = [_node(aten.add.Tensor, one, other) for one, other in zip(sums, found, strict=True)] if sums else found
    return [_Row(sums)]


def _products(left: Node | None, weight: Static, hidden: int) -> list[Node]:
    if left is not None and left.op == "constant":
        if left.args[0] != 0:
            raise Untraceable("a constant is multiplied by parameters")
        return [left] * (weight.shape[0] // hidden)
    block = _block(weight, hidden)
    return [Node("product", (left, Block(block.tensor, block.index + i))) for i in range(weight.shape[0] // hidden)]


def _addmm(recorder: _Recorder, func: Any, result: Any, bias: Any, left: Any, right: Any, **scales: Any) -> list[Any]:
    if any(scale != 1 for scale in scales.values()):
        raise Untraceable("addmm with scales")
    product = _matmul(recorder, aten.mm.default, result, left, right)[0]
    return _point_wise(recorder, aten.add.Tensor, result, product, bias)


def _linear(recorder: _Recorder, func: Any, result: Any, left: Any, weight: Any, bias: Any = None) -> list[Any]:
    if not isinstance(weight, Static):
        raise Untraceable("a product of two things of the step is no product with parameters")
    product = _matmul(recorder, func, result, left, _transposed(weight))[0]
    return [product] if bias is None else _point_wise(recorder, aten.add.Tensor, result, product, bias)


def _split(recorder: _Recorder, func: Any, result: Any, row: Any, sizes: Any, dim: int = 0) -> list[Any]:
    return _cut(recorder, row, [tensor.shape[-1] for tensor in result], dim, func)


def _cut(recorder: _Recorder, row: Any, sizes: Iterable[int], dim: int, func: Any, first: int = 0) -> list[Any]:
    pieces = row.pieces if isinstance(row, _Row) else recorder.pieces(row, 1)
    rows = []
    for size in sizes:
        if dim not in (1, -1) or first % recorder.hidden or size % recorder.hidden:
            raise Untraceable(f"{func} cuts rows elsewhere than between pieces of {recorder.hidden} units")
        rows.append(_Row(pieces[first // recorder.hidden : (first + size) // recorder.hidden]))
        first += size
    return rows


def _slice(
    recorder: _Recorder, func: Any, result: Any, row: Any, dim: int = 0, start: Any = 0, end: Any = None, step: int = 1
) -> list[Any]:
    size = len(row.pieces) * recorder.hidden if isinstance(row, _Row) else 0
    if dim == 0 and result.shape == (BATCH, size):
        return [row]
    if step != 1:
        raise Untraceable(f"{func} with steps")
    start = (start or 0) + (size if (start or 0) < 0 else 0)
    return _cut(recorder, row, [result.shape[-1]], dim, func, start)


def _cat(recorder: _Recorder, func: Any, result: Any, rows: Any, dim: int = 0) -> list[Any]:
    if dim not in (1, -1) or not all(isinstance(row, _Row) for row in rows):
        raise Untraceable("a concatenation of other than rows of units")
    return [_Row([piece for row in rows for piece in row.pieces])]


def _same(recorder: _Recorder, func: Any, result: Any, row: Any, *args: Any, **kwargs: Any) -> list[Any]:
    """A view, copy or conversion that changes neither shape nor numbers, but of truth values to numbers."""
    if isinstance(row, _X):
        if func.overloadpacket is aten.detach:
            raise Untraceable("it cuts the gradient of its input x(t)")
        return [row]
    if tuple(result.shape) != (BATCH, len(row.pieces) * recorder.hidden):
        raise Untraceable(f"{func} gives rows the shape {tuple(result.shape)}")
    if func.overloadpacket is aten.detach:
        return [_Row([piece if piece.mask or piece.op is func else _node(func, piece) for piece in row.pieces])]
    if func.overloadpacket is not aten._to_copy:
        return [row]
    if kwargs.get("dtype") not in (None, recorder.dtype):
        raise Untraceable(f"a conversion to {kwargs['dtype']}")
    return [_Row([_number(piece) for piece in row.pieces])]


def _constant(recorder: _Recorder, func: Any, result: Any, like: Any, *args: Any, **kwargs: Any) -> list[Any]:
    """Rows of one number, of the shape of others."""
    if result.dim() != 2 or len(result) != BATCH or result.shape[1] % recorder.hidden:
        raise Untraceable(f"{func} gives rows the shape {tuple(result.shape)}")
    value = float(result.flatten()[0])
    return [_Row([Node("constant", (value,))] * (result.shape[1] // recorder.hidden))]


def _point_wise(recorder: _Recorder, func: Any, result: Any, *args: Any, **kwargs: Any) -> list[Any]:
    count = max((len(arg.pieces) for arg in args if isinstance(arg, _Row)), default=1)
    kwargs = {key: value for key, value in kwargs.items() if key not in ("dtype", "layout", "device", "pin_memory")}
    columns = [recorder.pieces(arg, count) for arg in args]
    if result.dtype == torch.bool:  # sums and products of truth values are such
        func = {aten.add: aten.logical_or.default, aten.mul: aten.logical_and.default}.get(func.overloadpacket, func)
    return [_Row([_node(func, *piece, **kwargs) for piece in zip(*columns, strict=True)])]


def _node(func: Any, *args: Any, **kwargs: Any) -> Node:
    """Return the node of a point-wise operation: of numbers, what it computes; without needless ones and zeros."""
    plain = [arg.args[0] if isinstance(arg, Node) and arg.op == "constant" else arg for arg in args]
    if not any(isinstance(arg, Node) for arg in plain):
        tensors = [torch.tensor(arg, dtype=torch.float64) if isinstance(arg, float) else arg for arg in plain]
        return Node("constant", (float(func(*tensors, **kwargs)),))
    if (func is aten.mul.Tensor and 1.0 in plain) or (func is aten.add.Tensor and 0.0 in plain and not kwargs):
        (kept,) = (arg for arg in plain if isinstance(arg, Node))
        return _number(kept)
    return Node(func, tuple(plain), kwargs, mask=func.overloadpacket in _TRUTHS)


def _number(node: Node) -> Node:
    """Return a node of numbers: 1 and 0 where it holds truth values."""
    return _node(aten.where.Scalar, node, 1.0, 0.0) if node.mask else node


_TRUTHS = {
    aten.gt, aten.lt, aten.ge, aten.le, aten.eq, aten.ne, aten.logical_and, aten.logical_or, aten.logical_not,
    aten.bitwise_and, aten.bitwise_or, aten.bitwise_not, aten.logical_xor, aten.bitwise_xor,
}  # fmt: skip
_RULES: dict[Any, Callable[..., list[Any]]] = {
    aten.mm: _matmul,
    aten.addmm: _addmm,
    aten.linear: _linear,
    aten.split: _split,
    aten.split_with_sizes: _split,
    aten.slice: _slice,
    aten.cat: _cat,
    **dict.fromkeys(
        (aten.alias, aten.clone, aten.detach, aten._to_copy, aten.view, aten._unsafe_view, aten.expand, aten.reshape),
        _same,
    ),
    **dict.fromkeys(
        (
            aten.ones_like, aten.zeros_like, aten.full_like, aten.new_zeros, aten.new_ones, aten.new_full,
        ),
        _constant,
    ),
}  # fmt: skip


def _mapped(arg: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(arg, list | tuple):
        return type(arg)(_mapped(part, change) for part in arg)
    if isinstance(arg, dict):
        return {key: _mapped(part, change) for key, part in arg.items()}
    return change(arg)


def _flat(arg: Any) -> Iterator[Any]:
    if isinstance(arg, list | tuple | dict):
        for part in arg.values() if isinstance(arg, dict) else arg:
            yield from _flat(part)
    else:
        yield arg
