"""A cell's step and its derivative, in the form that the engine runs (cells/native/cell.h): products, operands,
phases, what is kept for backward, and point-wise expressions.

The derivative of the point-wise part is torch's: autograd runs over it and is traced. What is kept from forward to
backward is a minimum cut between what forward computes and what backward needs, where keeping and computing again
have prices."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from cells.compiler.expressions import Expression, Expressions, Untranslatable, all_of
from cells.compiler.trace import Block, Node, Static, Traced, Untraceable, aten
from cells.native.build import one_line

STORED = 0.1  # the price of reading what is stored anyway; that of storing and reading a value is 1
RECOMPUTED = {"sigmoid": 0.3, "tanh": 0.3, "exp": 0.3}  # of computing again; of lane by lane functions 2
ARITHMETIC = 0.02
MOST_ORDERED = 8  # gradients whose orders are tried
DETACH = aten.detach.default


@dataclass(eq=False)
class Operand:
    """What is multiplied: a state as the step before left it, or (`now`) a value of the step itself. If it is `cut`,
    only its weights have gradients from its products."""

    node: Node
    now: bool
    cut: bool
    gates: list[Block] = field(default_factory=list)
    series: int = -1
    phase: int = 0
    back_phase: int = 0
    first: int = 0  # of its gates among all
    gradient: int = 0
    order: list[int] = field(default_factory=list)


@dataclass
class Parts:
    """A traced step, taken apart into products, parameters and point-wise operations."""

    traced: Traced
    nodes: list[Node]  # each once, after those it needs
    after: list[Node]
    output: Node
    inputs: list[Block]
    operands: dict[Node, Operand]
    vectors: list[Block]

    @property
    def leaves(self) -> dict[Node, tuple[str, int]]:
        """The nodes that the point-wise part is given: products, vectors and states, as leaves of expressions."""
        leaf_of: dict[Node, tuple[str, int]] = {}
        for node in self.nodes:
            if node.op == "product" and node.args[0] is None:
                leaf_of[node] = ("x", self.inputs.index(node.args[1]))
            elif node.op == "product":
                operand = self.operands[node.args[0]]
                leaf_of[node] = ("u", operand.first + operand.gates.index(node.args[1]))
            elif node.op == "vector":
                leaf_of[node] = ("p", self.vectors.index(node.args[0]))
            elif node.op == "state":
                leaf_of[node] = ("before", node.args[0])
        return leaf_of

    def statics(self) -> tuple[list[Static], list[Static]]:
        """Return the tensors of parameters that the kernel takes: matrices and vectors."""
        blocks = [*self.inputs, *(gate for operand in self.operands.values() for gate in operand.gates)]
        matrices = list(dict.fromkeys(block.tensor for block in blocks))
        return matrices, list(dict.fromkeys(block.tensor for block in self.vectors))

    def text(self, named: bool = True) -> str:
        """Return the equations, an operation a line, with the names that the step gives values, or without. Steps with
        the same text have the same kernel."""
        matrices, vectors = self.statics()
        texts: dict[Node, str] = {}
        lines: list[str] = []
        for node in self.nodes:
            if node.op == "state":
                texts[node] = f"state{node.args[0]}"
            elif node.op == "vector":
                texts[node] = f"vector{vectors.index(node.args[0].tensor)}[{node.args[0].index}]"
            elif node.op == "constant":
                texts[node] = repr(node.args[0])
            else:
                parts = [texts.get(arg, str(arg)) if isinstance(arg, Node) else repr(arg) for arg in node.args]
                if node.op == "product":
                    left, block = node.args
                    weight = f"matrix{matrices.index(block.tensor)}[{block.index}]"
                    parts = ["x" if left is None else texts[left], weight]
                parts += [f"{key}={value!r}" for key, value in node.kwargs.items()]
                name = str(node.op).removeprefix("aten.").removesuffix(".default").removesuffix(".Tensor")
                texts[node] = (
                    f"t{len(lines) + 1}" if node.name is None or not named else f"t{len(lines) + 1}_{node.name}"
                )
                lines.append(f"{texts[node]} = {name}({', '.join(parts)})")
        lines.append(f"output = {texts[self.output]}")
        return "\n".join([*lines, *(f"state{j} = {texts[node]}" for j, node in enumerate(self.after))])


@dataclass
class Program:
    """What is generated from: the tables of cells/native/cell.h and the expressions of each phase."""

    parts: Parts
    operands: list[Operand]
    after: list[Expression]
    series: list[Expression]
    series_states: list[int]  # the state whose values a series has, −1 if of none
    output: int
    saved: list[Expression]
    carried: int
    gradients: list[Expression]
    input_gradient: int
    input_order: list[int]
    direct: list[Expression | None]
    of_vectors: list[Expression | None]
    back_carried: list[Expression]
    phase: Callable[[Expression], int]
    level: Callable[[Expression], int]
    names: dict[Expression, str]

    @property
    def phases(self) -> int:
        return 1 + max((operand.phase for operand in self.operands), default=0)

    @property
    def back_phases(self) -> int:
        every: list[Expression | None] = [*self.gradients, *self.direct, *self.of_vectors]
        return 1 + max(self.level(expression) for expression in every if expression is not None)

    def described(self) -> str:
        """Say what is kept for backward, a unit and time step."""
        rows = [f"{len(self.series)} in rows"] if self.series else []
        records = len(self.saved) + len(self.after) - sum(state >= 0 for state in self.series_states)
        names = [self.names.get(value, value.op) for value in self.saved]
        return ", ".join([*rows, f"{records} in records"]) + (f" ({', '.join(names)}, states)" if names else "")


def take_apart(traced: Traced) -> Parts:
    """Sort the nodes of a step by what they are to the engine."""
    nodes, canonical = _unique(traced)
    inputs = _sorted(node.args[1] for node in nodes if node.op == "product" and node.args[0] is None)
    operands: dict[Node, Operand] = {}
    differentiable = _differentiable(nodes)
    for node in nodes:
        if node.op == "product" and node.args[0] is not None:
            operand = operands.setdefault(node.args[0], _operand(node.args[0], node.args[0] in differentiable))
            operand.gates.append(node.args[1])
    first = 0
    for operand in operands.values():
        operand.gates = _sorted(operand.gates)
        operand.first, first = first, first + len(operand.gates)
    vectors = _sorted(node.args[0] for node in nodes if node.op == "vector")
    after = [canonical[node] for node in traced.after]
    return Parts(traced, nodes, after, canonical[traced.output], inputs, operands, vectors)


def _differentiable(nodes: Iterable[Node]) -> set[Node]:
    """Return the nodes whose gradients go on to states, products or parameters, where no `detach` is in the way."""
    found: set[Node] = set()
    for node in nodes:
        passes = node.op is not DETACH and not node.mask and not found.isdisjoint(node.args)
        if passes or node.op in ("state", "product", "vector"):
            found.add(node)
    return found


def _operand(node: Node, differentiable: bool) -> Operand:
    if node.op is DETACH and node.args[0].op == "state":
        node = node.args[0]  # the same numbers
    return Operand(node, node.op != "state", not differentiable)


def derive(parts: Parts) -> Program:
    """Differentiate a step and lay it out for the engine.

    Raises:
        Untraceable: it computes something for which kernels have no function.
    """
    operands = list(parts.operands.values())
    results = [*(operand.node for operand in operands if operand.now), *parts.after, parts.output]
    tangents = [
        *(("d_operand", i) for i, operand in enumerate(operands) if operand.now),
        *(("d_state", j) for j in range(len(parts.after))),
        ("d_output", 0),
    ]
    named = [node for node in parts.nodes if node.name is not None]
    expressions = Expressions()
    try:
        values, gradients = _differentiated(parts, [*results, *named], tangents, expressions)
    except Untranslatable as error:
        raise Untraceable(str(error)) from None
    except Exception as error:  # torch has no derivative of an operation
        raise Untraceable(f"it has no derivative: {one_line(error)}") from error
    value_of = dict(zip([*results, *named], values, strict=True))
    names = {value_of[node]: str(node.name) for node in named}
    return _Layout(parts, expressions, gradients, value_of).program(names)


def _sorted(blocks: Iterable[Block]) -> list[Block]:
    """Return blocks, each once, those of one tensor together and in its order."""
    tensors: dict[Static, list[Block]] = defaultdict(list)
    for block in dict.fromkeys(blocks):
        tensors[block.tensor].append(block)
    return [block for group in tensors.values() for block in sorted(group, key=lambda block: block.index)]


def _unique(traced: Traced) -> tuple[list[Node], dict[Node, Node]]:
    """Return the nodes, of equal ones the first only, and which stands for which."""
    known: dict[Any, Node] = {}
    canonical: dict[Node, Node] = {}
    for node in traced.nodes():
        args = tuple(canonical.get(arg, arg) if isinstance(arg, Node) else arg for arg in node.args)
        key = (node.op, tuple((type(arg), arg) for arg in args), tuple(sorted(node.kwargs.items())))
        if key not in known:
            known[key] = Node(node.op, args, node.kwargs, node.name, node.mask)
        known[key].name = known[key].name or node.name
        canonical[node] = known[key]
    return list(known.values()), canonical


def _differentiated(
    parts: Parts,
    results: Sequence[Node],
    tangents: Sequence[tuple[str, int]],
    expressions: Expressions,
) -> tuple[list[Expression], dict[tuple[str, int], Expression | None]]:
    """Return the results as expressions of the leaves, and each leaf's gradient, given those (`tangents`) of the first
    results: torch differentiates, and the operations that it runs are traced."""
    from torch._decomp import core_aten_decompositions, get_decompositions
    from torch.fx.experimental.proxy_tensor import make_fx

    leaves = parts.leaves

    def joint(*args: Tensor) -> tuple[list[Any], list[Any]]:
        values: dict[Node, Any] = dict(zip(leaves, args, strict=False))
        for node in parts.nodes:
            if node not in values:
                values[node] = point_wise(node, values)
        computed = [values[node] for node in results]
        pairs = [
            (value, tangent)
            for value, tangent in zip(computed, args[len(leaves) :], strict=False)
            if isinstance(value, Tensor) and value.requires_grad
        ]
        inputs = args[: len(leaves)]
        outputs, given = zip(*pairs, strict=True) if pairs else ((), ())
        grads = torch.autograd.grad(outputs, inputs, given, allow_unused=True) if pairs else [None] * len(inputs)
        return computed, list(grads)

    numbers = [torch.full((2,), 0.5, dtype=torch.float64) for _ in (*leaves, *tangents)]
    for number in numbers[: len(leaves)]:
        number.requires_grad_()
    simpler = {
        **core_aten_decompositions(),
        **get_decompositions([aten.elu, aten.hardtanh, aten.leaky_relu, aten.gelu]),
    }
    with torch.enable_grad():
        graph = make_fx(joint, decomposition_table=simpler)(*numbers).graph
    kinds = [*leaves.values(), *tangents]
    made: dict[Any, Expression] = {}

    def expression(arg: Any) -> Any:
        if isinstance(arg, torch.fx.Node):
            return made[arg]
        return [expression(part) for part in arg] if isinstance(arg, list | tuple) else arg

    for node in graph.nodes:
        if node.op == "placeholder":
            made[node] = expressions.leaf(*kinds[len(made)])
        elif node.op == "call_function":
            made[node] = expressions.translate(node.target, expression(node.args), dict(node.kwargs))
            if node.target._schema.is_mutable:  # torch's own derivatives do that to what only they have
                made[node.args[0]] = made[node]
        elif node.op == "output":
            values, grads = expression(node.args[0])
    values = [value if isinstance(value, Expression) else expressions.constant(value) for value in values]
    values = [*map(expressions.number, values[: len(tangents)]), *values[len(tangents) :]]
    return values, dict(zip(leaves.values(), grads, strict=True))


def point_wise(node: Node, values: dict[Node, Any]) -> Any:
    """Compute a point-wise node, or a constant, from the values of others."""
    if node.op == "constant":
        return node.args[0]
    return node.op(*(values[arg] if isinstance(arg, Node) else arg for arg in node.args), **node.kwargs)


class _Layout:
    """Decides which phase computes what, and where it is kept."""

    def __init__(
        self,
        parts: Parts,
        expressions: Expressions,
        gradients: dict[tuple[str, int], Expression | None],
        value_of: dict[Node, Expression],
    ) -> None:
        self.parts, self.expressions, self.value_of = parts, expressions, value_of
        self.operands = operands = list(parts.operands.values())
        zero = expressions.constant(0)
        self.gradients = {leaf: zero if found is None else found for leaf, found in gradients.items()}
        self.operand_of_gate = [operand for operand in operands for _ in operand.gates]
        self._phases: dict[Expression, int] = {}
        self._levels: dict[Expression, int] = {}
        self._dependent: dict[tuple[Expression, tuple[str, ...]], bool] = {}

    def program(self, names: dict[Expression, str]) -> Program:
        value_of = self.value_of
        after, output = [value_of[node] for node in self.parts.after], value_of[self.parts.output]
        self._schedule(after, output)
        # Values that have all their rows side by side: what is multiplied, and the output.
        series: list[Expression] = []
        series_states: list[int] = []
        for operand in self.operands:
            state = -1 if operand.now else operand.node.args[0]
            value = value_of[operand.node] if operand.now else after[state]
            at = next((i for i, kept in enumerate(series) if kept is value and state in (-1, series_states[i])), None)
            if at is None:
                at = next((i for i, kept in enumerate(series) if kept is value and series_states[i] < 0), None)
            if at is None:
                at = len(series)
                series.append(value)
                series_states.append(-1)
            if state >= 0:
                series_states[at] = state
            operand.series = at
        if output not in series:
            series.append(output)
            series_states.append(after.index(output) if output in after else -1)
        carried = self._crossing([*series, *after], series)
        saved = self._cut(self._needed(), {*after, *series, *carried}, ("before",))
        saved.sort(key=lambda value: value.number)
        gradients, places, orders = self._ordered()
        for operand, place, order in zip(self.operands, places[1:], orders[1:], strict=True):
            operand.gradient, operand.order = place, order
        direct: list[Expression | None] = []
        for j in range(len(after)):
            gradient = self.gradients.get(("before", j), self.expressions.constant(0))
            in_product = any(not one.now and not one.cut and one.node.args[0] == j for one in self.operands)
            direct.append(None if in_product and gradient.op == "constant" and gradient.args[0] == 0 else gradient)
        of_vectors = [self.gradients[("p", i)] for i in range(len(self.parts.vectors))]
        targets = [*gradients, *(gradient for gradient in (*direct, *of_vectors) if gradient is not None)]
        return Program(
            parts=self.parts,
            operands=self.operands,
            after=after,
            series=series,
            series_states=series_states,
            output=series.index(output),
            saved=[*saved, *carried],
            carried=len(carried),
            gradients=gradients,
            input_gradient=places[0],
            input_order=orders[0],
            direct=direct,
            of_vectors=[None if gradient.op == "constant" else gradient for gradient in of_vectors],
            back_carried=self._crossing_back(targets),
            phase=self.phase,
            level=self.level,
            names=names,
        )

    # Phases forward.

    def _schedule(self, after: list[Expression], output: Expression) -> None:
        """Give every operand the phase that multiplies it: for a state the earliest that needs a product of it."""
        targets = [*after, output, *(self.value_of[operand.node] for operand in self.operands if operand.now)]
        earliest: dict[int, int] = {}
        for target in targets:
            if target.op == "u":
                earliest[target.args[0]] = 0
        for expression in all_of(targets):
            for part in expression.operands:
                if part.op == "u":
                    at = part.args[0]
                    earliest[at] = min(earliest.get(at, 1 << 30), self.phase(expression))
        phases = {
            operand: min(earliest.get(operand.first + i, 0) for i in range(len(operand.gates)))
            for operand in self.operands
        }
        for operand in self.operands:
            operand.phase = self._operand_phase(operand) if operand.now else phases[operand]
        self._phases.clear()

    def _operand_phase(self, operand: Operand) -> int:
        return 1 + self.phase(self.value_of[operand.node]) if operand.now else operand.phase

    def phase(self, expression: Expression) -> int:
        """Return the phase that can compute a value of the forward pass first."""
        if expression not in self._phases:
            if expression.op == "u":
                first = self._operand_phase(self.operand_of_gate[expression.args[0]])
            else:
                first = max(map(self.phase, expression.operands), default=0)
            self._phases[expression] = first
        return self._phases[expression]

    def depends(self, expression: Expression, *kinds: str) -> bool:
        """Tell whether an expression has leaves of some kinds."""
        key = (expression, kinds)
        if key not in self._dependent:
            self._dependent[key] = expression.op in kinds or any(
                self.depends(part, *kinds) for part in expression.operands
            )
        return self._dependent[key]

    def _crossing(self, targets: Sequence[Expression], series: list[Expression]) -> list[Expression]:
        """Return what records hand from phases to later ones of the same step."""
        carried: dict[Expression, None] = {}
        for phase in range(max(map(self.phase, targets)), 0, -1):
            here = [target for target in (*targets, *carried) if self.phase(target) == phase]
            needed = self._earlier(here, phase, self.phase)
            stored = {*carried, *(value for value in series if self.phase(value) < phase)}
            carried |= dict.fromkeys(self._cut(needed, stored, ("before", "x")))
        return sorted(carried, key=lambda value: (self.phase(value), value.number))

    @staticmethod
    def _earlier(
        targets: list[Expression], phase: int, phase_of: Callable[[Expression], int]
    ) -> dict[Expression, None]:
        """Return what a phase needs to compute its targets that can be computed before it."""
        earlier: dict[Expression, None] = {}
        seen: set[Expression] = set()
        while targets:
            expression = targets.pop()
            if expression not in seen:
                seen.add(expression)
                if phase_of(expression) < phase:
                    earlier[expression] = None
                else:
                    targets += expression.operands
        return earlier

    # What is kept for backward.

    def _needed(self) -> dict[Expression, None]:
        """Return what backward needs of forward."""
        needed = dict.fromkeys(gradient for gradient in self.gradients.values() if not self._backward(gradient))
        for expression in all_of(self.gradients.values()):
            if self._backward(expression):
                needed |= dict.fromkeys(part for part in expression.operands if not self._backward(part))
        return needed

    def _cut(
        self,
        needed: Iterable[Expression],
        stored: set[Expression],
        readable: tuple[str, ...],
        free: Callable[[Expression], bool] = lambda expression: expression.op in ("constant", "p"),
    ) -> list[Expression]:
        """Return which values to store, so that all that is needed can be had later: the cheapest choice of these and
        of what is computed again, a minimum cut. Each value is "there" behind its price of storing, and "computed"
        behind its price of computing, which needs all its operands.

        Args:
            stored: what is stored anyway.
            readable: leaves that can be read later.
            free: tells what can be had at any time.
        """
        import networkx

        graph = networkx.DiGraph()
        graph.add_nodes_from(("before", "later"))
        for expression in all_of(needed):
            if free(expression):
                continue
            price = STORED if expression in stored or expression.op in readable else 1
            unbounded: dict[str, float] = {}
            graph.add_edge(
                (expression, "computed"),
                (expression, "there"),
                **unbounded if expression.mask else {"capacity": price},  # numbers are stored, truth values are not
            )
            leaf = not expression.args or not isinstance(expression.args[0], Expression)
            again = RECOMPUTED.get(expression.op, 2.0 if expression.op in LANES else ARITHMETIC)
            graph.add_edge("before", (expression, "computed"), **unbounded if leaf else {"capacity": again})
            for part in expression.operands:
                if not free(part):
                    graph.add_edge((part, "there"), (expression, "computed"))
        for expression in needed:
            if not free(expression):
                graph.add_edge((expression, "there"), "later")
        _, (_, later) = networkx.minimum_cut(graph, "before", "later")
        return [
            expression
            for expression in all_of(needed)
            if (expression, "there") in later
            and (expression, "computed") not in later
            and expression not in stored
            and expression.op not in readable
        ]

    def _backward(self, expression: Expression) -> bool:
        return self.depends(expression, "d_output", "d_state", "d_operand")

    # Phases of backward.

    def level(self, expression: Expression) -> int:
        """Return the phase of backward that can compute a value first."""
        if expression not in self._levels:
            if expression.op == "d_operand":
                first = self._back_phase(self.operands[expression.args[0]])
            else:
                first = max(map(self.level, expression.operands), default=0)
            self._levels[expression] = first
        return self._levels[expression]

    def _back_phase(self, operand: Operand) -> int:
        gates = range(operand.first, operand.first + len(operand.gates))
        needed = operand.now and not operand.cut
        return 1 + max(self.level(self.gradients[("u", gate)]) for gate in gates) if needed else 0

    def _crossing_back(self, targets: Sequence[Expression]) -> list[Expression]:
        """Return what a phase of backward computes or is given, and a later one needs."""
        for operand in self.operands:
            operand.back_phase = self._back_phase(operand)
        carried: dict[Expression, None] = {}
        for phase in range(max(map(self.level, targets)), 0, -1):
            here = [target for target in (*targets, *carried) if self.level(target) == phase]
            needed = [value for value in self._earlier(here, phase, self.level) if self._backward(value)]
            carried |= dict.fromkeys(self._cut(needed, set(carried), (), lambda value: not self._backward(value)))
        return sorted(carried, key=lambda value: (self.level(value), value.number))

    def _ordered(self) -> tuple[list[Expression], list[int], list[list[int]]]:
        """Return the gradients of products in an order in which those of x(t), and of each operand, lie side by side,
        stored once if that can be; where each of these begin; and which of its products each is of."""
        sets = [[self.gradients[("x", i)] for i in range(len(self.parts.inputs))]]
        for operand in self.operands:
            sets.append([self.gradients[("u", operand.first + i)] for i in range(len(operand.gates))])
        line, shared = sets[0], [sets[0]]
        apart: list[list[Expression]] = []
        for gradients in sets[1:]:
            wider = _side_by_side([*shared, gradients])
            if wider is None:
                apart.append(gradients)
            else:
                line, shared = wider, [*shared, gradients]
        line = [*line, *(gradient for gradients in apart for gradient in gradients)]
        places, orders = [], []
        for gradients in sets:
            place = next(
                place for place in range(len(line)) if _is_permutation(line[place : place + len(gradients)], gradients)
            )
            order: list[int] = []
            for gradient in line[place : place + len(gradients)]:
                order.append(next(i for i, one in enumerate(gradients) if one is gradient and i not in order))
            places.append(place)
            orders.append(order)
        return line, places, orders


LANES = {"log", "log1p", "expm1", "sin", "cos", "erf"}  # functions that kernels compute lane by lane


def _is_permutation(some: Sequence[Expression], others: Sequence[Expression]) -> bool:
    return sorted(map(id, some)) == sorted(map(id, others))


def _side_by_side(sets: list[list[Expression]]) -> list[Expression] | None:
    """Return an order of all members in which each set's lie side by side; None if there is none, or too many."""
    members = list(dict.fromkeys(member for each in sets for member in each))
    if any(len(set(map(id, each))) < len(each) for each in sets):
        return None

    def fits(order: Sequence[Expression]) -> bool:
        place = {member: i for i, member in enumerate(order)}
        return all(max(map(place.get, each)) - min(map(place.get, each)) < len(each) for each in sets)  # type: ignore

    orders: Iterator[Sequence[Expression]] = iter([members, members[::-1]])
    if len(members) <= MOST_ORDERED:
        orders = permutations(members)
    return next((list(order) for order in orders if fits(order)), None)
