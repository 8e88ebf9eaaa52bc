"""C++ for a program: the struct that cells/native/cell.h describes."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from cells.compiler.expressions import ARITHMETIC, COMPARISONS, TRUTHS, Expression
from cells.compiler.program import Program
from cells.compiler.trace import Block, Static

LEAVES = ("x", "u", "p", "before", "d_state", "d_operand", "d_output")
WIDE = 60  # characters of an expression that is written where it is used, rather than on a line of its own
TAKEN = {
    "auto", "bool", "break", "case", "catch", "char", "class", "const", "continue", "default", "delete", "do", "double",
    "else", "enum", "extern", "float", "for", "goto", "if", "inline", "int", "long", "new", "operator", "phase",
    "private", "public", "register", "return", "s", "short", "signed", "sizeof", "static", "struct", "switch",
    "template", "this", "throw", "try", "typedef", "union", "unsigned", "using", "virtual", "void", "volatile", "while",
    "V", "sigmoid", "tanh", "relu", "exp", "max", "min", "where", "abs", "load", "store", "and", "or", "not", "xor",
}  # fmt: skip


def emit(program: Program, title: str, kernel: str) -> str:
    """Return the C++ of a program, registered under the name of its kernel."""
    parts = program.parts
    matrices, vectors = parts.statics()

    def blocks(found: Sequence[Block], tensors: list[Static]) -> list[str]:
        return [f"{{{tensors.index(block.tensor)}, {block.index}}}" for block in found]

    records = [j for j in range(len(program.after)) if j not in program.series_states]
    tables: dict[str, Sequence[Any]] = {
        "Block input_gates": blocks(parts.inputs, matrices),
        "Block gates": blocks([gate for operand in program.operands for gate in operand.gates], matrices),
        "Block vector_blocks": blocks(parts.vectors, vectors),
        "int input_order": program.input_order,
        "int order": [gate for operand in program.operands for gate in operand.order],
        "Series series": [
            f"{{{state}, {program.phase(value)}}}"
            for state, value in zip(program.series_states, program.series, strict=True)
        ],
        "Operand operands": [
            f"{{{one.series}, {str(one.now).lower()}, {str(one.cut).lower()}, {one.phase}, {one.back_phase}, "
            f"{len(one.gates)}, {one.first}, {one.gradient}}}"
            for one in program.operands
        ],
        "State states": [
            f"{{{program.series_states.index(j) if j in program.series_states else -1}, "
            f"{records.index(j) if j in records else -1}, {program.phase(value)}, {_level(program, direct)}}}"
            for j, (value, direct) in enumerate(zip(program.after, program.direct, strict=True))
        ],
        "int saved_phases": [program.phase(value) for value in program.saved],
        "int gradient_phases": [program.level(value) for value in program.gradients],
        "int back_carried_phases": [program.level(value) for value in program.back_carried],
        "int vector_phases": [_level(program, value) for value in program.of_vectors],
    }
    return "\n".join(
        [
            f"// {title}: generated from its equations; cell.h says what the tables mean.",
            *(f"// matrix {i}: {tensor}" for i, tensor in enumerate(matrices)),
            *(f"// vector {i}: {tensor}" for i, tensor in enumerate(vectors)),
            '#include "register.h"',
            "",
            "namespace native {",
            "namespace {",
            "",
            "struct Cell {",
            f"  static constexpr int inputs = {len(parts.inputs)}, vectors = {len(parts.vectors)};",
            f"  static constexpr int phases = {program.phases}, back_phases = {program.back_phases};",
            f"  static constexpr int saved = {len(program.saved)}, carried = {program.carried};",
            f"  static constexpr int gradients = {len(program.gradients)}, back_carried = {len(program.back_carried)};",
            f"  static constexpr int output = {program.output}, input_gradient = {program.input_gradient};",
            *(_table(name, values) for name, values in tables.items()),
            "",
            "  template <int phase, class V>",
            "  NATIVE_INLINE static void forward(Forward<V, Cell>& s) {",
            *_phases(program.phases, lambda phase: _forward(program, phase)),
            "  }",
            "",
            "  template <int phase, class V>",
            "  NATIVE_INLINE static void backward(Backward<V, Cell>& s) {",
            *_phases(program.back_phases, lambda phase: _backward(program, phase)),
            "  }",
            "};",
            "",
            f'static const Register<Cell> cell("{kernel}");',
            "",
            "}  // namespace",
            "}  // namespace native",
            "",
        ]
    )


def _table(name: str, values: Sequence[Any]) -> str:
    kind, _, name = name.partition(" ")
    listed = ", ".join(map(str, values))
    braces = f"{{{{{listed}}}}}" if values else "{}"
    return f"  static constexpr std::array<{kind}, {len(values)}> {name}{braces};"


def _level(program: Program, value: Expression | None) -> int:
    return -1 if value is None else program.level(value)


def _phases(count: int, lines: Callable[[int], list[str]]) -> list[str]:
    if count == 1:
        return [f"    {line}" for line in lines(0)]
    found = []
    for phase in range(count):
        found += [f"    if constexpr (phase == {phase}) {{", *(f"      {line}" for line in lines(phase)), "    }"]
    return found


def _forward(program: Program, phase: int) -> list[str]:
    first = len(program.saved) - program.carried
    earlier = {
        **{value: f"s.saved[{first + i}]" for i, value in enumerate(program.saved[first:])},
        **{value: f"s.series[{i}]" for i, value in enumerate(program.series)},
    }
    known = {value: text for value, text in earlier.items() if program.phase(value) < phase}
    kept = {
        **{f"s.series[{i}]": value for i, value in enumerate(program.series)},
        **{f"s.after[{j}]": value for j, value in enumerate(program.after) if j not in program.series_states},
        **{f"s.saved[{i}]": value for i, value in enumerate(program.saved)},
    }
    targets = {text: value for text, value in kept.items() if program.phase(value) == phase}
    return Writer(known, program.names).write(targets)


def _backward(program: Program, phase: int) -> list[str]:
    known = {
        **{value: f"s.after[{j}]" for j, value in enumerate(program.after) if j not in program.series_states},
        **{value: f"s.series[{i}]" for i, value in enumerate(program.series)},
        **{value: f"s.saved[{i}]" for i, value in enumerate(program.saved)},
        **{value: f"s.carried[{i}]" for i, value in enumerate(program.back_carried) if program.level(value) < phase},
    }
    kept = {
        **{f"s.carried[{i}]": value for i, value in enumerate(program.back_carried)},
        **{f"s.d[{i}]": value for i, value in enumerate(program.gradients)},
        **{f"s.direct[{j}]": value for j, value in enumerate(program.direct) if value is not None},
        **{f"s.dp[{i}]": value for i, value in enumerate(program.of_vectors) if value is not None},
    }
    targets = {text: value for text, value in kept.items() if program.level(value) == phase}
    return Writer(known, program.names).write(targets)


class Writer:
    """Writes assignments, and before them what they share, in C++. Another language is a subclass."""

    taken: ClassVar[set[str]] = TAKEN
    signs: ClassVar[dict[str, str]] = {**ARITHMETIC, **COMPARISONS, **TRUTHS, "not": "!"}
    ranks: ClassVar[dict[str, int]] = {"add": 1, "sub": 1, "mul": 2, "div": 2}  # of signs; lower ones bind less
    infinity = "INFINITY"
    declares_known = True  # has lines for what is known, so that it is read once

    def __init__(self, known: dict[Expression, str], names: dict[Expression, str]) -> None:
        self.known, self.names = known, names
        self.texts: dict[Expression, str] = {}
        self.uses: Counter[Expression] = Counter()
        self.lines: list[str] = []

    def write(self, targets: dict[str, Expression]) -> list[str]:
        self.share(targets.values())
        for text, value in targets.items():
            self.lines.append(f"{text} = {self.whole(value)};")
        return self.lines

    def share(self, values: Iterable[Expression]) -> None:
        """Write, before the lines that give these values, what several of them need."""
        for value in values:
            self._count(value)
        for value in sorted(self.uses, key=lambda value: value.number):
            if self.uses[value] > 1 or value in self.names:
                self.text(value)

    def whole(self, value: Expression) -> str:
        """Return a value's text, as wide as the units also where it is a number."""
        return self.number(self.text(value)) if value.op == "constant" else self.text(value)

    def number(self, text: str) -> str:
        return f"V::of({text})"

    def declared(self, name: str, value: Expression, text: str) -> str:
        return f"const {'auto' if value.mask else 'V'} {name} = {text};"

    def leaf(self, op: str, *index: int) -> str:
        return f"s.{op}[{index[0]}]" if index and op != "d_output" else f"s.{op}"

    def called(self, op: str, parts: Sequence[str]) -> str:
        return f"{op}({', '.join(parts)})"

    def _count(self, expression: Expression) -> None:
        self.uses[expression] += 1
        if self.uses[expression] == 1 and expression not in self.known:
            for part in expression.operands:
                self._count(part)

    def text(self, expression: Expression) -> str:
        """Return how an expression is written where it is used; what is used twice, or long, has a line before."""
        if expression not in self.texts:
            found = self._written(expression)
            if expression in self.known:
                line = self.declares_known or expression in self.names
            else:
                line = self.uses[expression] > 1 or expression in self.names or len(found) > WIDE
            if line and expression.op not in LEAVES and expression.op != "constant":
                name = self._name(expression)
                self.lines.append(self.declared(name, expression, found))
                found = name
            self.texts[expression] = found
        return self.texts[expression]

    def _name(self, expression: Expression) -> str:
        taken = set(self.texts.values()) | self.taken
        name = self.names.get(expression, "")
        if name.isascii() and name.isidentifier() and name not in taken:
            return name
        return next(f"t{i}" for i in range(1, 1 << 20) if f"t{i}" not in taken)

    def _written(self, expression: Expression) -> str:
        if expression in self.known:
            return self.known[expression]
        op, args = expression.op, expression.args
        if op == "constant":
            return repr(args[0]) if abs(args[0]) != float("inf") else ("-" if args[0] < 0 else "") + self.infinity
        if op in LEAVES:
            return self.leaf(op, *args)
        parts = [self.text(arg) for arg in args]
        if op == "neg":
            return f"-{self._bracketed(args[0], parts[0], 3)}"
        if op == "not":
            return f"{self.signs[op]}{self._bracketed(args[0], parts[0], 3)}"
        if op in self.signs:
            rank = self.ranks.get(op, 1)
            left, right = map(self._bracketed, args, parts, (rank, rank + (op in ("sub", "div"))))
            return f"{left} {self.signs[op]} {right}"
        wrapped = [self.number(part) if arg.op == "constant" else part for arg, part in zip(args, parts, strict=True)]
        return self.called(op, wrapped)

    def _bracketed(self, expression: Expression, text: str, rank: int) -> str:
        """Return an operand's text, in brackets if it is an operation that binds less."""
        called = text.split("(")[0].replace(".", "").isidentifier() and text.endswith(")") and _closes_last(text)
        open_ = " " in text and not called
        own = self.ranks.get(expression.op, 0)
        return f"({text})" if (open_ and own < rank) or text.startswith("-") else text


def _closes_last(text: str) -> bool:
    """Tell whether the bracket that opens first closes at the very end: the text is one call."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == ")" and depth == 0:
            return i == len(text) - 1
    return False
