"""The records that a store keeps, each field once: its type, what it may be, and what it means.

All else follows from these classes: what JSON is written and accepted, the columns of tables and what they may hold
(`bench.record.columns`), the tables of fields in STORE.md (`bench.record.fields`), and what W&B shows of a run. A file
from elsewhere may hold anything; what passes these types cannot mislead more than by wrong numbers."""

import itertools
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta, Struct

FORMAT = 2  # 1 had no checksums and no configuration in result.json; it is still read
UNSEALED_FORMAT = 1
Decided = Literal["solved", "unsolved", "diverged"]  # outcomes that say something of the architecture
Failed = Literal["out_of_memory", "failed"]
Status = Literal[Decided, Failed]
Moment = Literal["start", "training", "end"]
DECIDED, FAILED, STATUSES = get_args(Decided), get_args(Failed), get_args(Status)
TRAINED = DECIDED[:2]  # outcomes that leave a model to be probed

LARGEST, HUGE = 2**63 - 1, sys.float_info.max  # what a column of a table can hold
Count = Annotated[int, Meta(ge=0, le=LARGEST)]
Factor = Annotated[int, Meta(ge=1, le=LARGEST)]
Integer = Annotated[int, Meta(ge=-LARGEST, le=LARGEST)]
Number = Annotated[float, Meta(ge=-HUGE, le=HUGE)]
Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._:-]{0,199}\Z")]
Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Scores = Mapping[str, Number | None]
Runs = dict[Name, tuple[Name, Name, Count]]  # cell, task and seed, by run_id
Environment = dict[str, str | Integer | Number | bool | None]


def said(description: str, **about: Any) -> Meta:
    """Describe a field.

    Args:
        description: what it means.
        about: `later`: tables of earlier versions lack the column. `before`: a column of the same table that it stands
            before, where the order is older than the order of the fields. `column=False`: it becomes no column.
            `tracked=False`: W&B does not show it. `prefix`: its entries are stored beside the other fields, under names
            that begin so.
    """
    return Meta(description=description, extra=about)


Cell = Annotated[Name, said("name of the cell")]
Task = Annotated[Name, said("name of the task")]
Sweep = Annotated[str, said("name of the sweep")]
RunId = Annotated[Name, said("readable slug and hash of what determines the result", tracked=False)]
Format = Annotated[Count, said("version of the store")]
# Of what several records have.
BACKEND, THREADS, HIDDEN_SIZE = "implementation of the cell's recurrence", "threads of the process", "hidden units"
DEVICE, DTYPE = "torch's name of the device", "torch's name of the data type"
HARDWARE = "versions, processor and commit; a JSON object in tables"


class Evaluation(Struct, frozen=True):
    """A line of metrics.jsonl: what is known after a number of steps. NaN where nothing is known becomes null."""

    step: Annotated[Count, said("optimiser steps taken")]
    samples: Annotated[Count, said("training sequences seen")]
    seconds: Annotated[Number, said("training time in seconds, without evaluations")]
    train_loss: Annotated[Number | None, said("mean loss of batches since the last evaluation", column=False)] = None
    grad_norm: Annotated[Number | None, said("mean norm of their whole gradients before clipping", column=False)] = None
    loss: Annotated[Number | None, said("loss on the held-out sequences", column=False)] = None
    score: Annotated[Scores, said("scores on the held-out sequences, a field per score", prefix="score.")] = {}
    solved: Annotated[bool, said("whether the task counts these scores as solved", column=False)] = False


class Reading(Struct, frozen=True):
    """What a probe measured: a curve, value over x, or a grid, value over x and y, a point an element."""

    kind: Annotated[Name, said("the probe, and the quantity that it measured")]
    part: Annotated[Name, said("part of the model: `h`, `c`, a gate or a parameter")]
    x: Annotated[list[Number], said("coordinate of each point")]
    value: Annotated[list[Number], said("value at each point")]
    y: Annotated[tuple[Number, ...], said("second coordinate, of a grid only", before="value", empty=True)] = ()

    def __post_init__(self) -> None:
        if not self.x or len(self.x) != len(self.value) or len(self.y) not in (0, len(self.x)):
            raise ValueError("x, y and value are not of one length")


