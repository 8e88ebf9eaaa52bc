"""What came out: the answer in words, then who solved what, how fast, how well, and at what cost."""

import math
from collections import Counter

from reports import text
from reports.comparisons import EQUIVALENT, UNTESTABLE, Comparison, between
from reports.figures import training as figures
from reports.references import primary_reference, references_of
from reports.rows import grouped
from reports.sections.content import Content, paragraphs, plural, wording
from reports.statistics import ALPHA, MARGIN
from reports.summary import REFERENCE_CELL, Summary, scaled
from reports.timings import step_time_ratios, step_times

NEEDED = {"steps": "steps", "seconds": "s", "FLOPs": "FLOPs"}  # what solving takes, by currency


def answers(content: Content) -> str:
    """Say per problem, in a sentence, who solved it, how fast, and which differences are established."""
    lines: list[str] = []
    references = references_of(content.stored.results) if content.summaries else {}
    for here in grouped(content.summaries, lambda row: row.problem).values():
        ordered = sorted((row for row in here if row.runs), key=lambda row: (-row.share_solved, row.median_needed))
        by_name = {row.contender: row for row in ordered}
        for name in dict.fromkeys(references.values()):  # how each reference did, and those that are compared with it
            others = [row for row in ordered if references.get(row.contender) == name != row.contender]
            if name in by_name and others:
                lines.append(_sentence(content, [by_name[name], *others], in_order=True))
        if ordered and not references:
            lines.append(_sentence(content, ordered))
    return paragraphs("\n".join(lines), _about_tests(content)) if lines else ""


def _sentence(content: Content, ordered: list[Summary], in_order: bool = False) -> str:
    """Say how the first contender on a problem did, and the others against it.

    Args:
        ordered: the best one first, or with `in_order` the one that the others are compared with.
    """
    best = ordered[0]
    if not best.solved and not in_order:
        ordered = sorted(ordered, key=lambda row: row.mean_loss)
        best = ordered[0]
    if best.solved:
        did = f"{_name(best)} solved {best.solved}/{best.runs}{_median(best)}"
    else:
        solved = f"{_name(best)} solved 0/{best.runs} and" if in_order else f"no run solved it; {_name(best)}"
        did = f"{solved} ends at a loss of {text.number(best.final_loss)}"
    said = "; ".join([did, *(_against(content, best, row) for row in ordered[1:])])
    return f"- On **{text.escape(best.problem)}**, {said}."


def _median(row: Summary) -> str:
    if not math.isfinite(row.median_needed):
        return f" within {text.amount(row.budget)} {NEEDED[row.currency]}"
    estimate, _, bounds = text.spent(row.needed, row.budget).partition(" ")
    return f" in a median of {estimate} {NEEDED[row.currency]} {bounds}".rstrip()


def _against(content: Content, best: Summary, row: Summary) -> str:
    """Say how a contender compares with the first one, and whether that is established."""
    comparison = between(content.comparisons, row.problem, best.contender, row.contender)
    share = f"{_name(row)} solved {row.solved}/{row.runs}" if best.solved or row.solved else _name(row)
    if comparison is None:
        return share
    ratio = text.times(comparison.ratio)
    much = "many" if row.currency == "steps" else "much"
    if comparison.quantity == "loss":
        said = f"{_name(row)} at {ratio} that loss"
    elif row.solved == 0 or ratio == text.NONE:
        said = f"{share} within {text.amount(row.budget)} {NEEDED[row.currency]}"
    elif row.solved < row.runs or best.solved < best.runs:
        said = f"{share} and needed {ratio} as {much}"
    else:
        said = f"{_name(row)} needed {ratio} as {much}"
    return f"{said} ({certainty(comparison)})"


def certainty(comparison: Comparison) -> str:
    """Say in a few words what a comparison establishes, and how many seeds would be needed where it does not."""
    if comparison.differs:
        return f"{text.p_value(comparison.p_corrected)}{'' if comparison.primary else ', exploratory'}"
    if comparison.verdict == EQUIVALENT:
        return f"equivalent within a factor of {MARGIN:g}"
    if comparison.planned > 1 and not comparison.looks:
        return "before the first look"
    if comparison.verdict == UNTESTABLE:
        return "not testable: no two of their runs can be told apart"
    if comparison.seeds == 1:
        return "one seed cannot tell"
    needed, seeds = text.range_of(comparison.needed, comparison.needed_most), plural(comparison.seeds, "seed")
    known = "" if needed == text.NONE else f"; {needed} would be needed"
    few = comparison.seeds < comparison.fewest
    return f"{seeds} cannot tell{known}" if few else f"not distinguishable with {seeds}{known}"


def _name(row: Summary) -> str:
    return text.escape(row.contender)


