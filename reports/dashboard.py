"""W&B dashboards of a sweep: a workspace and a report, made from what is stored here, created there or updated.

What a panel shows comes from the runs that W&B has, by the names of `bench.record.tracked`; which panels there are, and
what they are grouped by, from the stored sweep. Intervals and tests are the markdown report's: W&B's bands are no such
thing, and its panels say what they are."""

import contextlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

from bench.record.errors import ConfigError, one_line, printable
from bench.record.files import Damaged, parse_json, read_bytes, write_text_atomic
from bench.record.store import JSON_BYTES, RunFolder
from bench.record.tracked import CURVES, MOMENTS, PROJECT, step_time_name
from reports import text
from reports.load import LoadError
from reports.sections.answer import first_screen
from reports.sections.content import Content
from reports.sections.results import headline_rows
from reports.timings import step_times

SAVED = "dashboard.json"  # where what was made is, so that the next time changes it
WIDTH = 24  # of W&B's grid of panels
MOST_LINES = 40  # of a panel
# W&B keeps each of the configuration's first keys in a "value" of its own, which filters and columns have to name.
TABLE = ["config:cell.value.name", "config:task.value.name", "config:seed.value", "summary:status",
         "summary:steps_to_solve", "summary:final_loss", "summary:parameters", "summary:step_ms"]  # fmt: skip
OF_SETTINGS = ("cell.", "task.", "training.")


@dataclass(frozen=True)
class Dashboard:
    """A workspace, to look around in, and a report, to be read and sent to others."""

    workspace: ws.Workspace
    report: wr.Report


def tracked_as(folder: Path) -> tuple[str, str]:
    """Return the entity (empty: whose the key is) and the project that a sweep's newest run was tracked under."""
    newest = sorted(folder.glob("runs/*/result.json"), key=lambda path: path.lstat().st_mtime, reverse=True)
    for path in newest:
        with contextlib.suppress(Damaged):
            run = RunFolder(folder, path.parent.name).read()
            tracking = run.config.get("tracking") if run else None
            if isinstance(tracking, dict) and isinstance(tracking.get("project"), str):
                return str(tracking.get("entity") or ""), tracking["project"]
    return "", PROJECT  # tables only, or older runs


def build(content: Content, entity: str, project: str) -> Dashboard:
    """Make the dashboard of one stored sweep, without a network.

    Args:
        content: of `reports.report.summarize`.
        entity: whose it is; empty for whose the key is, which cannot be shown without a network.
        project: where the sweep's runs are.

    Raises:
        LoadError: several sweeps, no runs, or values that make no dashboard.
    """
    results = content.stored.results
    if results.empty:
        raise LoadError("a dashboard shows runs, and this sweep has times only")
    if len(content.stored.sweeps) > 1:
        raise LoadError("a dashboard shows one sweep; W&B compares several by its own filters")
    (sweep,) = content.stored.sweeps
    try:
        return Dashboard(_workspace(content, sweep, entity, project), _report(content, sweep, entity, project))
    except Exception as error:  # as in a report's sections
        raise LoadError(f"the stored values make no dashboard ({one_line(error)})") from error


def _workspace(content: Content, sweep: str, entity: str, project: str) -> ws.Workspace:
    results = content.stored.results
    problems = _varying(results) if results["problem"].nunique() > 1 else []
    keys = list(dict.fromkeys([*(["task.name"] if results["task"].nunique() > 1 else []), *problems, *_ways(results)]))
    headline = wr.WeavePanelSummaryTable(table_name="headline")
    panels = {
        "Learning curves": _learning(results),
        "Time to solve": _solving(),
        "Times": _times(content),
        "Inside": _inside(content.stored.readings),
        "Settings": [_settings(results)],
        "Report": [wr.MediaBrowser(title="Figures", media_keys=_figures(content), num_columns=2), headline],
    }
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"{sweep}: recurrent-bench",
        sections=[
            ws.Section(name=name, panels=_laid_out(shown), is_open=True) for name, shown in panels.items() if shown
        ],
        settings=ws.WorkspaceSettings(max_runs=MOST_LINES),
        runset_settings=ws.RunsetSettings(
            filters=expr.And(expr.Metric("Group") == sweep, expr.Metric("JobType") != "selection"),
            groupby=[ws.Config(key) for key in keys],
            order=[ws.Ordering(ws.Summary("final_loss"), ascending=True)],
            pinned_columns=TABLE,
        ),
        auto_generate_panels=False,
    )


