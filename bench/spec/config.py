"""The schema of configurations: what can be set, in which types and bounds."""

import os
from dataclasses import asdict, dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from hydra.core.config_store import ConfigStore
from msgspec import Meta
from omegaconf import DictConfig, OmegaConf

import conf
from bench.record.errors import ConfigError, one_line
from bench.record.fairness import selected_settings
from bench.record.records import HUGE, LARGEST
from bench.record.tracked import PROJECT
from bench.spec.targets import longest_memory

if TYPE_CHECKING:
    import torch

DIAGNOSTICS = ("gradient_flow", "gates", "memory", "attention", "jacobian", "updates")
# What `retry` can ask for, and the outcomes that it means.
RETRY = {"failed": ("failed", "out_of_memory"), "out_of_memory": ("out_of_memory",), "diverged": ("diverged",)}


def _at_least(least: int) -> Meta:
    return Meta(ge=least, le=LARGEST, description=f"must be at least {least}, and below 2^63")


def _one_of(*choices: str) -> Meta:
    return Meta(pattern=rf"\A({'|'.join(choices)})\Z", extra={"choices": choices})


# The values that fields below may have. A description is what is said of any other; `_check_bounds` says it.
Index = Annotated[int, _at_least(0)]
Count = Annotated[int, _at_least(1)]
Several = Annotated[int, _at_least(2)]
Positive = Annotated[float, Meta(gt=0, le=HUGE, description="must be a finite number above 0")]
# Slurm takes whole numbers only: what is given as one must not become a float.
Memory = Annotated[int, Meta(ge=1, le=LARGEST, description="must be a finite number above 0")] | Positive
Share = (
    Annotated[int, Meta(ge=0, le=LARGEST, description="must be a finite number, at least 0")]
    | Annotated[float, Meta(ge=0, le=HUGE)]
)
Cohort = Annotated[
    str, Meta(pattern=r"\A(auto|[1-9][0-9]{0,5})\Z", description="must be auto or a whole number of at least 1")
]
Folder = Annotated[str, Meta(pattern=r"\S", description="must name a folder, as results_dir=results")]
Name = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z",
        description="must be 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit",
    ),
]


@dataclass(frozen=True)
class Training:
    """How a model is trained, and for how long. `conf/training/default.yaml` explains each key."""

    optimizer: str = "Adam"
    optimizer_options: Any = None  # a mapping; OmegaConf cannot merge into an absent one that is typed
    learning_rate: Positive = 0.005
    warmup: Index = 0
    decay: Annotated[str, _one_of("none", "linear", "cosine")] = "none"
    clip_norm: Positive | None = 1.0
    batch_size: Count = 64
    max_steps: Count = 2000
    max_samples: Count | None = None
    max_flops: Positive | None = None
    max_seconds: Positive | None = None
    evaluate_every: Count = 50
    early_evaluations: bool = True
    evaluation_size: Count = 256
    solved_evaluations: Count = 3
    patience: Count | None = None


@dataclass(frozen=True)
class RunSpec:
    """All that determines a run's result, and nothing else.

    Attributes:
        cell, task: `_target_` (an importable class), `name` and that class's own options.
        device: "cpu" or "cuda"; which of several GPUs is no part of it.
    """

    cell: dict[str, Any] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=dict)
    training: Training = field(default_factory=Training)
    seed: Index = 0
    device: str = "cpu"
    dtype: Annotated[str, _one_of("float32", "float64", "bfloat16")] = "float32"

    @property
    def torch_dtype(self) -> "torch.dtype":
        """Of parameters and data: with dtype=bfloat16 these are float32, and products are computed in less."""
        import torch

        return torch.float32 if self.is_mixed else getattr(torch, self.dtype)

    @property
    def is_mixed(self) -> bool:
        """Whether products are computed in bfloat16, under torch's autocast."""
        return self.dtype == "bfloat16"

    def __str__(self) -> str:
        """Name it in a message."""
        return f"{self.cell['name']} on {self.task['name']}"


@dataclass(frozen=True)
class Timing:
    """The timing study. `conf/timing/default.yaml` explains each key."""

    enabled: bool = True
    rounds: Count = 15
    inference_steps: Count = 50
    block_seconds: Positive = 0.01
    max_seconds: Positive | None = None
    backends: Annotated[str, _one_of("own", "all")] = "own"


@dataclass(frozen=True)
class Checkpoint:
    """When unfinished runs save where they stand. `conf/checkpoint/default.yaml` explains each key."""

    seconds: Positive | None = 2.0
    steps: Count | None = None


@dataclass(frozen=True)
class Tuning:
    """Which settings are selected, how and on which seeds. `conf/tuning/none.yaml` explains each key."""

    selection_seeds: list[Index] = field(default_factory=list)
    search: dict[str, Any] = field(default_factory=dict)
    trials: Count = 16
    at_once: Count = 4

    @property
    def settings(self) -> list[str]:
        """The settings that are selected."""
        return selected_settings(self.selection_seeds, self.search)


@dataclass(frozen=True)
class Diagnostics:
    """What is looked at inside a model, and when. `conf/diagnostics/standard.yaml` explains each key."""

    kinds: list[Annotated[str, _one_of(*DIAGNOSTICS)]] = field(default_factory=list)
    every: Count | None = None
    sequences: Several = 512