class StoredReading(Reading, kw_only=True, frozen=True):
    """A line of diagnostics.jsonl, and a row per point of diagnostics.parquet."""

    step: Annotated[Count, said("optimiser steps taken", before="kind")]
    moment: Annotated[Moment, said("before, in or after training", before="kind")]


class Lengthened(Struct, frozen=True):
    """How a trained model does at longer distances than it was trained for."""

    factor: Annotated[Count, said("distance as a multiple of the distance in training")]
    loss: Annotated[Number | None, said("loss on held-out sequences")] = None
    baseline_loss: Annotated[Number | None, said("loss of the best answer without memory")] = None
    score: Annotated[Scores, said("scores on held-out sequences, by name")] = {}
    solved: Annotated[bool, said("whether the task counts these scores as solved")] = False


class Diagnostic(Struct, frozen=True):
    """Diagnostics of one kind, before and after training."""

    sequences: Annotated[Count, said("how many sequences they were made from")]
    readings: Annotated[list[StoredReading], said("none if the kind does not apply to the model")]


class Probes(Struct, frozen=True, kw_only=True):
    """What was measured from a run's weights."""

    weights: Annotated[Digest | None, said("SHA-256 of weights.pt; null if the model's state cannot be stored")] = None
    diagnostics: Annotated[dict[Name, Diagnostic], said("diagnostics before and after training, by kind")] = {}
    lengthened: Annotated[
        dict[Factor, Lengthened | None],
        said("evaluations by factor of the length; null if the task has no such length, or the evaluation failed"),
    ] = {}
    failed: Annotated[
        dict[Name, str], said("why a diagnostic or an evaluation failed, in one line, by its kind or its factor")
    ] = {}

    def __post_init__(self) -> None:
        for factor, evaluation in self.lengthened.items():
            if evaluation is not None and evaluation.factor != factor:
                raise ValueError(f"the evaluation at {factor} is one at {evaluation.factor}")

    @property
    def readings(self) -> list[StoredReading]:
        """The readings of all kinds."""
        return [reading for made in self.diagnostics.values() for reading in made.readings]

    def with_more(self, more: "Probes") -> "Probes":
        """Return these and further probes of the same weights."""
        made = {*more.diagnostics, *map(str, more.lengthened)}
        return Probes(
            weights=more.weights,
            diagnostics={**self.diagnostics, **more.diagnostics},
            lengthened={**self.lengthened, **more.lengthened},
            failed={name: why for name, why in self.failed.items() if name not in made} | more.failed,
        )


class StoredProbes(Probes, frozen=True, kw_only=True):
    """A run's probe.json."""

    run_id: RunId
    format: Format = FORMAT


# What an outcome cannot be without.
KNOWN = {"solved": ("steps", "seconds", "steps_to_solve"), **dict.fromkeys(DECIDED[1:], ("steps", "seconds"))}


