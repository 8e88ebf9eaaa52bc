"""What data were: parts, classes, simple answers, and how each contender did on the test part."""

from json import loads

from reports import text
from reports.rows import grouped
from reports.sections.content import Content, paragraphs, plural, wording
from reports.summary import Summary

MOST_CLASSES = 30  # that a table lists
PARTS = ("training", "validation", "test")
Facts = dict[str, object]


def tests(content: Content) -> str:
    """Tabulate scores on the test part, of contenders and of simple answers, and say what the data were."""
    facts = facts_of(content)
    parts = []
    for problem, rows in grouped(content.summaries, lambda row: row.problem).items():
        if problem in facts and any(row.tested for row in rows):
            heading = f"### {text.escape(problem)}"
            parts += [
                heading,
                text.table(_rows(rows, facts[problem])),
                _about(facts[problem]),
                _classes(facts[problem]),
            ]
    return paragraphs("## Test scores", wording("tests"), *parts) if parts else ""


def facts_of(content: Content) -> dict[str, Facts]:
    """Return what runs say of the data of each problem that has any."""
    runs = content.stored.results
    if "data" not in runs:
        return {}
    known = runs.dropna(subset=["data"]).drop_duplicates("problem")
    return {str(row["problem"]): loads(row["data"]) for _, row in known.iterrows()}


def _rows(summaries: list[Summary], facts: Facts) -> list[dict[str, str]]:
    """Return a row per contender, the lowest loss first, then one per simple answer."""
    names = list(dict.fromkeys(name for row in summaries for name in row.scores))
    rows = [
        {
            "": row.contender,
            "test loss": text.number(row.final_loss),
            **{_said(name): text.number(row.scores.get(name)) for name in names},
        }
        for row in sorted(summaries, key=lambda row: row.mean_loss)
    ]
    of_simple = grouped(_under(facts, "baseline").items(), lambda item: item[0].rpartition("/")[0])
    for simple, items in of_simple.items():
        scores = {name.rpartition("/")[2]: float(str(value)) for name, value in items}
        rows.append(
            {
                "": simple,
                "test loss": _number(scores.get("loss")),
                **{_said(name): _number(scores.get(name)) for name in names},
            }
        )
    return rows


def _about(facts: Facts) -> str:
    counts = ", ".join(f"{int(str(facts[part])):,} for {part}" for part in PARTS if part in facts)
    return wording("data", counts=counts, facts=facts, missing=f"{float(str(facts.get('missing', 0))):.1%}")


def _classes(facts: Facts) -> str:
    """Tabulate how many sequences of each class the parts have."""
    counts = grouped(_under(facts, "class").items(), lambda item: item[0].rpartition("/")[0])
    if not counts:
        return ""
    total = sum(int(str(value)) for items in counts.values() for _, value in items)
    rows = []
    for name, items in list(counts.items())[:MOST_CLASSES]:
        of_part = {key.rpartition("/")[2]: int(str(value)) for key, value in items}
        share = sum(of_part.values()) / total
        rows.append({"class": name, **{part: f"{n:,}" for part, n in of_part.items()}, "share": f"{share:.1%}"})
    more = f"And {plural(len(counts) - MOST_CLASSES, 'more class')}es." if len(counts) > MOST_CLASSES else ""
    return paragraphs(text.table(rows), more)


def _number(value: float | None) -> str:
    return text.NONE if value is None else f"{value:.3g}"


def _under(facts: Facts, group: str) -> Facts:
    """Return the facts of a group, by what follows its name."""
    return {name.removeprefix(f"{group}/"): value for name, value in facts.items() if name.startswith(f"{group}/")}


def _said(name: str) -> str:
    return name.replace("_", " ")