@dataclass(frozen=True)
class Tracking:
    """Where runs are shown while they train. `conf/tracking/wandb.yaml` explains each key."""

    tool: Annotated[str, _one_of("wandb", "tensorboard", "mlflow")] = "wandb"
    mode: Annotated[str, _one_of("offline", "online", "disabled")] = "offline"
    project: str = PROJECT
    entity: str | None = None
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Execution:
    """Where and how a run is executed, and what is kept of it. Its result is the same. `conf/config.yaml` explains each
    key."""

    device: str = "auto"
    threads: Count = 1
    cohort: Cohort = "auto"
    allocator: Annotated[str, _one_of("tuned", "system")] = "tuned"
    memory_gb: Memory | None = None
    gpus: Share = 0
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    tracking: Tracking = field(default_factory=Tracking)
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    lengthen: list[Several] = field(default_factory=list)
    keep: Annotated[str, _one_of("weights", "nothing")] = "weights"


@dataclass(frozen=True)
class SweepSpec:
    """What a sweep is made of, and what its report compares. `conf/config.yaml` explains each key."""

    name: Name = "scratch"
    results_dir: Folder = "results"
    parts: dict[str, Any] = field(default_factory=dict)
    part: str | None = None
    scale: str = "full"
    scales: dict[str, Any] = field(default_factory=dict)
    exclude: list[Any] = field(default_factory=list)
    seeds: Annotated[str, _one_of("all", "auto", "frontier")] = "all"
    horizon: Count | None = None
    match: Annotated[str, _one_of("hidden", "parameters", "flops", "time")] = "hidden"
    match_within: Positive | None = None
    train: bool = True
    retry: Annotated[str, _one_of(*RETRY)] | None = None
    dry_run: bool = False
    tuning: Tuning = field(default_factory=Tuning)
    timing: Timing = field(default_factory=Timing)
    reference: dict[str, Any] = field(default_factory=dict)
    claims: str | None = None

    @property
    def folder(self) -> Path:
        """Where the sweep is stored."""
        return Path(self.results_dir) / self.name


@dataclass(frozen=True)
class Settings:
    """What a command says of one run: its specification, how it is executed, and the sweep that it is of.

    On the command line, in `conf/` and where they are stored, all three are one flat mapping."""

    run: RunSpec
    execution: Execution
    sweep: SweepSpec

    def with_run(self, **changes: Any) -> "Settings":
        """Return the same of another run, changed in some of its fields."""
        return replace(self, run=replace(self.run, **changes))


# All fields on one level; the device is Execution's, from which RunSpec's follows.
FIELDS = {each.name: each for part in (RunSpec, Execution, SweepSpec) for each in fields(part)}
Flat: Any = make_dataclass(
    "Flat",
    [
        (name, each.type, field(default=each.default, default_factory=each.default_factory))  # type: ignore[call-overload]
        for name, each in FIELDS.items()
    ],
)


Flat.__module__ = __name__  # by which it is found when a configuration is unpickled


def _schema() -> DictConfig:
    """Return the flat schema for OmegaConf, which takes what is frozen for what cannot be overridden."""
    schema = OmegaConf.structured(Flat)
    for node in (schema, *(schema._get_node(name) for name in schema)):
        if isinstance(node, DictConfig):
            node._set_flag("readonly", None)
    return schema


SCHEMA = _schema()


def to_plain(settings: Settings) -> dict[str, Any]:
    """Return settings as one flat mapping of plain values, from which `from_plain` makes them again."""
    return {**asdict(settings.run), **asdict(settings.execution), **asdict(settings.sweep)}


def register_with_hydra() -> None:
    """Make known to Hydra the schema, under the name that `conf/config.yaml` refers to, and what files in `conf/` can
    say of a task; and give `conf/tracking/wandb.yaml` what the environment says of W&B by the names that
    `tracking.mode` has."""
    mode = os.environ.pop("WANDB_MODE", "").lower()
    if os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes", "on"):
        mode = "disabled"
    if mode:
        os.environ["WANDB_MODE"] = {"dryrun": "offline", "run": "online"}.get(mode, mode)
    ConfigStore.instance().store(name="schema", node=SCHEMA)
    OmegaConf.register_new_resolver("longest_memory", longest_memory, replace=True)
    register_settings(Path(conf.__path__[0]))


def register_settings(folder: Path) -> None:
    """Make known to Hydra the tables in a folder's `setting/`, one for each sweep: what it sets on each task. To Hydra
    each task's part is a file of its own, `setting/SWEEP/TASK.yaml`.

    Raises:
        ConfigError: a table cannot be read.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # PyYAML's own takes ten times as long
    for path in sorted(folder.glob("setting/*.yaml")):
        try:
            table = yaml.load(path.read_bytes(), loader) or {}
            for task, node in table.items():
                ConfigStore.instance().store(task, node, f"setting/{path.stem}", "_global_", "setting")
        except (yaml.YAMLError, OSError, AttributeError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}: is not a table of tasks with their settings ({one_line(error)})") from error
