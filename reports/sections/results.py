"""What came out: who solved what, how fast, how well, and at what cost."""

from reports import text
from reports.figures import training as figures
from reports.rows import grouped
from reports.sections.content import Content, paragraphs, plural, wording
from reports.summary import REFERENCE_CELL, scaled
from reports.timings import step_time_ratios, step_times

BEYOND = ">budget"  # what the median run needed that did not solve its task


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
    return paragraphs("## All results", *tables, _reading_notes(content))


def headline_rows(content: Content) -> list[dict[str, str]]:
    """Return the headline table: a row per problem and contender, values as text."""
    ratios = step_time_ratios(content.stored.results, content.timings)
    currencies = {row.currency for row in content.summaries}
    budget = currencies.pop() if len(currencies) == 1 else "budget"
    partly = any(row.solved < row.runs for row in content.summaries)
    rows = []
    for row in content.summaries:
        expected = {"expected": text.expected(row.expected)} if partly else {}
        fraction = row.solved_fraction
        share = f" [{fraction.low:.0%}, {fraction.high:.0%}]" if fraction is not None else ""
        failed = f" (+{row.failed} failed)" if row.failed else ""
        solved = {
            "solved": f"{row.solved}/{row.runs}{share}{failed}",
            **expected,
            f"{budget} to solve": text.spent(row.needed, row.budget),
        }
        rows.append(
            {
                "problem": row.problem,
                "cell": row.contender,
                **({"runs": f"{row.runs}{failed}"} if content.tested else solved),
                "test loss" if content.tested else "final loss": text.number(row.final_loss),
                "parameters": text.count(row.parameters),
                f"step time / {REFERENCE_CELL}": text.number(ratios.get((row.problem, row.contender))),
            }
        )
    return rows


def _reading_notes(content: Content) -> str:
    if content.tested:
        return wording("headline_on_tests")
    confidence = min((row.needed.confidence for row in content.summaries if row.needed is not None), default=0.0)
    seeds = max(row.runs for row in content.summaries)
    if seeds == 1:
        few = " One seed gives no interval."
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
                "steps": text.spent(row.steps, beyond=BEYOND),
                "samples": text.spent(row.samples, beyond=BEYOND),
                "FLOPs": text.spent(row.flops, beyond=BEYOND),
                "seconds": text.spent(scaled(row.steps, None if time is None else time / 1000), beyond=BEYOND),
            }
        )
    return paragraphs("## What solving costs", text.table(rows), wording("cost_of_solving"))


def learning(content: Content) -> str:
    """Show held-out loss against training steps."""
    if not len(content.stored.curves):
        return ""
    figure = figures.learning_curves(content.stored.curves, content.stored.results)
    return content.show(figure, "learning_curves", "## Learning curves", strips=content.many, tested=content.tested)


def time_to_solve(content: Content) -> str:
    """Show the share of runs solved by each step, where several runs were made and some were solved."""
    if not any(row.solved for row in content.summaries) or len(content.stored.results) < 2:
        return ""
    figure = figures.solve_curves(content.stored.results)
    of_problem = grouped(content.summaries, lambda row: row.problem)
    unsolved = not all(any(row.solved for row in rows) for rows in of_problem.values())
    return content.show(figure, "time_to_solve", "## Time to solve", strips=content.many, unsolved=unsolved)
