"""C++ for a program: the struct that cells/native/cell.h describes."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from cells.compiler.expressions import ARITHMETIC, COMPARISONS, TRUTHS, Expression
from cells.compiler.program import Program
from cells.compiler.trace import Block, Static

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
            f"{{{one.series}, {str(one.now).lower()}, {one.phase}, {one.back_phase}, {len(one.gates)}, {one.first}, "
            f"{one.gradient}}}"
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
    return _Writer(known, program.names).write(targets)


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
    return _Writer(known, program.names).write(targets)


class _Writer:
    """Writes assignments, and before them what they share."""

    def __init__(self, known: dict[Expression, str], names: dict[Expression, str]) -> None:
        self.known, self.names = known, names
        self.texts: dict[Expression, str] = {}
        self.uses: Counter[Expression] = Counter()
        self.lines: list[str] = []

    def write(self, targets: dict[str, Expression]) -> list[str]:
        for value in targets.values():
            self._count(value)
        for value in sorted(self.uses, key=lambda value: value.number):
            if self.uses[value] > 1 or value in self.names:
                self.text(value)
        for text, value in targets.items():
            found = self.text(value)
            self.lines.append(f"{text} = {f'V::of({found})' if value.op == 'constant' else found};")
        return self.lines

    def _count(self, expression: Expression) -> None:
        self.uses[expression] += 1
        if self.uses[expression] == 1 and expression not in self.known:
            for part in expression.operands:
                self._count(part)

    def text(self, expression: Expression) -> str:
        """Return how an expression is written where it is used; what is used twice, or long, has a line before."""
        if expression not in self.texts:
            found = self._written(expression)
            stored = expression in self.known
            if expression.op in ("x", "u", "p", "before", "d_state", "d_operand", "d_output", "constant"):
                stored = False
            elif not stored and expression not in self.names and self.uses[expression] == 1 and len(found) <= WIDE:
                pass
            else:
                stored = True
            if stored:
                name = self._name(expression)
                self.lines.append(f"const {'auto' if expression.mask else 'V'} {name} = {found};")
                found = name
            self.texts[expression] = found
        return self.texts[expression]

    def _name(self, expression: Expression) -> str:
        taken = set(self.texts.values()) | TAKEN
        name = self.names.get(expression, "")
        if name.isascii() and name.isidentifier() and name not in taken:
            return name
        return next(f"t{i}" for i in range(1, 1 << 20) if f"t{i}" not in taken)

    def _written(self, expression: Expression) -> str:
        if expression in self.known:
            return self.known[expression]
        op, args = expression.op, expression.args
        if op == "constant":
            return repr(args[0]) if abs(args[0]) != float("inf") else ("-" if args[0] < 0 else "") + "INFINITY"
        if op == "d_output":
            return "s.d_output"
        if op in ("x", "u", "p", "before", "d_state", "d_operand"):
            return f"s.{op}[{args[0]}]"
        parts = [self.text(arg) for arg in args]
        sign = {**ARITHMETIC, **COMPARISONS, **TRUTHS}.get(op)
        if op == "neg":
            return f"-{_bracketed(args[0], parts[0], 3)}"
        if op == "not":
            return f"!{_bracketed(args[0], parts[0], 3)}"
        if sign is not None:
            rank = RANKS.get(op, 0)
            left, right = (
                _bracketed(args[0], parts[0], rank),
                _bracketed(args[1], parts[1], rank + (op in ("sub", "div"))),
            )
            return f"{left} {sign} {right}"
        wrapped = [f"V::of({part})" if arg.op == "constant" else part for arg, part in zip(args, parts, strict=True)]
        return f"{op}({', '.join(wrapped)})"


RANKS = {"add": 1, "sub": 1, "mul": 2, "div": 2}


def _bracketed(expression: Expression, text: str, rank: int) -> str:
    """Return an operand's text, in brackets if it is an operation that binds less."""
    open_ = " " in text and not (text.endswith(")") and text.split("(")[0].isidentifier() and _closes_last(text))
    own = RANKS.get(expression.op, 0)
    return f"({text})" if (open_ and own < rank) or text.startswith("-") else text


def _closes_last(text: str) -> bool:
    """Tell whether the bracket that opens first closes at the very end: the text is one call."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == ")" and depth == 0:
            return i == len(text) - 1
    return False
