"""State tracking: follow a finite automaton, and tell after each symbol where it is."""

import itertools

import torch
from torch import Tensor

from tasks.arguments import share, whole
from tasks.classification import AfterEach, one_hot
from tasks.task import Batch


class StateTracking(AfterEach):
    """Answer after every symbol with what the state of a finite automaton says; the score is of the last answer.

    All symbols before count, and so a sequence of length T trains all lengths up to T. Symbols are drawn with
    probabilities that depend on the state. Without memory the best answer is the distribution of answers given the
    symbol at that step; the baseline is its entropy in nats, summed exactly over all states and symbols.

    Attributes:
        transitions: (S, K), the state to which each symbol leads.
        chances: (S, K), the probability of each symbol.
        replies: (S), the answer of each state.

    Args:
        length, solved_accuracy, shortest: see `AfterEach`.
        transitions, chances, replies: see above; sequences begin in state 0.
    """

    def __init__(
        self,
        length: int,
        transitions: Tensor,
        chances: Tensor,
        replies: Tensor,
        solved_accuracy: float,
        shortest: int | None = None,
    ) -> None:
        super().__init__(length, shortest, solved_accuracy)
        self.transitions, self.chances, self.replies = transitions, chances.double(), replies
        self.input_size, self.output_size = transitions.shape[1], int(replies.max()) + 1
        self.baseline_loss = self._entropy()

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        device = generator.device
        transitions, replies = self.transitions.to(device), self.replies.to(device)
        bounds = self.chances.cumsum(dim=1)[:, :-1].float().to(device)
        uniform = torch.rand(self.length, batch_size, generator=generator, device=device)
        state = torch.zeros(batch_size, dtype=torch.long, device=device)
        symbols, targets = [], []
        for chance in uniform:
            symbol = (chance.unsqueeze(1) >= bounds[state]).sum(dim=1)
            state = transitions[state, symbol]
            symbols.append(symbol)
            targets.append(replies[state])
        return self.asked(one_hot(torch.stack(symbols), self.input_size), torch.stack(targets), generator)

    def _entropy(self) -> float:
        """Return the mean over answers of the entropy given the symbol at that step."""
        at_state = torch.zeros(len(self.transitions), dtype=torch.float64)
        at_state[0] = 1
        of_replies = self.replies[self.transitions]
        symbols = torch.arange(self.input_size).expand_as(self.transitions)
        entropies = []
        for _ in range(self.length):
            joint = at_state.unsqueeze(1) * self.chances
            counts = torch.zeros(self.input_size, self.output_size, dtype=torch.float64)
            counts.index_put_((symbols, of_replies), joint, accumulate=True)
            shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1e-300)
            entropies.append(-float((counts * shares.clamp(min=1e-300).log()).sum()))
            at_state = torch.zeros_like(at_state).index_put_((self.transitions,), joint, accumulate=True)
        return max(sum(entropies[step] for step in self.answered) / len(self.answered), 0.0)


def _uniform(states: int, symbols: int) -> Tensor:
    return torch.full((states, symbols), 1 / symbols, dtype=torch.float64)


GROUPS = ("s3", "a5", "s5")


class WordProblem(StateTracking):
    """Multiply elements of a group one after the other, and name the product so far (Barrington 1989; for networks
    Merrill et al. 2024).

    `s3` has the 6 permutations of three things, `s5` the 120 of five, and `a5` the 60 even ones. A sequence is of
    elements, all equally likely; the product applies the first one first:

        inputs   (12) (23) (12)
        targets  (12) (132) (13)

    The first target is the first symbol. Later ones are uniform whatever the symbol: the baseline is
    (T − 1)/T·ln |G|.

    Args:
        group: s3, a5 or s5.
        length, solved_accuracy: see `AfterEach`.
    """

    def __init__(self, group: str = "s5", length: int = 40, *, solved_accuracy: float = 0.99) -> None:
        if group not in GROUPS:
            raise ValueError(f"group must be one of {', '.join(GROUPS)}, not {group!r}")
        self.group = group
        elements = [each for each in itertools.permutations(range(int(group[1]))) if group[0] == "s" or _even(each)]
        names = {each: i for i, each in enumerate(elements)}  # the first is the identity
        products = [[names[tuple(second[i] for i in first)] for second in elements] for first in elements]
        size = len(elements)
        super().__init__(length, torch.tensor(products), _uniform(size, size), torch.arange(size), solved_accuracy)


