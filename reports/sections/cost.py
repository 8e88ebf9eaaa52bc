"""What the architecture costs, and what its implementation does."""

import math

from reports import text
from reports.figures import cost as figures
from reports.rows import grouped
from reports.sections.content import Content, paragraphs, plural, wording
from reports.statistics import Interval, log_log_slope
from reports.summary import REFERENCE_CELL
from reports.timings import TimedCase

OVERHEAD = 0.1  # of the machine's rate: where no cell reaches it, something else than arithmetic takes the time
HARDLY = 1.05  # a ratio that needs no cause: point-wise arithmetic, which is not counted, makes up as much
FEW_POINTS = 4  # with more timed points than this, figure, words and full table are of the first only


def times(content: Content) -> str:
    """Show time, arithmetic and rate per cell; and over length and size where these were timed."""
    if not content.timings:
        return ""
    in_use = _in_use(content)
    shown = _first_if_many(in_use)
    reference = REFERENCE_CELL if any(case.ratio is not None for case in shown) else ""
    return paragraphs(
        "## Cost",
        content.show(figures.timing_bars(shown), "step_time", reference=reference),
        _over_length(content, in_use),
        _over_hidden_size(content),
    )


def tables(content: Content) -> str:
    """Tabulate time, arithmetic, rate and memory per cell, at each point and of each implementation."""
    if not content.timings:
        return ""
    in_use = _in_use(content)
    shown = _first_if_many(in_use)
    return paragraphs(
        "## All times",
        _cost_in_words(shown),
        text.table(_rows(shown)),
        _note(content, in_use),
        _forms([case for case in content.timings if case.first]),
        _overview(in_use) if len(shown) < len(in_use) else "",
    )


def _in_use(content: Content) -> list[TimedCase]:
    return [case for case in content.timings if case.form == "own"]


def _first_if_many(in_use: list[TimedCase]) -> list[TimedCase]:
    many = len({_point(case) for case in in_use}) > FEW_POINTS
    return [case for case in in_use if case.first] if many else in_use


def _point(case: TimedCase) -> tuple[str, str, int, int, int, str, int]:
    return case.sweep, case.task, case.time_steps, case.batch_size, case.point_size, case.device, case.threads


def _rows(cases: list[TimedCase]) -> list[dict[str, str]]:
    names = ("sweep", "batch_size", "hidden_size", "device", "threads")
    several = [name for name in names if len({getattr(case, name) for case in cases}) > 1]
    return [
        {
            **{name: getattr(case, name) for name in several},
            "task": f"{case.task}, T={case.time_steps}",
            "cell": called,
            "backend": case.backend,
            "training step, ms": text.number(case.training_step),
            f"/ {REFERENCE_CELL}": text.number(case.ratio),
            "MFLOP": text.quantity(case.flops_training_step / 1e6),
            "GFLOP/s": text.number(case.gflops),
            "of GEMM": text.percent(case.share),
            "forward, ms": text.number(case.forward),
            "one step, ms": text.number(case.inference_step),
            "first call, ms": text.quantity(case.first_call, 2),
            "memory, MiB": text.quantity(case.peak_memory, 2),
        }
        for here in grouped(cases, _point).values()
        for case, called in zip(here, figures.names_of(here), strict=True)
    ]


def _note(content: Content, cases: list[TimedCase]) -> str:
    where = cases[0]
    how = wording(
        "how_timed",
        rounds=int(content.stored.timing["round"].max()) + 1,
        device=where.device,
        threads=plural(where.threads, "thread"),
        size=where.gemm_size or 1024,  # tables that do not say it are of that
        gemm=text.number(where.gemm),
    )
    faster = any(case.share is not None and case.share.estimate > 1 for case in cases)
    reasons = {case.label: case.no_steps for case in cases if case.no_steps}
    said = "; ".join(f"{text.escape(label)} ({text.escape(why)})" for label, why in reasons.items())
    without = [f"No time of one step: {said}."] if said else []
    return " ".join([how, *([wording("faster_than_gemm")] if faster else []), *without, wording("how_to_read_times")])


