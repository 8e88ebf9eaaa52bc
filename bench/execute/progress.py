"""What a person sees while a sweep runs: on a terminal or in a notebook a bar and what each running run is at, plain
lines elsewhere.

Progress is read from the store, so it is the same whichever launcher runs the jobs, and wherever."""

import math
import re
import sys
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from io import StringIO
from statistics import fmean
from time import monotonic
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, track
from rich.table import Table
from rich.text import Text

from bench.cost.timing import case_key
from bench.execute.plan import Plan
from bench.record.errors import printable
from bench.record.fairness import NO_LIMIT
from bench.record.files import Damaged
from bench.record.records import FAILED, Evaluation, Result
from bench.record.store import RunFolder
from bench.train.trainer import budgeted_steps

POLL_SECONDS = 0.5
LINE_SECONDS = 15  # between plain lines of one bar, where there is no terminal
MOST_ROWS = 16  # running runs that are shown one by one
RECENT_LINES = 5  # of runs that ended, under a notebook's bar
RUN_ENDED = re.compile(r"\[(\d+)/(\d+)\] (.*?)  (.*)")  # as `SweepProgress` says it
NOTEBOOK_COLUMNS = 110
# A notebook tells the processes that it starts to use colours, which rich takes for a terminal.
console = Console(
    stderr=True, highlight=False, markup=False, soft_wrap=True, force_terminal=None if sys.stderr.isatty() else False
)


def tell(message: str) -> None:
    """Say something above whatever bar there is."""
    console.print(printable(message))


def planning(jobs: list[list[str]]) -> Iterable[list[str]]:
    """Iterate over jobs while they are composed, with a bar that leaves no trace."""
    return track(jobs, "Planning", console=console, transient=True, disable=not console.is_terminal)


def shows_bars() -> bool:
    """Tell whether what is said can be replaced later: on a terminal, and in a notebook."""
    return console.is_terminal or console.is_jupyter


class NotebookOutput:
    """An output of a notebook's cell that is replaced as things go on. rich's own needs ipywidgets."""

    def __init__(self) -> None:
        self._handle: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def update(self, shown: RenderableType) -> None:
        """Show something in place of what was shown before."""
        from IPython.display import HTML, display

        page = Console(record=True, file=StringIO(), width=NOTEBOOK_COLUMNS, force_jupyter=False)
        page.print(shown)
        html = HTML(page.export_html(inline_styles=True, code_format="<pre>{code}</pre>"))
        if self._handle is None:
            self._handle = display(html, display_id=True)
        else:
            self._handle.update(html)