def _report(content: Content, sweep: str, entity: str, project: str) -> wr.Report:
    results = content.stored.results

    def grid(name: str, job: str, panels: list[Any], where: dict[str, Any], by: Sequence[str] = ()) -> wr.PanelGrid:
        filters = [expr.Metric("Group") == sweep, expr.Metric("JobType") == job]
        filters += [expr.Config(key.replace(".", ".value.", 1)) == value for key, value in where.items()]
        runs = wr.Runset(
            entity=entity, project=project, name=name, filters=expr.And(*filters),
            groupby=[f"config.{key}" for key in by], pinned_columns=TABLE,
        )  # fmt: skip
        return wr.PanelGrid(runsets=[runs], panels=_laid_out(panels))

    blocks: list[Any] = [wr.MarkdownBlock(text=first_screen(content))]
    if rows := headline_rows(content):
        blocks.append(wr.MarkdownBlock(text=text.table(rows)))
    ways = _ways(results)
    for problem, runs in results.groupby("problem", sort=False):
        panels = [*_learning(runs), *_solving()]
        blocks += [wr.H2(text=str(problem)), grid(str(problem), "run", panels, _where(results, runs), ways)]
    if inside := _inside(content.stored.readings):
        blocks += [wr.H2(text="Inside"), grid("runs", "run", inside, {}, ways)]
    if times := _times(content):
        blocks += [wr.H2(text="Times"), grid("sweep", "sweep", times, {})]
    blocks += [wr.H2(text="Settings"), grid("runs", "run", [_settings(results)], {})]
    media = wr.MediaBrowser(media_keys=_figures(content), num_columns=2)
    blocks += [wr.H2(text="Figures"), grid("sweep", "sweep", [media], {})]
    if content.stored.commands:
        blocks += [wr.H2(text="Again"), wr.MarkdownBlock(text=text.code(content.stored.commands))]
    return wr.Report(
        project=project,
        entity=entity,
        title=f"{sweep}: recurrent cells compared",
        description=f"{len(results):,} runs; tests and intervals are the markdown report's",
        blocks=blocks,
        width="fluid",
    )