def _about_tests(content: Content) -> str:
    compared = list(content.comparisons.values())
    if not compared:
        return ""
    primary = [row for row in compared if row.primary]
    reference = primary_reference(content.stored.results)
    said = wording(
        "about_tests", tests={row.test for row in compared}, primary=len(primary), others=len(compared) - len(primary),
        reference="the reference" if reference is None else text.escape(reference), alpha=f"{ALPHA:.0%}",
    )  # fmt: skip
    said = f"{said} {_about_looks(content, primary)}".rstrip()
    fewest = max(row.fewest for row in primary)
    seeds = min(row.seeds for row in primary)
    if primary[0].planned > 1:
        return said
    if seeds == 1:
        said += " With one seed nothing can be told apart."
    elif seeds < fewest:
        said += f" {plural(seeds, 'seed').capitalize()} are too few for that: {fewest} are the fewest."
    return said


def _about_looks(content: Content, primary: list[Comparison]) -> str:
    """Say how it came that there are as many seeds as there are."""
    looks, added, runs = content.stored.looks, content.stored.added, content.stored.results
    if looks is None or primary[0].planned == 1:
        return wording("seeds_added", before=added) if added else ""
    subjects = len(runs[["problem", "contender"]].drop_duplicates())
    decided = Counter(row.decided for row in primary if row.decided is not None)
    return wording(
        "looks", counts=looks.counts, finished=looks.finished,
        decided=[f"{many} after {seeds}" for seeds, many in sorted(decided.items())],
        open=len(primary) - decided.total(), primary=len(primary), runs=len(runs), all=subjects * looks.counts[-1],
        unplanned=int(runs["look"].isna().sum()),
    )  # fmt: skip


def headline(content: Content) -> str:
    """Tabulate per problem who solved it, how fast, how well and at what cost."""
    rows = headline_rows(content)
    if not rows:
        return ""
    tables = [
        f"### {text.escape(problem)}\n\n"
        + text.table([{name: value for name, value in row.items() if name != "problem"} for row in here])
        for problem, here in grouped(rows, lambda row: row["problem"]).items()
    ]
    return paragraphs("## Results", *tables, _reading_notes(content))


def headline_rows(content: Content) -> list[dict[str, str]]:
    """Return the headline table: a row per problem and contender, values as text."""
    ratios = step_time_ratios(content.stored.results, content.timings)
    currencies = {row.currency for row in content.summaries}
    budget = currencies.pop() if len(currencies) == 1 else "budget"
    partly = any(row.solved < row.runs for row in content.summaries)
    rows = []
    for row in content.summaries:
        expected = {"expected": text.spent(row.expected if row.solved else None)} if partly else {}
        fraction = row.solved_fraction
        share = f" [{fraction.low:.0%}, {fraction.high:.0%}]" if fraction is not None else ""
        failed = f" (+{row.failed} failed)" if row.failed else ""
        rows.append(
            {
                "problem": row.problem,
                "cell": row.contender,
                "solved": f"{row.solved}/{row.runs}{share}{failed}",
                **expected,
                f"{budget} to solve": text.spent(row.needed, row.budget),
                "final loss": text.number(row.final_loss),
                "parameters": text.count(row.parameters),
                f"step time / {REFERENCE_CELL}": text.number(ratios.get((row.problem, row.contender))),
            }
        )
    return rows


def _reading_notes(content: Content) -> str:
    confidence = min((row.needed.confidence for row in content.summaries if row.needed is not None), default=0.0)
    seeds = max(row.runs for row in content.summaries)
    if seeds == 1:
        few = " One seed has no interval: how the next would do, nothing here says."
    elif confidence < 0.95:
        few = " " + wording("few_seeds_in_headline", seeds=plural(seeds, "seed"), confidence=f"{confidence:.0%}")
    else:
        few = ""
    partly = any(row.solved < row.runs for row in content.summaries)
    return wording("headline", partly=partly) + few


def cost_of_solving(content: Content) -> str:
    """Tabulate the median cost of solving a task in every currency."""
    solved = [row for row in content.summaries if row.solved]
    if not solved:
        return ""
    milliseconds = step_times(content.stored.results, content.timings)
    several = len({row.problem for row in content.summaries}) > 1
    rows = []
    for row in solved:
        time = milliseconds.get((row.problem, row.contender))
        rows.append(
            {
                **({"problem": row.problem} if several else {}),
                "cell": row.contender,
                "steps": text.spent(row.steps),
                "samples": text.spent(row.samples),
                "FLOPs": text.spent(row.flops),
                "seconds": text.spent(scaled(row.steps, None if time is None else time / 1000)),
            }
        )
    return paragraphs("### What solving costs", text.table(rows), wording("cost_of_solving"))


def learning(content: Content) -> str:
    """Show held-out loss against training steps."""
    if not len(content.stored.curves):
        return ""
    figure = figures.learning_curves(content.stored.curves, content.stored.results)
    return content.show(figure, "learning_curves", "## Learning curves")


def time_to_solve(content: Content) -> str:
    """Show the share of runs solved by each step."""
    if not any(row.runs for row in content.summaries):
        return ""
    return content.show(figures.solve_curves(content.stored.results), "time_to_solve", "## Time to solve")
