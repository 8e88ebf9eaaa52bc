"""What came out: the answer in words, then who solved what, how fast, how well, and at what cost."""

import math

import pandas as pd

from reports import text
from reports.comparisons import between
from reports.figures import training as figures
from reports.references import references_of
from reports.sections.content import Content, paragraphs, plural, wording
from reports.statistics import ALPHA, fewest_pairs
from reports.summary import REFERENCE_CELL, scaled, step_time_ratios, step_times

NEEDED = {"steps": "steps", "seconds": "s", "FLOPs": "FLOPs"}  # what solving takes, by currency
MANY_SEEDS = 1000  # needed: no number is named then


def answers(content: Content) -> str:
    """Say per problem, in a sentence, who solved it, how fast, and which differences are established."""
    lines: list[str] = []
    references = references_of(content.stored.results) if len(content.results) else {}
    for problem, rows in content.results.groupby("problem", sort=False) if len(content.results) else ():
        ran = [row for _, row in rows.iterrows() if row["runs"]]
        ordered = sorted(ran, key=lambda row: (-row["solved"] / row["runs"], row["needed"].estimate))
        if references:
            lines += _sentences_on_references(content, str(problem), ordered, references)
        elif ordered:
            lines.append(f"- On **{text.escape(str(problem))}**, {_sentence(content, str(problem), ordered)}.")
    if not lines:
        return ""
    return paragraphs("\n".join(lines), _about_tests(content)).strip()


def _sentences_on_references(
    content: Content, problem: str, rows: list[pd.Series], references: dict[str, str]
) -> list[str]:
    """Say of each reference how it did, and how those did that are compared with it."""
    by_name = {row["contender"]: row for row in rows}
    lines = []
    for name in dict.fromkeys(references.values()):
        others = [row for row in rows if references.get(row["contender"]) == name != row["contender"]]
        if name in by_name and others:
            said = _sentence(content, problem, [by_name[name], *others], in_order=True)
            lines.append(f"- On **{text.escape(problem)}**, {said}.")
    return lines


def _sentence(content: Content, problem: str, ordered: list[pd.Series], in_order: bool = False) -> str:
    """Say how the first contender did, and the others against it.

    Args:
        ordered: the best one first, or with `in_order` the one that the others are compared with.
    """
    best = ordered[0]
    if in_order and not best["solved"]:
        said = [f"{_name(best)} solved 0/{best['runs']} and ends at a loss of {text.number(best['final_loss'])}"]
    elif not best["solved"]:
        ordered = sorted(ordered, key=lambda row: row["final_loss"].estimate)
        best = ordered[0]
        said = [f"no run solved it; {_name(best)} ends at a loss of {text.number(best['final_loss'])}"]
    else:
        said = [f"{_name(best)} solved {best['solved']}/{best['runs']}{_median(best)}"]
    said += [_against(content, problem, best, row) for row in ordered[1:]]
    return "; ".join(said)


def _median(row: pd.Series) -> str:
    if not math.isfinite(row["needed"].estimate):
        return f" within {text.amount(row['budget'])} {NEEDED[row['currency']]}"
    estimate, _, bounds = text.spent(row["needed"], row["budget"]).partition(" ")
    return f" in a median of {estimate} {NEEDED[row['currency']]} {bounds}".rstrip()


def _against(content: Content, problem: str, best: pd.Series, row: pd.Series) -> str:
    """Say how a contender compares with the first one, and whether that is established."""
    found = between(content.comparisons, problem, best["contender"], row["contender"])
    much = "many" if row["currency"] == "steps" else "much"
    share = f"{_name(row)} solved {row['solved']}/{row['runs']}" if best["solved"] or row["solved"] else _name(row)
    if found is None:
        return share
    if found["quantity"] == "loss":
        what = f"{_name(row)} at {text.times(found['ratio'], found['bound'])} that loss"
    elif row["solved"] == 0:
        what = share
    elif row["solved"] < row["runs"] or best["solved"] < best["runs"]:
        what = f"{share} and needed {text.times(found['ratio'], found['bound'])} as {much}"
    else:
        what = f"{_name(row)} needed {text.times(found['ratio'], found['bound'])} as {much}"
    return f"{what} ({verdict(found)})"


