"""What the architecture costs, and what its implementation does."""

import math

import pandas as pd

from reports import text
from reports.figures import cost as figures
from reports.figures.panels import SEVERAL
from reports.figures.style import looks
from reports.sections.content import Content, paragraphs, plural, wording
from reports.statistics import Interval, log_log_slope
from reports.summary import REFERENCE_CELL

OVERHEAD = 0.1  # of the machine's rate: where no cell reaches it, something else than arithmetic takes the time
HARDLY = 1.05  # a ratio that needs no cause: point-wise arithmetic, which is not counted, makes up as much
FEW_POINTS = 4  # with more timed points than this, figure, words and full table are of the first only


def cost(content: Content) -> str:
    """Report time, arithmetic, rate and memory per cell; and over length, size and batch where these were timed."""
    if content.timings.empty:
        return ""
    timings = content.timings[content.timings["form"] == "own"]
    points = timings.drop_duplicates(["sweep", *POINT])
    shown = timings if len(points) <= FEW_POINTS else timings[timings["first"]]
    bars = content.show(figures.timing_bars(shown), "step_time", reference=REFERENCE_CELL)
    parts = [
        "## Cost",
        bars,
        _cost_in_words(shown),
        text.table(_rows(shown)),
        _note(content, timings),
        _forms(content.timings),
        _overview(timings) if len(points) > FEW_POINTS else "",
        _over_length(content, timings),
        _over_hidden_size(content),
    ]
    return paragraphs(*parts)


POINT = ["task", "time_steps", "batch_size", "point_size", "device", "threads"]


def _rows(timings: pd.DataFrame) -> list[dict[str, str]]:
    several = {key: timings[key].nunique() > 1 for key in ("sweep", "batch_size", "hidden_size", "device", "threads")}
    return [
        {
            **{key: row[key] for key, shown in several.items() if shown},
            "task": f"{row['task']}, T={row['time_steps']}",
            "cell": row["label"],
            "backend": row["backend"],
            "training step, ms": text.number(row["training_step"]),
            f"/ {REFERENCE_CELL}": text.number(row["ratio"]),
            "MFLOP": text.quantity(row["flops_training_step"] / 1e6),
            "GFLOP/s": text.number(row["gflops"]),
            "of GEMM": text.percent(row["share"]),
            "forward, ms": text.number(row["forward"]),
            "one step, ms": text.number(row["inference_step"]),
            "first call, ms": text.quantity(row["first_call"], 2),
            "memory, MiB": text.quantity(row["peak_memory"], 2),
        }
        for _, row in timings.iterrows()
    ]


def _note(content: Content, timings: pd.DataFrame) -> str:
    where = timings.iloc[0]
    rounds = int(content.stored.timing["round"].max()) + 1
    size = 1024 if pd.isna(where["gemm_size"]) else where["gemm_size"]  # tables that do not say it are of that
    faster = any(share is not None and share.estimate > 1 for share in timings["share"])
    how = wording(
        "how_timed",
        rounds=rounds,
        device=where["device"],
        threads=plural(int(where["threads"]), "thread"),
        size=size,
        gemm=text.number(where["gemm"]),
    )
    return " ".join([how, *([wording("faster_than_gemm")] if faster else []), wording("how_to_read_times")])


def _cost_in_words(timings: pd.DataFrame) -> str:
    """Split each time ratio into the architecture's part and the implementation's, and say which is the larger."""
    lines = []
    for (_, task, steps, *_), rows in timings.groupby(["sweep", *POINT], sort=False, dropna=False):
        shares = [share.estimate for share in rows.loc[rows["cell"] == REFERENCE_CELL, "share"] if share is not None]
        said = [
            split_in_words(row["label"], row["ratio"], row["flop_ratio"], max([row["share"].estimate, *shares]))
            for _, row in rows.iterrows()
            if row["cell"] != REFERENCE_CELL and row["ratio"] is not None and math.isfinite(row["flop_ratio"])
        ]
        if said:
            lines.append(
                f"- **{task}, T={steps}**, time of a training step over {REFERENCE_CELL}'s: {'; '.join(said)}."
            )
    return "\n".join(lines)


