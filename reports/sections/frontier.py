"""How hard is too hard: the length that half of a cell's runs solve, and the learning rates at which they do."""

import math

from reports import text
from reports.figures import frontier as figures
from reports.frontier import Frontier, apart_on, told_apart
from reports.rows import grouped
from reports.sections.content import Content, paragraphs, plural, wording
from reports.sections.lengths import solved_by_value
from reports.statistics import Interval, letters


def first_screen(content: Content) -> str:
    """Answer who reaches how far, in a sentence and a table."""
    rows = content.frontiers
    told = told_apart(rows)
    apart = sum(len(apart_on(told, problem)) for problem in {row.problem for row in rows})
    said = f"**{text.escape(sentence(content))}** {apart} of {plural(len(told), 'pair')} of cells are told apart."
    table = text.table([row for mine in _ranked(rows).values() for row in _table(mine, told)]) if rows else ""
    explained = ""
    if rows:
        looks = content.stored.looks
        assert looks is not None
        explained = wording("frontier", choosing=looks.counts[looks.choosing - 1] if looks.choosing else 0, row=rows[0])
    return paragraphs(said, table, _windows(rows), explained)


def sentence(content: Content) -> str:
    """Return the answer in a sentence: who reaches furthest on each problem, and how far."""
    rows = [row for row in content.frontiers if row.best is not None]
    if not rows:
        return "No cell has runs yet that tell how far it reaches."
    told, said = told_apart(rows), []
    for problem, mine in _ranked(rows).items():
        first, apart = mine[0], apart_on(told, problem)
        others = [row.contender for row in mine[1:] if frozenset((first.contender, row.contender)) not in apart]
        assert first.best is not None
        length = _said(first.best.interval().estimate, first.best.lengths)
        beside = (
            f" ({' and '.join(filter(None, (', '.join(others[:-1]), others[-1])))} not told apart)" if others else ""
        )
        up_to = f"T{length}" if length[0] in "<>" else f"T={length}"
        said.append(f"on {problem}, half of the runs of {first.contender} solve {up_to}{beside}")
    return f"O{'; '.join(said)[1:]}."


def reach(content: Content) -> str:
    """Show how far each contender reaches, and at which learning rates."""
    rows = content.frontiers
    parts = []
    if any(row.best is not None for row in rows):
        caption = (
            "The length that half of the runs solve, with 95 % intervals; a hollow mark lies beyond the lengths tried."
        )
        parts.append(content.show(figures.at_best(rows), "frontier", "## How far each cell reaches", caption))
    if any(len(row.reaches) > 1 for row in rows):
        windows = content.show(
            figures.over_rates(rows), "frontier_rates", "## At which learning rates", length=f"{rows[0].length:,}"
        )
        parts.append(windows)
    return paragraphs(*parts)


def all_rates(content: Content) -> str:
    """Tabulate how far each contender reaches at each learning rate, and what its runs were."""
    rows = []
    for mine in _ranked(content.frontiers).values():
        for row in mine:
            for rate, known in sorted(row.reaches.items()):
                rows.append(
                    {
                        "problem": row.problem,
                        "cell": row.contender,
                        "learning rate": f"{rate:g}",
                        "T that half solve": _interval(known.interval(), known.lengths),
                        "runs": str(row.runs[rate]),
                    }
                )
    return paragraphs("## All learning rates", text.table(rows), _placed(content)) if rows else ""


def _placed(content: Content) -> str:
    """Tabulate how many of the runs at each length solved their task, all learning rates together."""
    rows = solved_by_value(content.stored.results, "horizon", "T=")
    return f"Runs solved, of those placed at each length:\n\n{text.table(rows)}"


def _ranked(rows: list[Frontier]) -> dict[str, list[Frontier]]:
    """Return the contenders on each problem, who reaches furthest first."""
    return {
        problem: sorted(mine, key=lambda row: -row.best.median if row.best else math.inf)
        for problem, mine in grouped(rows, lambda row: row.problem).items()
    }


def _table(mine: list[Frontier], told: dict[tuple[str, frozenset[str]], float]) -> list[dict[str, str]]:
    names = [row.contender for row in mine]
    given = letters(names, apart_on(told, mine[0].problem))
    several = any(len(row.reaches) > 1 for row in mine)
    return [
        {
            "problem": row.problem,
            "cell": row.contender,
            "T that half solve": _interval(row.best.interval(), row.best.lengths) if row.best else text.NONE,
            "told apart": given[row.contender],
            **({"at rate": text.NONE if row.rate is None else f"{row.rate:g}"} if several else {}),
            **({f"rates that solve T={row.length}": _window(row.solving)} if several else {}),
            "runs": f"{row.tested} of {sum(row.runs.values())}",
        }
        for row in mine
    ]


def _windows(rows: list[Frontier]) -> str:
    """Say at how many learning rates each contender solves the middle length, from those known to those possible."""
    said = []
    for problem, mine in _ranked(rows).items():
        surely = {row.contender: sum(map(bool, row.solving.values())) for row in mine}
        most = {row.contender: surely[row.contender] + [*row.solving.values()].count(None) for row in mine}
        named = sorted(surely, key=lambda name: -surely[name])
        each = ", ".join(f"{name} {text.range_of(surely[name], most[name])}" for name in named)
        said.append(text.escape(f"{problem}, {each}"))
    rates = max((len(row.reaches) for row in rows), default=0)
    if rates < 2:
        return ""
    return f"Number of learning rates, of {rates}, at which most runs solve T={rows[0].length}: {'; '.join(said)}."


def _window(solving: dict[float, bool | None]) -> str:
    """Return e.g. "0.003, 0.01 (0.03?)": the rates at which half of the runs surely solve, and those that may be."""
    sure = [f"{rate:g}" for rate, solves in solving.items() if solves]
    perhaps = [f"{rate:g}?" for rate, solves in solving.items() if solves is None]
    return " ".join(filter(None, (", ".join(sure), f"({', '.join(perhaps)})" if perhaps else ""))) or "none"


def _interval(interval: Interval, lengths: tuple[float, ...]) -> str:
    estimate, low, high = (_said(value, lengths) for value in (interval.estimate, interval.low, interval.high))
    return f"{estimate} [{low}, {high}]"


def _said(length: float, lengths: tuple[float, ...]) -> str:
    if not 0 < length < math.inf:
        return f"<{lengths[0]:,.0f}" if length == 0 else f">{lengths[-1]:,.0f}"
    return f"{length:,.0f}" if length >= 10 else f"{length:.1f}"
