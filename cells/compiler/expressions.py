"""Point-wise expressions of what is H wide: built from traced operations of torch, simplified, equal ones once."""

import math
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

aten = torch.ops.aten


class Untranslatable(Exception):
    """An operation that kernels do not have. The message names it, in one line."""


@dataclass(frozen=True, eq=False)
class Expression:
    """`op` is a leaf ("x", "u", "p", "before", "d_operand", "d_state", "d_output"; args: its index), "constant", or
    one of `FUNCTIONS`."""

    op: str
    args: tuple[Any, ...]
    mask: bool  # whether it holds truth values
    number: int  # in the order in which expressions were made

    @property
    def operands(self) -> Iterator["Expression"]:
        return (arg for arg in self.args if isinstance(arg, Expression))


def all_of(expressions: Iterable[Expression]) -> list[Expression]:
    """Return expressions and all that they are made of, each once, operands first."""
    seen: dict[Expression, None] = {}

    def visit(expression: Expression) -> None:
        if expression not in seen:
            for part in expression.operands:
                visit(part)
            seen[expression] = None

    for expression in expressions:
        visit(expression)
    return list(seen)


COMPARISONS = {"gt": ">", "lt": "<", "ge": ">=", "le": "<=", "eq": "==", "ne": "!="}
TRUTHS = {"and": "&&", "or": "||"}
ARITHMETIC = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
FUNCTIONS = {
    "sigmoid", "tanh", "relu", "exp", "log", "log1p", "expm1", "abs", "sign", "sqrt", "sin", "cos", "erf",
    "neg", "max", "min", "where", "not", *COMPARISONS, *TRUTHS, *ARITHMETIC,
}  # fmt: skip