def split_in_words(cell: str, ratio: Interval, flop_ratio: float, share: float) -> str:
    """Say what a time ratio is made of: the ratio of arithmetic, of matrix products, which is the architecture's, over
    the ratio of the rates at which it is done, which is the kernels' and that of all other work. The larger of the
    two, as a factor, is named as the cause, unless the ratio is hardly different from one or cannot be told from it,
    or neither of the two cells is busy with arithmetic: the larger share that they reach of the machine's rate says
    whether they are."""
    rate = flop_ratio / ratio.estimate
    said = f"{text.escape(cell)} {ratio.estimate:.2f}× = {flop_ratio:.2f}× the arithmetic at {rate:.2f}× the rate"
    if ratio.low <= 1 <= ratio.high:
        return f"{said} (not distinguishable from 1)"
    if abs(math.log(ratio.estimate)) < math.log(HARDLY):
        return f"{said} (hardly different)"
    if share < OVERHEAD:
        return f"{said} (both below {OVERHEAD:.0%} of the GEMM rate: not a matter of arithmetic)"
    slower = ratio.estimate > 1
    by_arithmetic = math.log(flop_ratio) if slower else -math.log(flop_ratio)
    by_rate = -math.log(rate) if slower else math.log(rate)
    cause = "the arithmetic" if by_arithmetic >= by_rate else "the rate, not the arithmetic"
    return f"{said} ({'slower' if slower else 'faster'} because of {cause})"


def _forms(timings: pd.DataFrame) -> str:
    """Tabulate all implementations of each cell at the point timed first."""
    here = timings[timings["first"]]
    if (here["form"] == "own").all():
        return ""
    rows = [
        {
            "cell": row["label"],
            "backend": f"{row['backend']}{' (in use)' if row['form'] == 'own' else ''}",
            "training step, ms": text.number(row["training_step"]),
            "of GEMM": text.percent(row["share"]),
            "forward, ms": text.number(row["forward"]),
            "one step, ms": text.number(row["inference_step"]),
            "memory, MiB": text.quantity(row["peak_memory"], 2),
        }
        for _, row in here.sort_values("cell", key=lambda cells: cells.map(list(looks(cells)).index)).iterrows()
    ]
    where = here.iloc[0]
    point = f"T={where['time_steps']}, B={where['batch_size']}, H={where['point_size']}"
    return f"### Implementations\n\nEvery implementation of each cell, side by side at {point}:\n\n{text.table(rows)}"


def _overview(timings: pd.DataFrame) -> str:
    """Tabulate for each timed point how many times as fast each cell is as its best form in torch, or its time."""
    compared = timings["over_torch"].notna().any()
    rows = []
    shown = timings[timings["over_torch"].notna()] if compared else timings
    for values, here in shown.groupby(POINT[1:4], sort=True):
        point = dict(zip(("T", "B", "H"), map(str, values), strict=True))
        cells = {
            row["label"]: text.number(row["over_torch"] if compared else row["training_step"])
            for _, row in here.iterrows()
        }
        rows.append(point | {label: cells.get(label, text.NONE) for label in dict.fromkeys(shown["label"])})
    said = wording("over_torch") if compared else "Training step, ms:"
    published = [
        f"{row['label']} at T={row['time_steps']} B={row['batch_size']} H={row['hidden_size']}: "
        f"{text.number(row['over_torchrecurrent'])}×"
        for _, row in timings.iterrows()
        if row["over_torchrecurrent"] is not None and row["first"]
    ]
    more = f"And as torchrecurrent's form of it: {text.escape('; '.join(published))}." if published else ""
    return paragraphs("### All points", said, text.table(rows), more)


def _over_length(content: Content, timings: pd.DataFrame) -> str:
    figure = figures.scaling(timings)
    if figure is None:
        return ""
    slopes = []
    for label in dict.fromkeys(timings["label"]):
        rows = timings[timings["label"] == label]
        for (task, batch, hidden), part in rows.groupby(["task", "batch_size", "point_size"]):
            if part["time_steps"].nunique() < SEVERAL:
                continue
            lengths = part["time_steps"].tolist()
            slope = {
                "time ∝ T^b, b": log_log_slope(lengths, [time.estimate for time in part["training_step"]]),
                "memory ∝ T^b, b": log_log_slope(lengths, part["peak_memory"].tolist()),
            }
            where = {"task": task, "B": batch, "H": hidden, "cell": label}
            slopes.append(where | {name: text.number(value) for name, value in slope.items()})
    section = content.show(figure, "scaling", "### Cost over length")
    return paragraphs(section, text.table(slopes)) if slopes else section


def _over_hidden_size(content: Content) -> str:
    figure = figures.share_of_peak(content.timings)
    if figure is None:
        return ""
    return content.show(figure, "share_of_peak", "### Share of the machine's rate over hidden size")