class SweepProgress:
    """Watches a plan's unfinished runs until stopped."""

    def __init__(self, plan: Plan) -> None:
        self._folders = {key: RunFolder(plan.sweep, key) for key in plan.pending}
        self._runs = plan.sweep / "runs"
        self._budgets = {key: config.run.training for key, config in plan.pending.items()}
        self._total = len(plan.configs)
        self._before = self._total - len(plan.pending)
        self._lacking = plan.lacking & plan.pending.keys()
        self._probes_before = {key: self._folders[key].probes_written() for key in self._lacking}
        self._kinds = {
            key: f"{case_key(config)} {budgeted_steps(config.run.training)}"
            for key, config in plan.pending.items()
            if key not in plan.lacking
        }
        self._finished: dict[str, Result] = {}
        self._to_do = Counter(self._kinds.values())
        self._took: dict[str, list[float]] = defaultdict(list)  # seconds of finished runs, by kind
        self._spent = 0.0  # seconds of these, by this command and those beside it
        self._earlier: dict[str, float] = {}  # seconds that runs to be resumed were at already
        self._start = monotonic()
        self._earlier = {key: record.seconds for key, record in self._look().items()}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Show the last state and end."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        bar = _progress()
        task = bar.add_task("Training", total=self._total, note="")
        live: Live | NotebookOutput | None = NotebookOutput() if console.is_jupyter else None
        if console.is_terminal:
            live = Live(bar, console=console, refresh_per_second=4)
        with live or nullcontext():
            while True:
                last = self._stop.wait(POLL_SECONDS)
                running = self._look()
                bar.update(task, completed=self._before + len(self._finished), note="" if last else self._left(running))
                if live:
                    live.update(Group(bar, self._counts(), *([] if last else [self._table(running)])))
                if last:
                    return

    def _counts(self) -> Text:
        """Say how the runs of this command ended so far."""
        ended = Counter(result.status for result in self._finished.values())
        failed = sum(ended[status] for status in FAILED)
        scored = sum(result.test_loss is not None for result in self._finished.values())  # nothing to solve
        said = [f"{scored:,} scored"] if scored else [f"{ended['solved']:,} solved", f"{ended['unsolved']:,} unsolved"]
        said += [f"{ended['diverged']:,} diverged"] if ended["diverged"] else []
        said += [f"{failed:,} failed"] if failed else []
        said += [f"{self._before:,} finished before"] if self._before else []
        return Text("  " + ", ".join(said), style="red" if failed else "dim")

    def _table(self, running: dict[str, Evaluation]) -> Table:
        """Show what each running run is at: its step, what it is worth by now, and how long it has yet, at most."""
        table = Table(box=None, padding=(0, 2), header_style="dim")
        table.add_column("running", no_wrap=True)
        for title in ("step", "of", "loss", "score", "left at most"):
            table.add_column(title, justify="right", no_wrap=True)
        for key, record in list(running.items())[:MOST_ROWS]:
            step, most, share = record.step, budgeted_steps(self._budgets[key]), self._share(key, record)
            scores = [f"{name} {value:.3g}" for name, value in record.score.items() if value is not None]
            left = duration(record.seconds * (1 - share) / share) if share else ""
            table.add_row(
                printable(key.rpartition("-")[0]),
                f"{step:,}",
                f"{most:,}" if most < NO_LIMIT else "",
                f"{math.nan if record.loss is None else record.loss:.3g}",
                ", ".join(scores),
                left,
            )
        if len(running) > MOST_ROWS:
            table.add_row(f"… and {len(running) - MOST_ROWS} more")
        return table

    def _look(self) -> dict[str, Evaluation]:
        """Take in newly finished runs; return the newest evaluation of each running one."""
        running, news = {}, []
        begun = self._runs.iterdir() if self._runs.is_dir() else ()
        for key in [path.name for path in begun if path.name in self._folders and path.name not in self._finished]:
            folder = self._folders[key]
            try:
                result = self._probed(key) if key in self._lacking else folder.read_result()
            except Damaged:  # its run will see to it
                continue
            if result is not None:
                self._finished[key] = result
                if key not in self._lacking:
                    self._count(key, result)
                news.append(result)
            elif key not in self._lacking and (record := folder.read_progress()):
                running[key] = record
        left = self._left(running) if news and not shows_bars() else ""
        for number, result in enumerate(news, start=self._before + len(self._finished) - len(news) + 1):
            if not shows_bars():
                said = f"{printable(result.run_id)}: probed" if result.run_id in self._lacking else describe(result)
                console.print(f"[{number}/{self._total}] {said}  {left}")
            elif result.status in FAILED:
                console.print(describe(result))
        return running

    def _share(self, key: str, record: Evaluation) -> float:
        """Return the share of its budget, of steps or of seconds, that a run has spent; 0 before its first step."""
        training = self._budgets[key]
        by_time = record.seconds / training.max_seconds if training.max_seconds else 0.0
        return min(1.0, max(record.step / budgeted_steps(training), by_time)) if record.step else 0.0

    def _probed(self, key: str) -> Result | None:
        """Return the result of a run that was finished before, once its probes are written."""
        written = self._folders[key].probes_written()
        return self._folders[key].read_result() if written != self._probes_before[key] else None

    def _count(self, key: str, result: Result) -> None:
        """Take in what a run took."""
        seconds = result.seconds or 0.0
        self._to_do[self._kinds[key]] -= 1
        self._took[self._kinds[key]].append(seconds)
        self._spent += self._since_start(key, seconds)

    def _since_start(self, key: str, seconds: float) -> float:
        return seconds - min(seconds, self._earlier.get(key, 0.0))

    def _left(self, running: dict[str, Evaluation]) -> str:
        """Say how long the rest takes, with as many runs side by side as until now."""
        spent = self._spent + sum(self._since_start(key, record.seconds) for key, record in running.items())
        under_way = [(self._kinds[key], record.seconds, self._share(key, record)) for key, record in running.items()]
        left, unknown = run_seconds_left(self._to_do, self._took, under_way)
        if spent <= 0 or (left == 0 and unknown):
            return ""
        seconds = left * (monotonic() - self._start) / spent
        to_do = self._to_do.total()
        which = f" for {to_do - unknown:,} of {to_do:,} runs" if unknown else ""
        return f"about {duration(seconds)} left{which}" if seconds >= 1 or unknown else ""