def _cost_in_words(cases: list[TimedCase]) -> str:
    """Split each time ratio into the architecture's part and the implementation's, and say which is the larger."""
    lines = []
    for here in grouped(cases, _point).values():
        shares = [case.share.estimate for case in here if case.cell == REFERENCE_CELL and case.share is not None]
        said = [
            split_in_words(called, case.ratio, case.flop_ratio, max([case.share.estimate, *shares]))
            for case, called in zip(here, figures.names_of(here), strict=True)
            if case.cell != REFERENCE_CELL and case.ratio and case.share and math.isfinite(case.flop_ratio)
        ]
        if said:
            where = f"**{here[0].task}, T={here[0].time_steps}**"
            lines.append(f"- {where}, time of a training step over {REFERENCE_CELL}'s: {'; '.join(said)}.")
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


def _forms(cases: list[TimedCase]) -> str:
    """Tabulate all implementations of each cell at the point timed first."""
    if all(case.form == "own" for case in cases):
        return ""
    rows = [
        {
            "cell": case.label,
            "backend": f"{case.backend}{' (in use)' if case.form == 'own' else ''}",
            "training step, ms": text.number(case.training_step),
            "of GEMM": text.percent(case.share),
            "forward, ms": text.number(case.forward),
            "one step, ms": text.number(case.inference_step),
            "memory, MiB": text.quantity(case.peak_memory, 2),
        }
        for case in cases
    ]
    point = f"T={cases[0].time_steps}, B={cases[0].batch_size}, H={cases[0].point_size}"
    return f"### Implementations\n\nEvery implementation of each cell, side by side at {point}:\n\n{text.table(rows)}"


def _overview(cases: list[TimedCase]) -> str:
    """Tabulate for each timed point how many times as fast each cell is as its best form in torch, or its time."""
    compared = [case for case in cases if case.over_torch is not None]
    shown = compared or cases
    labels = dict.fromkeys((case.label for case in shown), text.NONE)
    rows = []
    for point, here in sorted(grouped(shown, lambda case: (case.time_steps, case.batch_size, case.point_size)).items()):
        values = {case.label: text.number(case.over_torch if compared else case.training_step) for case in here}
        rows.append(dict(zip(("T", "B", "H"), map(str, point), strict=True)) | labels | values)
    published = "; ".join(
        f"{case.label} at T={case.time_steps} B={case.batch_size} H={case.hidden_size}: "
        f"{text.number(case.over_torchrecurrent)}×"
        for case in cases
        if case.first and case.over_torchrecurrent is not None
    )
    return paragraphs(
        "### All points",
        wording("over_torch") if compared else "Training step, ms:",
        text.table(rows),
        f"And as torchrecurrent's form of it: {text.escape(published)}." if published else "",
    )


def _over_length(content: Content, cases: list[TimedCase]) -> str:
    figure = figures.scaling(cases)
    if figure is None:
        return ""
    slopes = []
    for label, own in grouped(cases, lambda case: case.label).items():
        for (task, batch, hidden), here in figures.over_length(own).items():
            lengths = [case.time_steps for case in here]
            time = log_log_slope(lengths, [case.training_step.estimate for case in here])
            memory = log_log_slope(lengths, [case.peak_memory for case in here])
            slopes.append(
                {
                    "task": task,
                    "B": str(batch),
                    "H": str(hidden),
                    "cell": label,
                    "time ∝ T^b, b": text.number(time),
                    "memory ∝ T^b, b": text.number(memory),
                }
            )
    section = content.show(figure, "scaling", "### Cost over length")
    return paragraphs(section, text.table(slopes)) if slopes else section


def _over_hidden_size(content: Content) -> str:
    figure = figures.share_of_peak(content.timings)
    if figure is None:
        return ""
    return content.show(figure, "share_of_peak", "### Share of the machine's rate over hidden size")