def _even(permutation: tuple[int, ...]) -> bool:
    return sum(a > b for a, b in itertools.combinations(permutation, 2)) % 2 == 0


class ModularArithmetic(StateTracking):
    """Evaluate a sum of products modulo m (after Delétang et al. 2023, modular arithmetic without brackets).

    A sequence alternates between numbers 0 … m − 1, and +, − and ·, all equally likely; products come before sums. The
    value of the expression up to the last number is asked for at every step. With m = 5:

        inputs   2 + 3 · 4 − 1
        targets  2 2 0 0 4 4 3

    The published task asks for the value at the end only, and its sequences end with a number: with `shortest`, even
    lengths become the odd ones below.

    Args:
        modulus: m, at least 2.
        length, solved_accuracy, shortest: see `AfterEach`; an odd length ends with a number.
    """

    spacing = 2

    def __init__(
        self, modulus: int = 5, length: int = 39, *, solved_accuracy: float = 0.99, shortest: int | None = None
    ) -> None:
        m = self.modulus = whole("modulus", modulus, 2, 33)
        # What was added up before the product at hand, that product, and the operator that waits for a number; with +,
        # the product is only a sign yet.
        signs = sorted({1, m - 1})
        states = [(total, sign, "+") for total in range(m) for sign in signs]
        states += [(total, product, wait) for total in range(m) for product in range(m) for wait in ("", "·")]
        names = {state: i for i, state in enumerate(states)}
        transitions = torch.zeros(len(states), m + 3, dtype=torch.long)
        chances = torch.zeros(len(states), m + 3, dtype=torch.float64)
        replies = torch.zeros(len(states), dtype=torch.long)
        for i, (total, product, wait) in enumerate(states):
            value = total if wait == "+" else (total + product) % m
            replies[i] = value
            if wait:
                chances[i, :m] = 1 / m
                for number in range(m):
                    transitions[i, number] = names[total, product * number % m, ""]
            else:
                chances[i, m:] = 1 / 3
                for way, to in enumerate(((value, 1, "+"), (value, m - 1, "+"), (total, product, "·"))):
                    transitions[i, m + way] = names[to]
        super().__init__(length, transitions, chances, replies, solved_accuracy, shortest)


class EvenPairs(StateTracking):
    """Tell whether the number of 01 and 10 together is odd, which is whether the last bit is not the first (Delétang et
    al. 2023, even pairs).

        inputs   0 0 1 1 1 0
        targets  0 0 1 1 1 0

    Bits are equally likely.

    Args:
        length, solved_accuracy, shortest: see `AfterEach`.
    """

    def __init__(self, length: int = 40, *, solved_accuracy: float = 0.99, shortest: int | None = None) -> None:
        # Nothing read; after that 1 + 2·first + last.
        transitions = torch.tensor([[1, 4], [1, 2], [1, 2], [3, 4], [3, 4]])
        replies = torch.tensor([0, 0, 1, 1, 0])
        super().__init__(length, transitions, _uniform(5, 2), replies, solved_accuracy, shortest)


class CycleNavigation(StateTracking):
    """Tell the position on a circle of m places after steps to the left, none, or to the right (Delétang et al. 2023,
    cycle navigation). With m = 5, and symbols − 0 +:

        inputs   + − 0 − −
        targets  1 0 0 4 3

    All steps are equally likely.

    Args:
        places: m, at least 2.
        length, solved_accuracy, shortest: see `AfterEach`.
    """

    def __init__(
        self, places: int = 5, length: int = 40, *, solved_accuracy: float = 0.99, shortest: int | None = None
    ) -> None:
        m = self.places = whole("places", places, 2)
        position = torch.arange(m)
        transitions = torch.stack([(position - 1) % m, position, (position + 1) % m], dim=1)
        super().__init__(length, transitions, _uniform(m, 3), position, solved_accuracy, shortest)


