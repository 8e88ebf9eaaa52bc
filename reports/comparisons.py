"""Frames in, comparisons of every two contenders on a problem out."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from bench.record.records import DECIDED
from reports.references import compared_pairs
from reports.statistics import (
    ALPHA,
    Interval,
    Paired,
    detectable_ratio,
    improvement,
    log_rank,
    pair_up,
    ratio,
    seeds_needed,
    significances,
    smallest_p,
)
from reports.summary import LEAST_LOSS


@dataclass(frozen=True)
class Outcomes:
    """What a contender's runs on a problem came to: arrays (n), by ascending seed.

    Attributes:
        seeds: each once.
        solved: whether a run solved the problem.
        needed: to solve it, NaN if it was not solved, in `currency`.
        spent: in all.
        grid: the smallest difference that can be seen.
        loss: at the end; NaN if there is none.
        currency: "steps", "FLOPs" or "seconds".
    """

    seeds: np.ndarray
    solved: np.ndarray
    needed: np.ndarray
    spent: np.ndarray
    grid: np.ndarray
    loss: np.ndarray
    currency: str

    @classmethod
    def of(cls, runs: pd.DataFrame) -> "Outcomes":
        """Take a contender's runs from results; of several at a seed the first."""
        runs = runs.drop_duplicates("seed").sort_values("seed")
        needed, spent, grid, loss = (
            runs[name].astype("Float64").to_numpy(float, na_value=np.nan)
            for name in ("needed", "spent", "grid", "final_loss")
        )
        seeds, solved = runs["seed"].to_numpy(int), runs["solved"].to_numpy(bool)
        return cls(seeds, solved, needed, spent, grid, loss, str(runs["currency"].iloc[0]))

    @property
    def times(self) -> np.ndarray:
        """What was needed, or of an unsolved run spent."""
        return np.where(np.isnan(self.needed), self.spent, self.needed)


@dataclass(frozen=True)
class PairedRuns:
    """Two contenders' runs on a problem, paired by seed.

    Attributes:
        pairs: differences of the logarithms of `quantity`, second over first.
        quantity: "steps", "FLOPs" or "seconds" to solve the problem, or "loss".
        bound: of a ratio: "" if it is exact, "≥" or "≤" if unsolved runs of one make it a bound, "~" if both have some.
        first_better: probability that a run of the first needs less than one of the second.
        log_rank: p-value of that test, uncorrected, unpaired.
    """

    pairs: Paired
    quantity: str
    bound: str
    first_better: float
    log_rank: float


@dataclass(frozen=True)
class Comparison:
    """Two contenders on a problem, in a family of comparisons over which p-values are corrected.

    Attributes:
        pairs: how many.
        log_rank, quantity, bound, first_better: see `PairedRuns`.
        ratio: second over first.
        test: "exact" or "t".
        decidable: whether so many pairs could show anything.
        needed: seeds to find a difference of this size; None if that is not known, or too many.
        detectable: the ratio that these seeds would find; None if that is not known.
    """

    problem: str
    first: str
    second: str
    pairs: int
    log_rank: float
    quantity: str
    bound: str
    first_better: float
    ratio: Interval
    test: str
    p: float
    p_corrected: float
    differs: bool
    decidable: bool
    needed: int | None
    detectable: float | None

    @property
    def inverted(self) -> "Comparison":
        """The same, seen from the other side."""
        low, high = (1 / bound if bound > 0 else math.inf for bound in (self.ratio.high, self.ratio.low))
        return replace(
            self,
            first=self.second,
            second=self.first,
            ratio=Interval(1 / self.ratio.estimate, low, high, self.ratio.confidence),
            bound={"≥": "≤", "≤": "≥"}.get(self.bound, self.bound),
            first_better=1 - self.first_better,
        )


Comparisons = dict[tuple[str, str, str], Comparison]  # by problem, first and second


def compare(results: pd.DataFrame) -> pd.DataFrame:
    """Compare every two contenders on each problem, or each with its reference, in pairs of the same seed.

    What is compared is what they needed to solve the task, in the currency of the budget; where no run of either
    solved it, the final loss. All comparisons are one family, over which p-values are corrected.

    Args:
        results: a row a run, of `reports.load.load`.

    Returns:
        A row a comparison, with the fields of `Comparison` as columns.
    """
    return as_table(compare_contenders(results))