class Expressions:
    """Makes expressions, each once."""

    def __init__(self) -> None:
        self._known: dict[Any, Expression] = {}

    def leaf(self, kind: str, index: int) -> Expression:
        return self._once(kind, index)

    def constant(self, value: float) -> Expression:
        return self._once("constant", float(value))

    def _once(self, op: str, *args: Any) -> Expression:
        key = (op, *((arg, math.copysign(1, arg)) if isinstance(arg, float) else arg for arg in args))
        if key not in self._known:
            mask = op in COMPARISONS or op in TRUTHS or op == "not"
            self._known[key] = Expression(op, args, mask, len(self._known))
        return self._known[key]

    def make(self, op: str, *args: Expression) -> Expression:
        """Return op(args), simplified: numbers computed, ones and zeros left out, signs outside of products. Truth
        values are 1 and 0 where numbers are computed with."""
        if op not in TRUTHS and op != "not":
            args = tuple(arg if op == "where" and not i else self.number(arg) for i, arg in enumerate(args))
        values = [arg.args[0] if arg.op == "constant" else None for arg in args]
        if op in ARITHMETIC and None not in values and not (op == "div" and values[1] == 0):
            function = {"add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv}[op]
            return self.constant(function(*values))
        rule = getattr(self, f"_{op}", None)
        simpler = rule(args, values) if rule else None
        return self._once(op, *args) if simpler is None else simpler

    def number(self, value: Expression) -> Expression:
        """Return a value as a number."""
        return self.make("where", value, self.constant(1), self.constant(0)) if value.mask else value

    def _neg(self, args: Any, values: Any) -> Expression | None:
        if values[0] is not None:
            return self.constant(-values[0])
        if args[0].op == "neg":
            return args[0].args[0]
        return self.make("sub", *reversed(args[0].args)) if args[0].op == "sub" else None

    def _add(self, args: Any, values: Any) -> Expression | None:
        for one, other, value in ((0, 1, values[1]), (1, 0, values[0])):
            if value == 0:
                return args[one]
            if args[other].op == "neg":
                return self.make("sub", args[one], args[other].args[0])
            # (1 − a)·b + a·c is b + a·(c − b)
            for a, b in self._factors(args[one]):
                for a_too, c in self._factors(args[other]):
                    if a.op == "sub" and a.args[0] is self.constant(1) and a.args[1] is a_too:
                        return self.make("add", b, self.make("mul", a_too, self.make("sub", c, b)))
        return None

    @staticmethod
    def _factors(product: Expression) -> Iterator[tuple[Expression, Expression]]:
        """Yield the factors of a product in both orders."""
        if product.op == "mul":
            yield product.args
            yield product.args[::-1]

    def _sub(self, args: Any, values: Any) -> Expression | None:
        if values[1] == 0:
            return args[0]
        if values[0] == 0:
            return self.make("neg", args[1])
        return self.make("add", args[0], args[1].args[0]) if args[1].op == "neg" else None

    def _mul(self, args: Any, values: Any) -> Expression | None:
        for one, other, value in ((0, 1, values[1]), (1, 0, values[0])):
            if value == 1:
                return args[one]
            if value == -1:
                return self.make("neg", args[one])
            if args[other].op == "neg":
                return self.make("neg", self.make("mul", args[one], args[other].args[0]))
            if value is not None and args[one].op == "mul":  # numbers together
                for inner, rest in (args[one].args, args[one].args[::-1]):
                    if inner.op == "constant":
                        return self.make("mul", rest, self.constant(inner.args[0] * value))
        return None

    def _div(self, args: Any, values: Any) -> Expression | None:
        return None if not values[1] else self.make("mul", args[0], self.constant(1 / values[1]))

    # From torch's operations.

    def translate(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Expression:
        """Return what an operation of torch makes of expressions and numbers.

        Raises:
            Untranslatable: an operation for which kernels have no function.
        """
        name = func.overloadpacket.__name__.removesuffix("_")
        rule = _RULES.get(name)
        if rule is None and name in FUNCTIONS:
            rule = lambda made, *parts: made.make(name, *parts)  # noqa: E731
        if rule is None:
            raise Untranslatable(f"kernels have no {func}")
        parts = [self.constant(arg) if isinstance(arg, bool | int | float) else arg for arg in args]
        if kwargs.get("alpha", 1) != 1:
            parts[1] = self.make("mul", parts[1], self.constant(kwargs["alpha"]))
        ignored = ("alpha", "dtype", "layout", "device", "pin_memory", "memory_format")
        kept = {key: value for key, value in kwargs.items() if key not in ignored}
        return rule(self, *parts, **kept)

    def _clamped(self, x: Expression, low: Any = None, high: Any = None) -> Expression:
        if low is not None:
            x = self.make("max", x, low)
        return x if high is None else self.make("min", x, high)

    def _power(self, x: Expression, exponent: Expression) -> Expression:
        if exponent.op != "constant" or exponent.args[0] not in (0.5, 1, 2, 3, -1):
            raise Untranslatable("kernels have powers of 1/2, 1, 2, 3 and −1 only")
        if exponent.args[0] == 0.5:
            return self.make("sqrt", x)
        if exponent.args[0] == -1:
            return self.make("div", self.constant(1), x)
        power = x
        for _ in range(int(exponent.args[0]) - 1):
            power = self.make("mul", power, x)
        return power


_Rule = Callable[..., Expression]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("alias", "clone", "detach", "_to_copy", "view"), lambda made, x, **_: x),
    **dict.fromkeys(("scalar_tensor", "lift_fresh_copy"), lambda made, value: value),
    **dict.fromkeys(("full", "full_like"), lambda made, like, value: value),
    "zeros_like": lambda made, like, **_: made.constant(0),
    "ones_like": lambda made, like, **_: made.constant(1),
    "copy": lambda made, into, value: value,
    "rsub": lambda made, a, b: made.make("sub", b, a),
    "reciprocal": lambda made, x: made.make("div", made.constant(1), x),
    "rsqrt": lambda made, x: made.make("div", made.constant(1), made.make("sqrt", x)),
    "square": lambda made, x: made.make("mul", x, x),
    "sgn": lambda made, x: made.make("sign", x),
    "maximum": lambda made, a, b: made.make("max", a, b),
    "minimum": lambda made, a, b: made.make("min", a, b),
    "clamp": Expressions._clamped,
    "clamp_min": lambda made, x, low: made.make("max", x, low),
    "clamp_max": lambda made, x, high: made.make("min", x, high),
    "pow": Expressions._power,
    "sigmoid_backward": lambda made, g, y: made.make(
        "mul", g, made.make("mul", y, made.make("sub", made.constant(1), y))
    ),
    "tanh_backward": lambda made, g, y: made.make(
        "mul", g, made.make("sub", made.constant(1), made.make("mul", y, y))
    ),
    **{f"{prefix}_{name}": lambda made, a, b, op=name: made.make(op, a, b) for prefix in ("logical", "bitwise")
       for name in TRUTHS},
    **{f"{prefix}_xor": lambda made, a, b: made.make("ne", a, b) for prefix in ("logical", "bitwise")},
    **{f"{prefix}_not": lambda made, a: made.make("not", a) for prefix in ("logical", "bitwise")},
}  # fmt: skip