def run_seconds_left(
    to_do: Mapping[str, int], took: Mapping[str, list[float]], running: list[tuple[str, float, float]]
) -> tuple[float, int]:
    """Estimate how long the runs take that are not finished, each as long as those of its kind that are, or else as
    those under way will at most.

    Args:
        to_do: how many runs of each kind are not finished, those under way among them. Runs of a kind take as long.
        took: seconds of the finished runs of each kind.
        running: of each run under way its kind, its seconds so far and the share of its budget that is spent.

    Returns:
        Their seconds, one after another; and how many runs are of kinds of which none has got anywhere, not counted.
    """
    begun = defaultdict(list)
    for kind, seconds, share in running:
        if share > 0:
            begun[kind].append(seconds / share)
    known = {kind: fmean(found) for kind, found in (begun | dict(took)).items()}
    left = sum(known.get(kind, 0.0) * count for kind, count in to_do.items())
    left -= sum(min(seconds, known[kind]) for kind, seconds, _ in running if kind in known)
    return left, sum(count for kind, count in to_do.items() if kind not in known)


def describe(result: Result) -> str:
    """Return a finished run as one line."""
    name, status = printable(result.run_id), result.status
    if status == "solved":
        return f"{name}: solved after {result.steps_to_solve:,} steps, {result.seconds:.1f} s"
    if result.test_loss is not None:
        return f"{name}: test loss {result.test_loss:.3g} after {result.steps:,} steps, {result.seconds:.1f} s"
    if status == "unsolved":
        return f"{name}: unsolved after {result.steps:,} steps, {result.seconds:.1f} s"
    return f"{name}: {status}: {printable(str(result.error))}"


class Lines:
    """Shows the lines of a command whose output is read: each as it comes, but in a notebook one bar in place of those
    that say which run ended."""

    def __init__(self) -> None:
        self._bar = _progress(disable=True)
        self._task = self._bar.add_task("Training", note="")
        self._output = NotebookOutput()
        self._recent: deque[str] = deque(maxlen=RECENT_LINES)

    def show(self, line: str) -> None:
        """Take the next line."""
        ended = RUN_ENDED.fullmatch(line)
        if ended is None or not console.is_jupyter:
            print(line, flush=True)
            return
        done, total, said, left = ended.groups()
        self._recent.append(said)
        self._bar.update(self._task, completed=int(done), total=int(total), note=left)
        self._output.update(Group(self._bar, Text("\n".join(self._recent), style="dim")))


@contextmanager
def counting(title: str, total: int) -> Iterator[Any]:
    """Show a bar over `total` units; yields a function that counts one."""
    with _progress(disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total, note="")
        start, done, said = monotonic(), 0, monotonic()

        def advance() -> None:
            nonlocal done, said
            done += 1
            left = f"about {duration((monotonic() - start) * (total - done) / done)} left" if done < total else ""
            bar.update(task, completed=done, note=left)
            if not console.is_terminal and (monotonic() - said > LINE_SECONDS or done == total):
                said = monotonic()
                console.print(f"{title} {done}/{total}  {left}")

        yield advance


def _progress(disable: bool = False) -> Progress:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    return Progress(*columns, console=console, disable=disable)


def duration(seconds: float) -> str:
    """Return seconds as minutes, or hours: 4:05, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
