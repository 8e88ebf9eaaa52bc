"""The report: sections in order, from stored files only, the same bytes for the same files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from bench.record.errors import one_line
from bench.record.files import write_text_atomic
from bench.record.layout import report_folder
from reports.comparisons import compare_contenders, compare_sweeps
from reports.figures.style import theme
from reports.frontier import is_frontier
from reports.isolation import isolated
from reports.load import LoadError, Stored, load
from reports.naming import by_own_names, cells_in_order, in_order, natural
from reports.sections import (
    about,
    answer,
    claims,
    cost,
    data,
    differences,
    frontier,
    lengths,
    probes,
    results,
    side_by_side,
    tuning,
)
from reports.sections.content import Content, paragraphs
from reports.sections.sentence import sentence
from reports.summary import summarize_results
from reports.timings import TimedCase, step_times, summarize_timing
from reports.verdicts import judge

Section = Callable[[Content], str]

# What every report begins and ends with.
TOP: tuple[Section, ...] = (about.title, answer.first_screen)
END: tuple[Section, ...] = (about.failures, about.protocol, about.environment, about.reproduce)
FIRST: tuple[Section, ...] = (
    *TOP,
    about.scope,
    side_by_side.sweeps,
    claims.beside_publication,
    data.tests,
    results.time_to_solve,
    differences.drawn,
    results.learning,
    lengths.reach,
    lengths.beyond,
    differences.cost_against_result,
    probes.gradient_flow,
    probes.gates,
    probes.memory,
    probes.attention,
    probes.jacobian,
    probes.updates,
    cost.times,
)
APPENDIX: tuple[Section, ...] = (
    results.headline,
    differences.comparisons,
    differences.together,
    results.cost_of_solving,
    differences.matching,
    tuning.selection,
    tuning.importance,
    cost.tables,
    *END,
)
# Of a sweep that puts claims to the test: its runs go together claim by claim, and not all with each other.
FIRST_ON_CLAIMS: tuple[Section, ...] = (*TOP, about.scope, claims.verdicts, claims.each, cost.times)
APPENDIX_ON_CLAIMS: tuple[Section, ...] = (results.headline, tuning.selection, cost.tables, *END)
# Of a sweep that looks for the length that half of the runs solve: runs at different lengths are no repetitions.
FIRST_ON_FRONTIER: tuple[Section, ...] = (*TOP, frontier.reach)
APPENDIX_ON_FRONTIER: tuple[Section, ...] = (frontier.all_rates, *END)

# More than anyone reads, or figures have room for; every two contenders on a problem are compared.
MOST = {"contenders": 200, "problems": 100, "contenders on problems": 1000, "timed cases": 1000}


@dataclass(frozen=True)
class Report:
    """A written report.

    Attributes:
        path: its file.
        answer: a sentence; empty where there is none.
        stored: what it is of.
        headline: the headline table.
        step_times: milliseconds of a training step by problem and contender, measured side by side.
    """

    path: Path
    answer: str
    stored: Stored
    headline: pd.DataFrame
    step_times: dict[tuple[str, str], float]


def write_report(folders: Sequence[Path], output: Path | None = None, printed: str = "") -> Report:
    """Write README.md and its figures.

    Args:
        folders: sweeps' folders; several are merged and labelled.
        output: where to; by default `report/` in the first of them.
        printed: the folder in it for figures as PDF; empty for none.

    Raises:
        LoadError: a folder without results, or with values that make no report.
        ConfigError: `report/` is a link.
        OSError: the report cannot be written.
    """
    folder = output or report_folder(Path(folders[0]))
    with isolated(), theme():
        stored = load(*folders)
        folder.mkdir(parents=True, exist_ok=True)
        content = summarize(stored, folder)
        if printed:
            content = replace(content, printed=folder / printed)
            (folder / printed).mkdir(exist_ok=True)
        written, appendix = (
            list(filter(None, (_write_section(section, content) for section in part))) for part in _sections(stored)
        )
    path = folder / "README.md"
    write_text_atomic(path, paragraphs(*written, *(["# Appendix", *appendix] if appendix else [])) + "\n")
    times = step_times(content.stored.results, content.timings)
    return Report(path, sentence(content), content.stored, pd.DataFrame(results.headline_rows(content)), times)


def _sections(stored: Stored) -> tuple[tuple[Section, ...], tuple[Section, ...]]:
    if is_frontier(stored):
        return FIRST_ON_FRONTIER, APPENDIX_ON_FRONTIER
    return (FIRST_ON_CLAIMS, APPENDIX_ON_CLAIMS) if _tests_claims(stored) else (FIRST, APPENDIX)


def summarize(stored: Stored, folder: Path) -> Content:
    """Return all that sections are made from.

    Args:
        folder: where figures go.

    Raises:
        LoadError: values that cannot be summarized.
    """
    _refuse_too_many(stored)
    try:
        results, trials = (in_order(runs) if len(runs) else runs for runs in (stored.results, stored.trials))
        stored = replace(stored, results=results, trials=trials)
        compared = len(results) and not _tests_claims(stored) and not is_frontier(stored)
        return Content(
            stored,
            summarize_results(results),
            compare_contenders(results) if compared else {},
            compare_sweeps(by_own_names(results), *stored.sweeps) if compared and len(stored.sweeps) == 2 else {},
            _timed_in_order(summarize_timing(stored.timing)),
            judge(stored),
            folder,
        )
    except MemoryError:
        raise
    except Exception as error:
        raise LoadError(f"the stored values cannot be summarized ({one_line(error)})") from error


def _refuse_too_many(stored: Stored) -> None:
    runs, timing = stored.results, stored.timing
    counts = {
        "contenders": runs["contender"].nunique() if len(runs) else 0,
        "problems": runs["problem"].nunique() if len(runs) else 0,
        "contenders on problems": len(runs[["problem", "contender"]].drop_duplicates()) if len(runs) else 0,
        "timed cases": len(timing[["group", "case"]].drop_duplicates()) if len(timing) else 0,
    }
    if is_frontier(stored):  # each length is a problem of its own, and figures have a panel for all of a task's
        del counts["problems"]
    for what, count in counts.items():
        if count > MOST[what]:
            raise LoadError(
                f"{count:,} {what} are more than a report shows ({MOST[what]:,}): narrow the sweep, or read its tables"
            )


def _tests_claims(stored: Stored) -> bool:
    return stored.claims is not None and not stored.claims.publication


def _write_section(section: Callable[[Content], str], content: Content) -> str:
    try:
        return section(content)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # files from elsewhere may hold values that cannot go together in ways without number
        raise LoadError(f"the stored values make no section on {section.__name__} ({one_line(error)})") from error


def _timed_in_order(cases: list[TimedCase]) -> list[TimedCase]:
    """Sort timed cases by sweep, task and point, and by cell as figures do."""
    cells = cells_in_order(case.cell for case in cases)
    return sorted(
        cases,
        key=lambda case: (
            natural(case.sweep), natural(case.task), case.time_steps, case.batch_size, case.point_size,
            cells.index(case.cell),
        ),
    )  # fmt: skip