def verdict(comparison: pd.Series) -> str:
    """Say in a few words what a comparison establishes, and how many seeds would be needed where it does not."""
    seeds = plural(int(comparison["pairs"]), "seed")
    if comparison["differs"]:
        return f"{text.p_value(comparison['p_corrected'])}{', t-test' if comparison['test'] == 't' else ''}"
    needed = comparison["needed"]
    known = needed is not None and not pd.isna(needed) and needed <= MANY_SEEDS
    if comparison["pairs"] == 1:
        return "one seed cannot tell"
    if not comparison["decidable"]:
        return f"{seeds} cannot tell{f', about {int(needed)} could' if known else ''}"
    how_many = f"about {int(needed):,} would be needed" if known else "more than 1,000 would be needed"
    return f"not distinguishable with {seeds}; {how_many}"


def _name(row: pd.Series) -> str:
    return text.escape(row["contender"])


def _about_tests(content: Content) -> str:
    family = len(content.comparisons)
    if not family:
        return ""
    pairs = int(content.comparisons["pairs"].min())
    fewest = fewest_pairs(family)
    said = wording("about_tests", comparisons=plural(family, "comparison"), alpha=f"{ALPHA:.0%}")
    if pairs == 1:
        said += " With one seed nothing can be told apart."
    elif pairs < fewest:
        said += " " + wording("few_seeds", seeds=plural(pairs, "seed"), fewest=fewest)
    return said


def headline(content: Content) -> str:
    """Tabulate per problem who solved it, how fast, how well and at what cost."""
    rows = headline_rows(content)
    if not rows:
        return ""
    tables = []
    frame = pd.DataFrame(rows)
    for problem, part in frame.groupby("problem", sort=False):
        tables.append(
            f"### {text.escape(str(problem))}\n\n{text.table(part.drop(columns='problem').to_dict('records'))}"
        )
    return paragraphs("## Results", *tables, _reading_notes(content))


def headline_rows(content: Content) -> list[dict[str, str]]:
    """Return the headline table: a row per problem and contender, values as text."""
    ratios = step_time_ratios(content.stored.results, content.timings)
    currencies = set(content.results["currency"]) if len(content.results) else set()
    budget = currencies.pop() if len(currencies) == 1 else "budget"
    rows = []
    for _, row in content.results.iterrows():
        failed = f" (+{row['failed']} failed)" if row["failed"] else ""
        fraction = row["solved_fraction"]
        share = f" [{fraction.low:.0%}, {fraction.high:.0%}]" if fraction is not None else ""
        rows.append(
            {
                "problem": row["problem"],
                "cell": row["contender"],
                "solved": f"{row['solved']}/{row['runs']}{share}{failed}",
                f"{budget} to solve": text.spent(row["needed"], row["budget"]),
                "final loss": text.number(row["final_loss"]),
                "parameters": text.count(row["parameters"]),
                f"step time / {REFERENCE_CELL}": text.number(ratios.get((row["problem"], row["contender"]))),
            }
        )
    return rows


def _reading_notes(content: Content) -> str:
    intervals = [row["needed"] for _, row in content.results.iterrows() if row["needed"] is not None]
    seeds = int(content.results["runs"].max())
    confidence = min((interval.confidence for interval in intervals), default=0.0)
    notes = [wording("headline")]
    if seeds == 1:
        notes.append("One seed has no interval: how the next would do, nothing here says.")
    elif confidence < 0.95:
        confident = f"{confidence:.0%}"
        notes.append(wording("few_seeds_in_headline", seeds=plural(seeds, "seed"), confidence=confident))
    return " ".join(notes)


def cost_of_solving(content: Content) -> str:
    """Tabulate the median cost of solving a task in every currency."""
    if content.results.empty or not content.results["solved"].sum():
        return ""
    milliseconds = step_times(content.stored.results, content.timings)
    several = content.results["problem"].nunique() > 1
    rows = []
    for _, row in content.results[content.results["solved"] > 0].iterrows():
        time = milliseconds.get((row["problem"], row["contender"]))
        rows.append(
            {
                **({"problem": row["problem"]} if several else {}),
                "cell": row["contender"],
                "steps": text.spent(row["steps"]),
                "samples": text.spent(row["samples"]),
                "FLOPs": text.spent(row["flops"]),
                "seconds": text.spent(scaled(row["steps"], None if time is None else time / 1000)),
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
    if not len(content.results) or not content.results["runs"].sum():
        return ""
    return content.show(figures.solve_curves(content.stored.results), "time_to_solve", "## Time to solve")