class Result(Struct, kw_only=True, frozen=True):
    """The outcome of a run. What is not known is null, or missing in results of earlier versions."""

    run_id: RunId
    status: Annotated[Status, said("how the run ended")]
    solved: Annotated[bool, said("whether the status is `solved`")]
    steps_to_solve: Annotated[Count | None, said("steps at the first of the solved evaluations at its end")] = None
    seconds_to_solve: Annotated[Number | None, said("training time in seconds at that evaluation")] = None
    steps: Annotated[Count | None, said("optimiser steps taken")] = None
    samples: Annotated[Count | None, said("training sequences seen")] = None
    final_loss: Annotated[Number | None, said("held-out loss at the end; none if the run diverged")] = None
    best_step: Annotated[
        Count | None,
        said("steps at the evaluation that counts as the end: the best one, of a task with a test part", later=True),
    ] = None
    test_loss: Annotated[
        Number | None, said("loss on the test part with the weights of that evaluation; none without one", later=True)
    ] = None
    test_score: Annotated[Scores, said("scores on the test part, columns `test_score.*`", column=False)] = {}
    baseline_loss: Annotated[Number | None, said("loss of the best answer without memory")] = None
    parameters: Annotated[Count | None, said("parameters of the model")] = None
    cell_parameters: Annotated[Count | None, said("parameters of the cell")] = None
    flops_step: Annotated[Number | None, said("FLOPs of a training step's matrix products", later=True)] = None
    backend: Annotated[Name | None, said(BACKEND)] = None
    threads: Annotated[Count | None, said(THREADS)] = None
    allocator: Annotated[Name | None, said("settings of the memory allocator")] = None
    seconds: Annotated[Number | None, said("training time over all parts of the run, without evaluations")] = None
    step_ms: Annotated[Number | None, said("mean milliseconds of a training step")] = None
    error: Annotated[str | None, said("why the run diverged or failed, in one line")] = None
    data: Annotated[
        Environment | None,
        said("facts of the task's data, and scores of simple answers to it; a JSON object in tables", later=True),
    ] = None
    environment: Annotated[Environment | None, said(HARDWARE, tracked=False)] = None
    traceback: Annotated[str | None, said("traceback of the error", column=False, tracked=False)] = None
    final_score: Annotated[Scores, said("held-out scores at the end, a field per score", prefix="final_score.")] = {}
    lengthened: Annotated[list[Lengthened] | None, said("the same at longer distances", tracked=False)] = None

    def __post_init__(self) -> None:
        if self.solved != (self.status == "solved"):
            raise ValueError(f"solved does not go with the status {self.status}")
        for name in KNOWN.get(self.status, ()):
            if getattr(self, name) is None:
                raise ValueError(f"{self.status} without {name}")


class StoredResult(Result, kw_only=True, frozen=True):
    """A run's result.json."""

    format: Format = FORMAT
    config: Annotated[dict[str, Any] | None, said("the resolved configuration; null in format 1")] = None
    files: Annotated[dict[str, str] | None, said("SHA-256 of the other files, by name; null in format 1")] = None

    def __post_init__(self) -> None:
        Result.__post_init__(self)
        if self.format != UNSEALED_FORMAT and (self.config is None or self.files is None):
            raise ValueError("has no config, or no files")


class Who(Struct):
    """What the rows of a run have in common."""

    sweep: Sweep
    run_id: RunId
    cell: Cell
    task: Task
    seed: Annotated[Count, said("seed of the run")]


class Reported(Struct):
    """What the sweep was last asked to select and compare."""

    selection: Annotated[bool, said("whether the run's seed selects hyperparameters, and is not reported", later=True)]
    tuned: Annotated[str, said("the hyperparameters that are selected, separated by commas", later=True)]
    reference: Annotated[str, said("the columns that identify the reference contender, a JSON object", later=True)]
    looks: Annotated[
        str, said("after how many seeds comparisons are made, numbers with commas; empty: in the end", later=True)
    ]
    look: Annotated[
        Count | None, said("which of them the run's seed is for, from 1; empty: for none, or no looks", later=True)
    ]


class Setup(Struct):
    """Settings that every report needs; all others are columns `cell.*`, `task.*` and `training.*`."""

    hidden_size: Annotated[Count | None, said(HIDDEN_SIZE, before="backend")]
    learning_rate: Annotated[Number | None, said("learning rate", before="backend")]
    horizon: Annotated[
        Count | None, said("the distance T that a sweep varies; empty: none", before="backend", later=True)
    ]
    device: Annotated[Name, said(DEVICE, before="threads")]
    dtype: Annotated[Name, said(DTYPE, before="threads")]


class Probed(Struct):
    """What became of a run's probes."""

    unmeasured: Annotated[
        str, said("diagnostics and evaluations that failed, a line each with the reason; empty: none", later=True)
    ]


class Point(Struct):
    """A value of an evaluation."""

    metric: Annotated[Name, said("`loss`, `train_loss`, `grad_norm` or `score.*`")]
    value: Annotated[Number, said("value of that metric")]


