"""Frames in, comparisons of contenders on a problem out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bench.record.records import DECIDED
from bench.record.schedule import early_steps
from reports.naming import in_order
from reports.references import compared_pairs, primary_reference, wanted_reference
from reports.statistics import (
    ALPHA,
    MARGIN,
    Contrast,
    Interval,
    Looks,
    Times,
    detectable_ratio,
    expected_time,
    fewest_seeds,
    holm,
    in_sequence,
    seeds_needed,
)
from reports.summary import LEAST_LOSS, compared_loss

ESTABLISHED, EQUIVALENT, OPEN, UNTESTABLE = "established", "equivalent", "open", "not testable"
FINAL = {ESTABLISHED, EQUIVALENT}
NUMBERS = ("seed", "solved", "needed", "spent", "budget", "grid", "early", "final_loss")
LOOKS = {"looks", "look"}  # which tables of earlier versions lack
REQUIRED = {"problem", "contender", "cell", "status", "currency", *NUMBERS}
COLUMNS = {*REQUIRED, "reference", *LOOKS}
TYPES: dict[object, Any] = {
    int | None: "Int64",
    float | None: "float64",
}  # of a table's columns; others are Python's own


@dataclass(frozen=True)
class Outcomes:
    """What a contender's runs on a problem came to: arrays (n), by ascending seed.

    Attributes:
        cell: whose contender it is.
        currency: "steps", "FLOPs" or "seconds".
        seeds: each once.
        solved: whether a run solved the problem.
        needed: to solve it, NaN if it was not solved, in `currency`.
        spent, budget: in all, and at most.
        grid: distance of regular evaluations, in `currency`.
        early: evaluations before the first of them, as shares of `grid`; none if runs differ in them.
        loss: on the test part or at the end; NaN if there is none.
        baseline: the loss without memory; NaN if it is not known.
        look: which its seed is for, from 1; 0 for none.
        plan: after how many seeds its sweep looks; none without looks, or where runs of several plans are pooled.
        looks: how many looks of the plan are complete: one at some of its seeds was not planned.
        planned: at how many points its number of seeds could have been settled: the looks of its plan, or of several
            plans all combinations; 1 where it was fixed.
    """

    cell: str
    currency: str
    seeds: np.ndarray
    solved: np.ndarray
    needed: np.ndarray
    spent: np.ndarray
    budget: np.ndarray
    grid: np.ndarray
    early: tuple[float, ...]
    loss: np.ndarray
    baseline: float
    look: np.ndarray
    plan: tuple[int, ...]
    looks: int
    planned: int

    @cached_property
    def expected(self) -> Interval:
        """Expected running time to a solution."""
        return expected_time(np.where(self.solved, self.needed, self.spent), self.solved, float(self.budget.max()))

    def cost(self, at: np.ndarray) -> float:
        """Return what all runs at some positions spent over the number of those that solved the problem."""
        spent, solved = np.where(self.solved, self.needed, self.spent)[at].sum(), self.solved[at].sum()
        return float(spent / solved) if solved else math.inf

    def has_learned(self, at: np.ndarray) -> bool:
        """Tell whether the median loss is so far below the one without memory, if that is known, that a network which
        learned nothing would not count as equivalent."""
        loss = float(np.median(self.finite_losses[at])) if at.any() else math.inf
        return math.isnan(self.baseline) or loss * MARGIN < self.baseline

    @cached_property
    def finite_losses(self) -> np.ndarray:
        """The losses, infinite where a run diverged."""
        return np.maximum(np.where(np.isnan(self.loss), np.inf, self.loss), LEAST_LOSS)

    def by_look(self, k: int) -> np.ndarray:
        """Return which runs are there by the k-th look; all of them where there is no plan."""
        return (self.look > 0) & (self.look <= k) if self.plan else np.ones(len(self.seeds), bool)

    def times(self, at: np.ndarray) -> Times:
        """Return what the runs at some positions needed to solve the problem."""
        solved = self.solved[at]
        limits = np.where(solved, np.fmax(self.budget[at], self.needed[at]), np.fmin(self.budget[at], self.spent[at]))
        values = np.where(solved, np.fmax(self.needed[at], 1e-9), np.inf)
        return Times(values, float(self.grid[at].max(initial=0.0)), float(limits.min(initial=np.inf)), self.early)

    def losses(self, at: np.ndarray, solution: float) -> Times:
        """Return the final losses of the runs at some positions, infinite where a run diverged. Runs that solved the
        problem all have that of a solution: training ended there, and of one that went on it would be less."""
        return Times(np.where(self.solved, solution, self.finite_losses)[at])


def outcomes_of(results: pd.DataFrame) -> dict[tuple[str, str], Outcomes]:
    """Return the outcomes of each contender on each problem, in the order of the table, of runs that say something of
    the architecture, and of several at a seed the first."""
    compared = results.assign(final_loss=compared_loss(results))
    values = {name: compared[name].to_numpy(dtype=float, na_value=np.nan) for name in NUMBERS}
    plans, look = _planned_looks(results)
    places: dict[tuple[str, str], dict[float, int]] = {}
    ended: dict[tuple[str, str], dict[float, int]] = {}  # the look of each seed that is there, however its run ended
    columns = (results[name] for name in ("problem", "contender", "status"))
    for i, (problem, name, status) in enumerate(zip(*columns, strict=True)):
        ended.setdefault((str(problem), str(name)), {})[values["seed"][i]] = int(look[i])
        if status in DECIDED:
            places.setdefault((str(problem), str(name)), {}).setdefault(values["seed"][i], i)
    cells, currencies = results["cell"].tolist(), results["currency"].tolist()
    known = results.get("baseline_loss", pd.Series(math.nan, index=results.index))
    baselines = pd.to_numeric(known, errors="coerce").to_numpy(dtype=float, na_value=math.nan)
    outcomes = {}
    for key, at_seed in places.items():
        at = [at_seed[seed] for seed in sorted(at_seed)]
        seeds, solved, needed, spent, budget, grid, early, loss = (values[name][at] for name in NUMBERS)
        there = [k for k in ended[key].values() if k]
        of_sweeps = {plans[i] for i in at}
        plan = of_sweeps.pop() if len(of_sweeps) == 1 else ()
        complete = sum(sum(k <= looks for k in there) == count for looks, count in enumerate(plan, start=1))
        outcomes[key] = Outcomes(
            str(cells[at[0]]),
            str(currencies[at[0]]),
            seeds,
            solved.astype(bool),
            needed,
            spent,
            budget,
            grid,
            _early_shares(early),
            loss,
            float(baselines[at[0]]),
            look[at],
            plan,
            complete,
            math.prod(max(1, len(each)) for each in {plan, *of_sweeps}),
        )
    return outcomes


def _early_shares(steps: np.ndarray) -> tuple[float, ...]:
    """Return early evaluations as shares of the distance of regular ones, given the number of steps that has for each
    run, 0 if it had no early ones."""
    every = {int(n) for n in steps}
    return tuple(step / n for n in every for step in early_steps(n)) if len(every) == 1 else ()


def _planned_looks(results: pd.DataFrame) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """Return of each run after how many seeds its sweep looks at them, nothing if it does not, and the look that it is
    for, 0 for none."""
    if not set(results) >= LOOKS:
        return [()] * len(results), np.zeros(len(results), dtype=int)
    texts = results["looks"].fillna("").tolist()
    plans = {text: tuple(map(int, text.split(","))) if text else () for text in set(texts)}
    return [plans[text] for text in texts], results["look"].fillna(0).to_numpy(dtype=int)


@dataclass(frozen=True)
class Comparison:
    """Two contenders on a problem, among the comparisons of a report.

    Attributes:
        first_solved, first_runs, second_solved, second_runs: how many runs of each.
        first_expected, second_expected: their expected running times to a solution.
        quantity: what is compared: "steps", "FLOPs" or "seconds" to solve the problem; "loss" where none of either did.
        test: "pairs" of one seed, of two treatments of one cell, or "groups" of runs, of different cells.
        seeds: of each group; of pairs, how many.
        ratio: second over first, with its 95 % interval.
        first_better: probability that a run of the first needs less than one of the second.
        p: of this comparison alone; `p_corrected` over those of its kind in the report.
        verdict: "established" if they differ; "equivalent" if their ratio is within 1/1.25 and 1.25, and so is that
            of their mean costs or losses; "not testable" if no two of their runs can be told apart; else "open".
        primary: whether one of the two is what the others are compared with.
        fewest: seeds with which anything could be established.
        needed, needed_most: seeds to find a difference like this one four times of five, at least and at most; None if
            that is not known, or too many.
        detectable: the ratio that these seeds would find; None if that is not known.
        looks, planned: how often the two were looked at so far, and could be: what p is corrected for.
        decided: seeds of each after which the verdict was what it is; None while it is open.
    """

    problem: str
    first: str
    second: str
    first_solved: int
    first_runs: int
    first_expected: Interval
    second_solved: int
    second_runs: int
    second_expected: Interval
    quantity: str
    test: str
    seeds: int
    ratio: Interval
    first_better: float
    p: float
    p_corrected: float
    verdict: str
    primary: bool
    fewest: int
    needed: int | None
    needed_most: int | None
    detectable: float | None
    looks: int
    planned: int
    decided: int | None

    @property
    def differs(self) -> bool:
        return self.verdict == ESTABLISHED

    @property
    def inverted(self) -> "Comparison":
        """The same, seen from the other side."""
        with np.errstate(divide="ignore"):
            estimate, high, low = (1 / np.array([self.ratio.estimate, self.ratio.low, self.ratio.high])).tolist()
        return replace(
            self,
            first=self.second,
            second=self.first,
            first_solved=self.second_solved,
            first_runs=self.second_runs,
            first_expected=self.second_expected,
            second_solved=self.first_solved,
            second_runs=self.first_runs,
            second_expected=self.first_expected,
            ratio=Interval(estimate, low, high, self.ratio.confidence),
            first_better=1 - self.first_better,
        )


Comparisons = dict[tuple[str, str, str], Comparison]  # by problem, first and second


def compare(results: pd.DataFrame) -> pd.DataFrame:
    """Compare every two contenders on each problem, or each with its reference.

    The quantity is what runs needed to solve the task, in the currency of the budget. Where no run of either solved
    it, it is the loss: on the test part if the task has one, else the final held-out loss. Contenders of different
    cells are compared as groups of runs, those of one cell in pairs of the same seed.

    Args:
        results: a row per run, as `load` returns them.

    Returns:
        A row per comparison, with the columns of comparisons.csv, the fields of `Comparison`. An estimate with an
        interval has three columns: `ratio`, `ratio_low`, `ratio_high`. `verdict` is "established", "equivalent",
        "open" or "not testable". Column types do not depend on the runs; `needed`, `needed_most` and `decided` are
        `Int64`.

    Raises:
        ValueError: columns are missing.
    """
    if results.empty:
        return as_table({})
    if missing := REQUIRED - set(results):
        raise ValueError(f"results lack the column {min(missing)}; take the first table of reports.load(folder)")
    read = {*COLUMNS, "test_loss", "baseline_loss", *wanted_reference(results)}
    kept = [column for column in results if column in read or column.startswith("reference.")]
    plain = {name: results[name] for name in kept}
    plain |= {name: values.astype("string") for name, values in plain.items() if values.dtype == "category"}
    return as_table(compare_contenders(in_order(pd.DataFrame(plain))))


def as_table(comparisons: Comparisons) -> pd.DataFrame:
    """Return comparisons as a table, a row each."""
    columns: dict[str, Any] = {}
    for field in fields(Comparison):
        values = [getattr(comparison, field.name) for comparison in comparisons.values()]
        if field.type is Interval:
            for end, name in (("estimate", ""), ("low", "_low"), ("high", "_high")):
                columns[f"{field.name}{name}"] = np.array([getattr(each, end) for each in values], dtype=float)
        else:
            columns[field.name] = pd.array(values, dtype=TYPES.get(field.type, field.type))
    return pd.DataFrame(columns)


def compare_contenders(results: pd.DataFrame, pairs: Sequence[tuple[str, str]] | None = None) -> Comparisons:
    """Return what `compare` does, as typed rows, contenders in the order of the table; of some pairs
    alone, if these are given, all of them primary."""
    wanted = compared_pairs(results) if pairs is None else pairs
    reference = primary_reference(results) if pairs is None else None
    outcomes = outcomes_of(results)
    contrasts: dict[tuple[str, str, str], tuple[Looks, str]] = {}
    for problem in dict.fromkeys(problem for problem, _ in outcomes):
        for first, second in wanted:
            if (problem, first) in outcomes and (problem, second) in outcomes:
                contrast, quantity = contrast_of(outcomes[problem, second], outcomes[problem, first])
                if len(contrast.shown.a):
                    contrasts[problem, first, second] = contrast, quantity
    primary = [reference is None or reference in names for _, *names in contrasts]
    looks = [contrast for contrast, _ in contrasts.values()]
    most = max((len(each.tested) for each in looks), default=0)
    history = [_verdicts([each.until(k) for each in looks], primary) for k in range(1, most)]
    history.append(_verdicts(looks, primary))
    compared = {}
    for i, ((problem, first, second), (contrast, quantity)) in enumerate(contrasts.items()):
        family, shown = primary.count(primary[i]), contrast.shown
        one, other = outcomes[problem, first], outcomes[problem, second]
        corrected, verdict = history[-1][i]
        needed, most_needed = seeds_needed(shown, family)
        since = next(k for k, verdicts in enumerate(history) if verdicts[i][1] == verdict)
        compared[problem, first, second] = Comparison(
            problem,
            first,
            second,
            first_solved=int(one.solved.sum()),
            first_runs=len(one.seeds),
            first_expected=one.expected,
            second_solved=int(other.solved.sum()),
            second_runs=len(other.seeds),
            second_expected=other.expected,
            quantity=quantity,
            test="pairs" if shown.paired else "groups",
            seeds=min(len(shown.a), len(shown.b)),
            ratio=contrast.interval,
            first_better=1 - shown.first_sooner,
            p=contrast.p,
            p_corrected=corrected,
            verdict=verdict,
            primary=primary[i],
            fewest=fewest_seeds(family * contrast.planned, shown.paired),
            needed=needed,
            needed_most=most_needed,
            detectable=detectable_ratio(shown, family),
            looks=len(contrast.tested),
            planned=contrast.planned,
            decided=_seeds(contrast.tested[min(since, len(contrast.tested) - 1)]) if verdict in FINAL else None,
        )
    return compared


def compare_sweeps(results: pd.DataFrame, first: str, second: str) -> Comparisons:
    """Compare what two sweeps have in common: each contender of the first with itself in the second, on each problem,
    named as each sweep alone names them, the contender with its sweep after it."""
    return compare_contenders(
        results.assign(contender=results["contender"] + ", " + results["sweep"]),
        [(f"{name}, {first}", f"{name}, {second}") for name in results["contender"].unique()],
    )


def _verdicts(looks: Sequence[Looks], primary: Sequence[bool]) -> list[tuple[float, str]]:
    """Return the corrected p-value and the verdict of each comparison of a report."""
    corrected = in_sequence([each.p for each in looks], primary)
    equivalence = holm([each.p_apart for each in looks])
    return [
        (float(p), _verdict(each, float(p), float(p_apart)))
        for each, p, p_apart in zip(looks, corrected, equivalence, strict=True)
    ]


def _verdict(looks: Looks, p_corrected: float, p_apart: float) -> str:
    if p_corrected <= ALPHA:
        return ESTABLISHED
    if p_apart <= ALPHA:
        return EQUIVALENT
    return UNTESTABLE if looks.shown.all_tie and len(looks.shown.a) + len(looks.shown.b) > 2 else OPEN


def _seeds(contrast: Contrast) -> int:
    return min(len(contrast.a), len(contrast.b))


def between(comparisons: Comparisons, problem: str, first: str, second: str) -> Comparison | None:
    """Return the comparison of two contenders, second over first; None if there is none."""
    if (problem, second, first) in comparisons:
        return comparisons[problem, second, first].inverted
    return comparisons.get((problem, first, second))


def contrast_of(a: Outcomes, b: Outcomes, by: str = "") -> tuple[Looks, str]:
    """Return the contrast of two contenders on a problem, a over b, and the quantity that it is of.

    Treatments of one cell are paired by seed, of seeds that both have. Different cells are not: pairs of one seed were
    measured to have no more in common than others, so that pairing them would cost power and gain nothing. Where seeds
    were added by one plan, the two are compared at each look that both have. Where their plans differ, as those of two
    sweeps may, they are compared once, corrected for all combinations of looks at which they could have come to be.

    What is compared is settled by the first look, so that runs that are added can add to what was established, and
    withdraw nothing.

    Args:
        by: "loss" for the final loss and "needed" for what solving the problem took, whatever was solved; else the
            latter if some were.
    """
    paired = a.cell == b.cell
    together = bool(a.plan) and a.plan == b.plan
    planned = a.planned if together else a.planned * b.planned
    looks = [(k, k) for k in range(1, min(a.looks, b.looks) + 1)] if together else [(a.looks, b.looks)]
    every = np.ones(len(a.seeds), bool), np.ones(len(b.seeds), bool)
    first = (a.by_look(looks[0][0]), b.by_look(looks[0][1])) if planned > 1 and looks else every
    solved = a.solved[first[0]].any() or b.solved[first[1]].any()
    quantity = a.currency if by == "needed" or (by != "loss" and solved) else "loss"
    solution = _loss_of_solutions(a, b)

    def contrast(of_a: np.ndarray, of_b: np.ndarray) -> Contrast:
        if paired:
            seeds = np.intersect1d(a.seeds[of_a], b.seeds[of_b])
            of_a, of_b = of_a & np.isin(a.seeds, seeds), of_b & np.isin(b.seeds, seeds)
        alike = _are_alike(a, of_a, b, of_b, quantity)
        if quantity == "loss":
            return Contrast(a.losses(of_a, solution), b.losses(of_b, solution), paired, ALPHA / planned, alike)
        return Contrast(a.times(of_a), b.times(of_b), paired, ALPHA / planned, alike)

    shown = contrast(*every)
    if planned == 1:
        return Looks(shown, [shown]), quantity

    tested = [contrast(a.by_look(of_a), b.by_look(of_b)) for of_a, of_b in looks]
    return Looks(shown, [each for each in tested if len(each.a) and len(each.b)], planned), quantity


def _loss_of_solutions(a: Outcomes, b: Outcomes) -> float:
    """Return the median loss of the runs that solved a problem, but no more than the least of those that did not."""
    losses, solved = np.concatenate([a.finite_losses, b.finite_losses]), np.concatenate([a.solved, b.solved])
    typical = float(np.median(losses[solved])) if solved.any() else math.inf
    return min(typical, float(losses[~solved].min(initial=math.inf)))


def _are_alike(a: Outcomes, of_a: np.ndarray, b: Outcomes, of_b: np.ndarray, quantity: str) -> bool:
    """Tell whether some runs of two contenders are alike in what a ratio of typical ones leaves out: what a solution
    costs on average, with the runs that fail; or of losses, their means, if more was learned than is without memory."""
    if not of_a.any() or not of_b.any():
        return False
    if quantity != "loss":
        low, high = sorted((a.cost(of_a), b.cost(of_b)))
        return high < MARGIN * low
    low, high = sorted((float(a.finite_losses[of_a].mean()), float(b.finite_losses[of_b].mean())))
    return a.has_learned(of_a) and b.has_learned(of_b) and high < MARGIN * low