class BoundedDyck(StateTracking):
    """Name the bracket that is open after every symbol of a string of nested brackets (Dyck-(k, m); Hewitt et al. 2020,
    for networks of bounded depth).

    There are k kinds of brackets and at most m are open at once. Opening and closing are equally likely where both can
    be, and so are all kinds; only the bracket opened last is closed. The answer is its kind, and k where none is open:

        inputs   ( [ ] ) [ ]
        targets  ( [ ( – [ –

    Args:
        kinds: k, at least 1.
        depth: m, at least 1; the automaton has 1 + k + … + k^m states, of which there may be at most 10,000.
        length, solved_accuracy: see `AfterEach`.
    """

    def __init__(self, kinds: int = 2, depth: int = 4, length: int = 40, *, solved_accuracy: float = 0.99) -> None:
        k, m = whole("kinds", kinds, 1), whole("depth", depth, 1)
        self.kinds, self.depth = k, m
        if sum(k**open_ for open_ in range(min(m, 10_000) + 1)) > 10_000:
            raise ValueError(f"depth={depth} with kinds={kinds} has more than 10,000 states; make one of them smaller")
        stacks = [stack for open_ in range(m + 1) for stack in itertools.product(range(k), repeat=open_)]
        names = {stack: i for i, stack in enumerate(stacks)}
        transitions = torch.zeros(len(stacks), 2 * k, dtype=torch.long)
        chances = torch.zeros(len(stacks), 2 * k, dtype=torch.float64)
        for stack, i in names.items():
            if stack:
                transitions[i, k + stack[-1]] = names[stack[:-1]]
                chances[i, k + stack[-1]] = 0.5 if len(stack) < m else 1.0
            if len(stack) < m:
                chances[i, :k] = (0.5 if stack else 1.0) / k
                for kind in range(k):
                    transitions[i, kind] = names[(*stack, kind)]
        replies = torch.tensor([stack[-1] if stack else k for stack in stacks])
        super().__init__(length, transitions, chances, replies, solved_accuracy)


class FlipFlop(StateTracking):
    """Name the bit that was written last, among bits to be ignored (Liu et al. 2023, flip-flop language).

    The first symbol writes a bit; each later one writes one with the probability `writes`, and else shows one that
    counts for nothing, 0 or 1 alike. With w for writing:

        inputs   w1 0 1 w0 1
        targets   1 1 1  0 0

    The published language has a third kind of symbol, which asks for the bit; here it is asked for at every step.

    Args:
        writes: probability of writing, in (0, 1).
        length, solved_accuracy: see `AfterEach`.
    """

    def __init__(self, writes: float = 0.1, length: int = 40, *, solved_accuracy: float = 0.99) -> None:
        self.writes = share("writes", writes)
        if not writes:
            raise ValueError("writes must be above 0")
        w, i = writes / 2, (1 - writes) / 2
        # Nothing written, 0, 1; symbols w0, w1, 0, 1.
        transitions = torch.tensor([[1, 2, 0, 0], [1, 2, 1, 1], [1, 2, 2, 2]])
        chances = torch.tensor([[0.5, 0.5, 0.0, 0.0], [w, w, i, i], [w, w, i, i]], dtype=torch.float64)
        super().__init__(length, transitions, chances, torch.tensor([0, 0, 1]), solved_accuracy)


class Counter(StateTracking):
    """Tell after every symbol whether there were more a, more b, or as many (counting; Weiss, Goldberg & Yahav 2018).

        inputs   a b b b a a
        targets  a = b b b =

    Both are equally likely. The difference can be as large as the sequence is long: no finite automaton is of all
    lengths.

    Args:
        length, solved_accuracy: see `AfterEach`.
    """

    def __init__(self, length: int = 40, *, solved_accuracy: float = 0.99) -> None:
        whole("length", length, 2)
        # State 0 is a difference of 0; 1 … T are more a, T + 1 … 2T more b.
        names = {difference: difference % (2 * length + 1) for difference in range(-length, length + 1)}
        transitions = torch.zeros(2 * length + 1, 2, dtype=torch.long)
        replies = torch.zeros(2 * length + 1, dtype=torch.long)
        for difference, i in names.items():
            transitions[i, 0] = names[min(difference + 1, length)]
            transitions[i, 1] = names[max(difference - 1, -length)]
            replies[i] = 2 if not difference else 0 if difference > 0 else 1
        super().__init__(length, transitions, _uniform(2 * length + 1, 2), replies, solved_accuracy)