def _laid_out(panels: list[Any]) -> list[Any]:
    """Set panels side by side, three in a row, or as many as there are."""
    across = min(3, len(panels)) or 1
    width, height = WIDTH // across, 10
    for i, panel in enumerate(panels):
        panel.layout = wr.Layout(x=i % across * width, y=i // across * height, w=width, h=height)
    return panels


def _learning(results: pd.DataFrame) -> list[Any]:
    scores = [name for name in results if name.startswith("final_score.") and results[name].notna().any()]
    shown = [("Loss on held-out sequences", "loss", True), ("Loss in training", "train/loss", True)]
    shown += [(name.partition(".")[2].capitalize(), name.replace("final_score.", "score/"), False) for name in scores]
    shown.append(("Norm of the gradient", "train/grad_norm", True))
    return [
        _lines(f"{title}: mean and standard error over seeds", "step", "step", metric, log, "stderr")
        for title, metric, log in shown
    ]


def _lines(title: str, x: str, title_x: str, y: str, log: bool, over_seeds: Literal["stderr", "minmax"]) -> Any:
    return wr.LinePlot(
        title=title, x=x, title_x=title_x, y=[y], log_y=log, aggregate=True, groupby_aggfunc="mean",
        groupby_rangefunc=over_seeds, max_runs_to_show=MOST_LINES,
    )  # fmt: skip


def _bars(title: str, metrics: Sequence[str], over_seeds: Literal["mean", "median"] | None) -> Any:
    return wr.BarPlot(
        title=title, metrics=[wr.SummaryMetric(name) for name in metrics], max_bars_to_show=MOST_LINES,
        groupby_aggfunc=over_seeds, groupby_rangefunc="minmax" if over_seeds else None,
        aggregate=True if over_seeds else None,
    )  # fmt: skip


def _solving() -> list[Any]:
    return [
        _bars("Share of runs solved", ["solved"], "mean"),
        _bars("Steps to solve: median and range of the runs that solved it", ["steps_to_solve"], "median"),
    ]


def _times(content: Content) -> list[Any]:
    problems: dict[str, list[str]] = {}
    for problem, contender in step_times(content.stored.results, content.timings):
        problems.setdefault(problem, []).append(step_time_name(problem, contender))
    return [_bars(f"{problem}: a training step, ms, side by side", names, None) for problem, names in problems.items()]


def _inside(readings: pd.DataFrame) -> list[Any]:
    if readings.empty:
        return []
    panels: list[Any] = []
    for kind, title in (("gradient_flow", "Gradient over distance"), ("memory", "Share remembered over distance")):
        of_kind = readings[(readings["kind"] == kind) & readings["moment"].isin(list(MOMENTS))]
        kinds = of_kind[["part", "moment"]].drop_duplicates().itertuples(index=False)
        pairs = sorted((str(part), MOMENTS[moment]) for part, moment in kinds)
        panels += [
            _lines(
                f"{title}, {part}, {moment} training", CURVES[kind], "steps back", f"{kind}/{part}_{moment}",
                kind == "gradient_flow", "minmax",
            )
            for part, moment in pairs
        ]  # fmt: skip
    return panels


def _settings(results: pd.DataFrame) -> Any:
    names = ["cell.name", "task.name", *[name for name in _settings_of(results) if results[name].nunique() > 1]]
    outcomes = [("steps_to_solve", False), ("final_loss", True)]
    return wr.ParallelCoordinatesPlot(
        title="Settings and outcome",
        columns=[
            *(wr.ParallelCoordinatesPlotColumn(metric=wr.Config(name)) for name in names),
            *(wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(name), log=log) for name, log in outcomes),
        ],
    )


def _figures(content: Content) -> list[str]:
    """Return W&B's names of the figures that the sweep's report has."""
    return [f"figures/{path.stem}" for path in sorted(content.folder.glob("*.png"))]


def _settings_of(results: pd.DataFrame) -> list[str]:
    return [name for name in results if name.startswith(OF_SETTINGS) and "._" not in name]


def _varying(results: pd.DataFrame) -> list[str]:
    """Return the settings that vary within a problem's task and are the same within each problem."""
    return [
        name
        for name in _settings_of(results)
        if results.groupby("problem")[name].nunique(dropna=False).max() == 1
        and results.groupby("task")[name].nunique(dropna=False).max() > 1
    ]


def _ways(results: pd.DataFrame) -> list[str]:
    """Return what tells contenders apart: the cell, and what varies among runs of one on a problem."""
    groups = results.groupby(["problem", "cell"])
    return ["cell.name", *[name for name in _settings_of(results) if groups[name].nunique(dropna=False).max() > 1]]


def _where(results: pd.DataFrame, runs: pd.DataFrame) -> dict[str, Any]:
    """Return the settings that tell a problem's runs from the others."""
    first = runs.iloc[0]
    varying = {name: first[name] for name in _varying(results) if not pd.isna(first[name])}
    return {"task.name": str(first["task"])} | {
        name: value.item() if hasattr(value, "item") else value for name, value in varying.items()
    }