class Timing(Struct, kw_only=True):
    """A row of timing.parquet: a measurement of one case in one round."""

    sweep: Sweep
    case: Annotated[str, said("the configuration that was timed, but for seed, learning rate and budgets, as JSON")]
    group: Annotated[str, said("the same without the cell: cases of one group were measured side by side")]
    form: Annotated[Name, said("`own` if a run trains it, `other` if it is another backend of such a cell")]
    cell: Cell
    task: Task
    backend: Annotated[Name, said(BACKEND)]
    device: Annotated[Name, said(DEVICE)]
    dtype: Annotated[Name, said(DTYPE)]
    threads: Annotated[Count, said(THREADS)]
    time_steps: Annotated[Count, said("length of a sequence")]
    batch_size: Annotated[Count, said("sequences in a batch")]
    input_size: Annotated[Count, said("features of an input")]
    hidden_size: Annotated[Count, said(HIDDEN_SIZE)]
    quantity: Annotated[Name, said("what was measured")]
    round: Annotated[Count | None, said("number of the round; empty for what is measured once")]
    value: Annotated[Number, said("the measurement")]
    unit: Annotated[str, said("unit of the value")]
    environment: Annotated[Environment, said(HARDWARE)]
    gemm_size: Annotated[Count, said("size of the matrix product whose rate stands for the machine's", later=True)]
    no_steps: Annotated[str | None, said("why single steps were not timed; empty if they were", later=True)] = None
    settings: Annotated[dict[str, Any], said("of cell and task, columns `cell.*` and `task.*`", prefix="")] = {}


class Selection(Struct):
    """A configuration's group `tuning`, as far as readers rely on it."""

    selection_seeds: Annotated[list[Integer] | None, said("the seeds that select hyperparameters")] = None
    search: Annotated[dict[str, Any] | list[str] | None, said("the hyperparameters that are searched")] = None


class Question(Selection, kw_only=True):
    """What a command asks of a sweep's report."""

    reference: Annotated[dict[str, Any], said("the columns that identify the reference contender")]


class Commands(Struct):
    """sweep.json: what a sweep's commands were and ask for."""

    commands: Annotated[list[str], said("the commands that were given, oldest first")] = []
    report: Annotated[Question | None, said("what a report compares and selects; null: what each run says")] = None
    added: Annotated[
        list[Count], said("how many seeds there were each time when seeds were added after outcomes had been shown")
    ] = []
    format: Format = FORMAT


class Planned(Struct):
    """plan.json: what a sweep's commands planned."""

    runs: Annotated[Runs, said("cell, task and seed of each run, by run_id")] = {}
    format: Format = FORMAT


class Looks(Struct):
    """looks.json: the seeds of a sweep whose later runs follow from earlier ones, fixed before its first run."""

    seeds: Annotated[list[list[Count]], said("the seeds of each look, those of looks before it not among them")] = []
    lengths: Annotated[
        list[Count], said("with `seeds=frontier` the lengths that a seed can be run at; without it none")
    ] = []
    choosing: Annotated[
        Count, said("with `seeds=frontier` how many looks choose the learning rate that later looks go on with")
    ] = 0
    finished: Annotated[Count, said("how many runs were finished when the looks were fixed")] = 0
    format: Format = FORMAT

    @property
    def counts(self) -> list[int]:
        """How many seeds there are by each look."""
        return list(itertools.accumulate(map(len, self.seeds)))


Setting = str | Integer | float | bool | list[Any] | dict[Any, Any] | None


class _Named(Struct):
    name: Name


class _Cell(_Named):
    hidden_size: Count | None = None


class _Training(Struct):
    learning_rate: float | None = None


class Configuration(Struct):
    """What every reader relies on in a run's configuration. Its groups hold more: see `check_config`."""

    name: Name
    seed: Count
    device: Name
    dtype: Name
    cell: _Cell
    task: _Named
    training: _Training
    tuning: Selection | None = None
