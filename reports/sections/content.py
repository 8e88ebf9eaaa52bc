"""What sections are written from, and the forms that all of them use."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports.comparisons import Comparisons
from reports.figures.panels import MOST_CURVES
from reports.figures.style import save, save_pdf
from reports.frontier import Frontier, frontiers
from reports.load import Stored
from reports.rows import grouped
from reports.sequential import undecided_claims
from reports.summary import Summary
from reports.timings import TimedCase
from reports.verdicts import Judgement

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_PROBLEMS = 6  # in a figure
MOST_NAMED = 3  # contenders or problems in a sentence; more are counted

TEXTS = Environment(loader=PackageLoader("reports", "sections"), undefined=StrictUndefined).get_template("texts.jinja")


@dataclass(frozen=True)
class Content:
    """What sections are written from.

    Attributes:
        stored: the tables; `stored.results` has a row per run.
        summaries: a row per problem and contender, in the order of tables and legends.
        comparisons: of contenders; empty for claims, whose tests are their own.
        between: of two sweeps, comparisons of each contender with itself, by the names that each sweep alone has.
        timings: a row per timed case.
        judgements: of each claim, by its name.
        folder: where figures go.
        printed: where figures go as PDF, too; None for nowhere.
    """

    stored: Stored
    summaries: list[Summary]
    comparisons: Comparisons
    between: Comparisons
    timings: list[TimedCase]
    judgements: dict[str, list[Judgement]]
    folder: Path
    printed: Path | None = None

    @cached_property
    def frontiers(self) -> list[Frontier]:
        """How far each contender reaches, of a sweep that `is_frontier`."""
        return frontiers(self.stored)

    @cached_property
    def repeated(self) -> bool:
        """Whether two sweeps ran the same: all that one of them did, the other did too."""
        if not self.between:
            return False
        sweeps = self.stored.results.groupby("sweep")
        one, other = ({*zip(own["own_problem"], own["own_contender"], strict=True)} for _, own in sweeps)
        return one <= other or other <= one

    @cached_property
    def open_claims(self) -> int:
        """How many claims, or findings of a publication, are undecided with seeds to come that may decide some."""
        claims, looks, runs = self.stored.claims, self.stored.looks, self.stored.results
        if claims is None or looks is None or runs.empty or runs["look"].fillna(0).max() >= len(looks.seeds):
            return 0
        left = undecided_claims(claims, self.judgements)
        return left.open if left.runs else 0

    @property
    def tested(self) -> bool:
        """Whether all was scored on a test part, and so nothing can be solved."""
        return bool(self.summaries) and all(row.tested for row in self.summaries)

    @property
    def many(self) -> bool:
        """Whether some problem has more contenders than have a curve each in figures."""
        return max(Counter(row.problem for row in self.summaries).values(), default=0) > MOST_CURVES

    def show(self, figure: "Figure", name: str, heading: str = "", caption: str = "", **insertions: object) -> str:
        """Write a figure beside the report, and return its section: a heading, the figure, and its caption.

        Args:
            name: of the figure's files.
            caption: a sentence or two; without it, the text of `texts.jinja` that has the figure's name, which
                `insertions` fill in.
        """
        save(figure, self.folder, name)
        if self.printed is not None:
            save_pdf(figure, self.printed, name)
        image = f"![{name.replace('_', ' ').capitalize()}]({name}.png)"
        return paragraphs(heading, image, caption or wording(name, **insertions))


def wording(name: str, **insertions: object) -> str:
    """Return a text of `texts.jinja` on one line, with what it leaves open filled in.

    Raises:
        LookupError: it has no text of that name.
    """
    text = getattr(TEXTS.module, name, None)
    if text is None:
        raise LookupError(f"texts.jinja has no text {name}")
    return " ".join(str(text(**insertions)).split())


def paragraphs(*parts: str) -> str:
    """Return the parts that say something with an empty line between them."""
    return "\n\n".join(filter(None, parts))


def problems_shown(content: Content) -> list[str]:
    """Return the problems that figures show: all, or of each task the hardest ones that some run solved."""
    solved: dict[str, int] = Counter()
    for row in content.summaries:
        solved[row.problem] += row.solved
    if len(solved) <= MOST_PROBLEMS:
        return list(solved)
    tasks = content.stored.results.groupby("problem", sort=False)["task"].first()
    each = max(1, MOST_PROBLEMS // tasks.nunique())
    names = []
    for mine in grouped(solved, lambda problem: tasks[problem]).values():
        names += ([problem for problem in mine if solved[problem]] or mine)[-each:]
    return [problem for problem in solved if problem in names]


def names_a_file(name: str) -> bool:
    """Tell whether what came with the data can be part of a figure's file name."""
    return re.fullmatch(r"\w{1,60}", name, re.ASCII) is not None


def all_of(names: list[str], last: str = "and") -> str:
    """Return e.g. "gru, lstm and rnn"; of more than a few the first, and how many more."""
    names = [name if "“" in name else quoted(name) for name in names]
    if len(names) > MOST_NAMED:
        return f"{', '.join(names[: MOST_NAMED - 1])} {last} {len(names) - MOST_NAMED + 1} more"
    return f" {last} ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def quoted(name: str) -> str:
    """Return a name in quotation marks if it has a comma, which would end it in a list."""
    return f"“{name}”" if "," in name else name


def plural(number: int, noun: str) -> str:
    """Return a number with its noun, e.g. "1 seed" or "3 seeds"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def is_or_are(number: int) -> str:
    """Return the form of "be" that goes with a number of things."""
    return "is" if number == 1 else "are"
