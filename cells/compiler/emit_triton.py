"""Triton for a program: a module with the point-wise part of a step, forward and backward, and the layout of what these
are given, for the kernels of `cells.fused`."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cells.compiler.emit import Writer
from cells.compiler.expressions import ARITHMETIC, COMPARISONS, Expression, Expressions, all_of
from cells.compiler.program import Program
from cells.compiler.trace import Block, Static, Untraceable

WIDTH = 112  # of a line within a function
OWN = ("expm1", "log1p", "maximum", "minimum", "relu", "sign", "tanh")  # functions of cells.fused
FUNCTIONS = {
    **{op: f"tl.{op}" for op in ("sigmoid", "exp", "log", "abs", "sqrt", "sin", "cos", "erf", "where")},
    "max": "maximum",
    "min": "minimum",
}
ARGUMENTS = {
    "start": ("x", "p", "zero"),
    "forward": ("x", "u", "p", "before", "zero"),
    "backward": ("p", "before", "after", "output", "saved", "d_output", "d_state", "zero"),
}


def emit_triton(program: Program, title: str) -> str:
    """Return the source of a program's module.

    Raises:
        Untraceable: it is of no form that GPU kernels have.
    """
    if any(operand.now for operand in program.operands):
        raise Untraceable("it multiplies a value of the same step, which GPU kernels do not")
    parts = program.parts
    matrices, vectors = parts.statics()
    sums = _sums(program)
    place = {gate: k for k, each in enumerate(sums) for gate in each.gates}
    operands = []
    gates: list[Block] = []
    for operand in sorted(program.operands, key=lambda operand: operand.cut):
        ordered = [operand.first + i for i in operand.order]
        operands.append((operand.node.args[0], len(gates), operand.gradient, tuple(place[gate] for gate in ordered)))
        gates += [operand.gates[i] for i in operand.order]
    biased = _biased(program)
    output = program.series[program.output]
    summed = [*program.gradients, *_apart(program)]
    layout = {
        "inputs": _places([parts.inputs[i] for i in program.input_order], matrices),
        "biases": [biased[i][1] if i in biased else -1 for i in program.input_order],
        "gates": _places(gates, matrices),
        "vectors": _places(parts.vectors, vectors),
        "operands": operands,
        "uncut": sum(not operand.cut for operand in program.operands),
        "states": len(program.after),
        "output": program.after.index(output) if output in program.after else -1,
        "saved": len(program.saved),
        "gradients": len(program.gradients),
        "input_gradient": program.input_gradient,
        "sums": len(summed) - len(program.gradients),
        "of_vectors": [-1 if value is None else summed.index(value) for value in program.of_vectors],
    }
    known = {whole: f"x[{program.input_order.index(i)}]" for i, (whole, _) in biased.items()}
    functions = [
        *_function("start", _Writer(program, known), [[each.start for each in sums]]),
        *_forward(program, sums, known),
        *_backward(program),
    ]
    used = [name for name in OWN if any(f"{name}(" in line for line in functions)]
    return "\n".join(
        [
            f'"""{title}: generated from its equations; cells.fused says what these are."""',
            "",
            "import triton",
            "import triton.language as tl",
            "",
            f"from cells.fused import {', '.join(['Layout', *used])}",
            "",
            *(f"# matrix {i}: {tensor}" for i, tensor in enumerate(matrices)),
            *(f"# vector {i}: {tensor}" for i, tensor in enumerate(vectors)),
            "LAYOUT = Layout(",
            *(f"    {name}={_literal(value)}," for name, value in layout.items()),
            ")",
            *functions,
            "",
        ]
    )


def _places(blocks: Sequence[Block], tensors: list[Static]) -> list[tuple[int, int]]:
    return [(tensors.index(block.tensor), block.index) for block in blocks]


def _literal(value: object) -> str:
    return repr(tuple(value) if isinstance(value, list) else value)


def _apart(program: Program) -> list[Expression]:
    """Return the gradients of vectors that are not gradients of products too."""
    return [
        value for value in dict.fromkeys(program.of_vectors) if value is not None and value not in program.gradients
    ]


@dataclass
class _Sum:
    """Products that are only added, to each other and to what needs no product of a state: they have one accumulator.

    Attributes:
        whole: their sum, or the product.
        gates: which products.
        start: what else is in the sum, which the accumulator starts from.
    """

    whole: Expression
    gates: list[int]
    start: Expression


def _sums(program: Program) -> list[_Sum]:
    targets = [*program.after, *program.series, *program.saved]
    uses: Counter[Expression] = Counter(dict.fromkeys(targets, 2))  # a sum that is kept has to be whole
    expressions, sums = Expressions(), dict[Expression, _Sum]()
    zero = expressions.constant(0)
    every = all_of(targets)
    for value in every:
        uses.update(value.operands)
    for value in every:
        if value.op == "u":
            sums[value] = _Sum(value, [value.args[0]], zero)
        elif value.op == "add":
            merged = _Sum(value, [], zero)
            for part in value.args:
                if part in sums and uses[part] == 1:
                    merged.gates += sums[part].gates
                    merged.start = expressions.make("add", sums[part].start, merged.start)
                elif not _has(part, "u", "before"):
                    merged.start = expressions.make("add", merged.start, part)
                else:
                    break
            else:
                if merged.gates:
                    sums = {part: one for part, one in sums.items() if part not in value.args}
                    sums[value] = merged
    gates = sum(len(operand.gates) for operand in program.operands)
    needless = set(range(gates)) - {gate for one in sums.values() for gate in one.gates}
    unused = [_Sum(expressions.leaf("u", gate), [gate], zero) for gate in sorted(needless)]
    return sorted([*sums.values(), *unused], key=lambda one: min(one.gates))


def _has(value: Expression, *kinds: str) -> bool:
    return any(part.op in kinds for part in all_of([value]))


def _biased(program: Program) -> dict[int, tuple[Expression, int]]:
    """Return, of each product of x(t) that is only used with a certain bias, that sum, and which vector the bias is:
    these are added when all products of x(t) are computed, rather than in the step."""
    targets = [*program.after, *program.series, *program.saved]
    users: dict[Expression, list[Expression]] = defaultdict(list)
    for value in all_of(targets):
        for part in value.operands:
            users[part].append(value)
    biased = {}
    for part, values in users.items():
        if part.op == "x" and part not in targets and len(values) == 1 and values[0].op == "add":
            for one in values[0].args:
                if one.op == "p":
                    biased[part.args[0]] = (values[0], one.args[0])
    return biased


def _forward(program: Program, sums: Sequence[_Sum], known: dict[Expression, str]) -> list[str]:
    writer = _Writer(program, known | {one.whole: f"u[{k}]" for k, one in enumerate(sums)})
    output = program.series[program.output]
    return _function("forward", writer, [program.after, [output], program.saved])


def _backward(program: Program) -> list[str]:
    zero = Expressions().constant(0)
    known = {
        program.series[program.output]: "output",
        **{value: f"saved[{i}]" for i, value in enumerate(program.saved)},
        **{value: f"after[{j}]" for j, value in enumerate(program.after)},
    }
    direct = [zero if value is None else value for value in program.direct]
    return _function("backward", _Writer(program, known), [program.gradients, direct, _apart(program)])


def _function(name: str, writer: "_Writer", results: Sequence[Sequence[Expression]]) -> list[str]:
    """Return a function that returns several tuples of values."""
    writer.share([value for values in results for value in values])
    tuples = [_tuple([writer.whole(value) for value in values]) for values in results]
    line = f"return {', '.join(tuples)}"
    if len(line) <= WIDTH:
        lines = [line]
    elif len(tuples) > 1:
        lines = ["return (", *(f"    {one}," for one in tuples), ")"]
    else:
        lines = ["return (", *(f"    {writer.whole(value)}," for value in results[0]), ")"]
    header = ["", "", "@triton.jit", f"def {name}({', '.join(ARGUMENTS[name])}):"]
    return [*header, *(f"    {line}" for line in [*writer.lines, *lines])]


def _tuple(texts: Sequence[str]) -> str:
    return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"


class _Writer(Writer):
    """Writes Triton."""

    taken: ClassVar[set[str]] = {
        *OWN, *(name for names in ARGUMENTS.values() for name in names), "tl", "float",
    }  # fmt: skip
    signs: ClassVar[dict[str, str]] = {**ARITHMETIC, **COMPARISONS, "and": "&", "or": "|", "not": "~"}
    infinity = 'float("inf")'
    declares_known = False

    def __init__(self, program: Program, known: dict[Expression, str]) -> None:
        super().__init__(known, program.names)
        self.inputs = program.input_order

    def whole(self, value: Expression) -> str:
        """Return a value's text, as wide as the rows and units also where it is a number or of parameters alone."""
        text = self.text(value)
        return text if self._wide(value) else self.number(text)

    def _wide(self, value: Expression) -> bool:
        return value in self.known or any(
            part in self.known or part.op in ("x", "u", "before", "d_output", "d_state") for part in all_of([value])
        )

    def number(self, text: str) -> str:
        return "zero" if text == "0.0" else f"zero + {text}"

    def declared(self, name: str, value: Expression, text: str) -> str:
        return f"{name} = {text}"

    def leaf(self, op: str, *index: int) -> str:
        if op == "d_output":
            return op
        return f"x[{self.inputs.index(index[0])}]" if op == "x" else f"{op}[{index[0]}]"

    def called(self, op: str, parts: Sequence[str]) -> str:
        return f"{FUNCTIONS.get(op, op)}({', '.join(parts)})"