def as_table(comparisons: Comparisons) -> pd.DataFrame:
    """Return comparisons as a table, a row each."""
    return pd.DataFrame([vars(comparison) for comparison in comparisons.values()])


def compare_contenders(results: pd.DataFrame) -> Comparisons:
    """Return what `compare` does, as typed rows."""
    paired: dict[tuple[str, str, str], PairedRuns] = {}
    wanted = compared_pairs(results)
    for problem, runs in results[results["status"].isin(DECIDED)].groupby("problem", sort=False):
        outcomes = {str(name): Outcomes.of(table) for name, table in runs.groupby("contender", sort=False)}
        for first, second in wanted:
            if first in outcomes and second in outcomes:
                pair = pair_runs(outcomes[first], outcomes[second])
                if len(pair.pairs):
                    paired[str(problem), first, second] = pair
    family = len(paired)
    assessed = significances([runs.pairs for runs in paired.values()])
    return {
        (problem, first, second): Comparison(
            problem,
            first,
            second,
            pairs=len(runs.pairs),
            log_rank=runs.log_rank,
            quantity=runs.quantity,
            bound=runs.bound,
            first_better=runs.first_better,
            ratio=ratio(runs.pairs),
            test=significance.test,
            p=significance.p,
            p_corrected=significance.p_corrected,
            differs=significance.differs,
            decidable=significance.differs or significance.test == "t" or smallest_p(len(runs.pairs)) * family <= ALPHA,
            needed=seeds_needed(runs.pairs, family),
            detectable=detectable_ratio(runs.pairs, family),
        )
        for ((problem, first, second), runs), significance in zip(paired.items(), assessed, strict=True)
    }


def between(comparisons: Comparisons, problem: str, first: str, second: str) -> Comparison | None:
    """Return the comparison of two contenders, second over first; None if there is none."""
    if (problem, second, first) in comparisons:
        return comparisons[problem, second, first].inverted
    return comparisons.get((problem, first, second))


def pair_runs(first: Outcomes, second: Outcomes, by: str = "") -> PairedRuns:
    """Return two contenders' runs in pairs of the same seed.

    Args:
        by: "loss" for the final loss whatever was solved; else what was needed to solve the problem, if some were.
    """
    both = (first, second)
    seeds = np.intersect1d(first.seeds, second.seeds, assume_unique=True)
    at = [np.isin(outcomes.seeds, seeds) for outcomes in both]
    times = [array for each in both for array in (np.where(each.solved, each.needed, each.spent), each.solved)]
    grid = 0.0
    if by != "loss" and (first.solved.any() or second.solved.any()):
        quantity = first.currency
        values = [np.maximum(each.times[here], 1e-9) for each, here in zip(both, at, strict=True)]
        cut_off = [bool(not each.solved[here].all()) for each, here in zip(both, at, strict=True)]
        grid = max(float(each.grid[here].max(initial=0.0)) for each, here in zip(both, at, strict=True))
        never = [np.nan_to_num(each.needed, nan=np.inf) for each in both]
    else:
        quantity = "loss"
        worst = np.nanmax(np.concatenate([first.loss, second.loss, [-np.inf]]))
        worst = worst if np.isfinite(worst) else 1.0
        losses = [each.loss[here] for each, here in zip(both, at, strict=True)]
        values = [np.maximum(np.nan_to_num(loss, nan=worst), LEAST_LOSS) for loss in losses]
        cut_off = [bool(np.isnan(loss).any()) for loss in losses]
        never = [np.nan_to_num(each.loss, nan=np.inf) for each in both]
    return PairedRuns(
        pairs=pair_up(values[1], values[0], grid=grid, complete=not any(cut_off)),
        quantity=quantity,
        bound={(False, False): "", (False, True): "≥", (True, False): "≤", (True, True): "~"}[cut_off[0], cut_off[1]],
        first_better=improvement(*never),
        log_rank=log_rank(*times),
    )