def describe(dashboard: Dashboard) -> str:
    """Return what would be created, for the terminal."""
    workspace, report = dashboard.workspace, dashboard.report
    settings = workspace.runset_settings
    lines = [
        f"project    {workspace.entity or '(whose the key is)'}/{workspace.project}",
        f"workspace  {workspace.name}",
        f"  filter   {settings.filters}",
        f"  grouped  {', '.join(key.name for key in settings.groupby)}",
        f"  columns  {', '.join(settings.pinned_columns)}",
    ]
    for section in workspace.sections:
        lines += [f"  {section.name}", *(f"    {_panel(panel)}" for panel in section.panels)]
    lines.append(f"report     {report.title}")
    for block in report.blocks:
        if isinstance(block, wr.H2):
            lines.append(f"  {block.text}")
        elif isinstance(block, wr.PanelGrid):
            lines.append(f"    runs: {block.runsets[0].filters}")
            lines += [f"    {_panel(panel)}" for panel in block.panels]
    return "\n".join(map(printable, lines))


def _panel(panel: Any) -> str:
    kind = type(panel).__name__
    if isinstance(panel, wr.LinePlot):
        return f"{kind}: {panel.title} ({', '.join(map(_metric, panel.y))} over {_metric(panel.x)})"
    if isinstance(panel, wr.BarPlot):
        return f"{kind}: {panel.title} ({', '.join(map(_metric, panel.metrics))})"
    if isinstance(panel, wr.ParallelCoordinatesPlot):
        return f"{kind}: {', '.join(_metric(column.metric) for column in panel.columns)}"
    if isinstance(panel, wr.MediaBrowser):
        return f"{kind}: {', '.join(panel.media_keys)}"
    return f"{kind}: {panel.table_name}"


def _metric(metric: Any) -> str:
    return str(getattr(metric, "name", metric))


def save(content: Content, folder: Path, entity: str, project: str) -> list[str]:
    """Create a sweep's dashboard in W&B, or change the one made before, and remember in the sweep's folder where it is.

    Returns:
        The addresses of the workspace and the report.

    Raises:
        ConfigError: there is no key, or W&B cannot be reached or does not take it.
        LoadError: nothing to show.
    """
    import wandb

    _reach(wandb.setup().settings.base_url)
    try:
        api = wandb.Api(timeout=20)
        entity = entity or str(api.default_entity)
    except wandb.errors.UsageError as error:
        raise ConfigError(
            "no W&B key: `wandb login` stores one, or WANDB_API_KEY gives it; --dry-run shows what would be created"
        ) from error
    except Exception as error:
        raise ConfigError(f"W&B cannot be reached ({one_line(error)})") from error
    dashboard = build(content, entity, project)
    before = _saved(folder)
    addresses = dict(before)
    try:
        workspace, report = dashboard.workspace, dashboard.report
        if "workspace" in before:
            known = ws.Workspace.from_url(before["workspace"])
            known.name, known.sections = workspace.name, workspace.sections
            known.settings, known.runset_settings = workspace.settings, workspace.runset_settings
            workspace = known
        addresses["workspace"] = workspace.save().url
        if "report" in before:
            earlier = wr.Report.from_url(before["report"])
            earlier.title, earlier.description, earlier.blocks = report.title, report.description, report.blocks
            report = earlier
        addresses["report"] = report.save().url
    except Exception as error:
        hint = "; are the sweep's runs there (`wandb sync`)?" if isinstance(error, ValueError) else ""
        raise ConfigError(f"W&B rejects the dashboard ({one_line(error)}){hint}") from error
    finally:  # what was created is not created again
        if addresses != before:
            write_text_atomic(folder / SAVED, json.dumps(addresses, indent=2) + "\n")
    return list(addresses.values())


def _reach(server: str) -> None:
    """Ask whether a server answers, with anything.

    W&B's own process tries again by itself and can keep a command from ending for minutes, so it isn't started in vain.

    Raises:
        ConfigError: it does not answer.
    """
    try:
        urllib.request.urlopen(server, timeout=20).close()
    except urllib.error.HTTPError as answer:
        answer.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ConfigError(f"W&B cannot be reached at {server} ({one_line(error)})") from error


def _saved(folder: Path) -> dict[str, str]:
    """Return where the dashboard is that was made before, if one was."""
    try:
        addresses = parse_json(read_bytes(folder / SAVED, JSON_BYTES), folder / SAVED)
    except (FileNotFoundError, Damaged):
        return {}
    return {name: address for name, address in addresses.items() if isinstance(address, str)}
