"""`python -m bench probe`: measures in the trained models of a stored sweep what was not asked for at training."""

from pathlib import Path

from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser

from bench.conclusion import concluding
from bench.execute.apart import Worker, WorkerDied
from bench.execute.probes import NoWeights, missing_probes, probe_finished
from bench.execute.progress import counting, tell
from bench.record.asked import read_asked, record_asked
from bench.record.errors import ConfigError, one_line, printable
from bench.record.frames import write_frames
from bench.record.layout import check_layout, read_runs
from bench.record.records import TRAINED
from bench.spec.checks import from_hydra
from bench.spec.config import Execution, register_with_hydra
from bench.train.process import command_line

KEYS = ("lengthen", "diagnostics", "diagnostics.kinds", "diagnostics.sequences")
USAGE = "python -m bench probe results/NAME lengthen=[2,4] diagnostics=standard"
MOST_NAMED = 5  # runs without weights


def probe_sweep(arguments: list[str]) -> int:
    """Make the probes that the finished runs of a stored sweep lack, then its tables and its report again.

    Args:
        arguments: the sweep's folder, and what is asked for, as on the command line.

    Returns:
        The exit code, 1 if a run still lacks what is asked for.

    Raises:
        ConfigError: nothing can be made of that; the message is one line.
        OSError: the tables or the report cannot be written.
    """
    sweep, asked = _parse(arguments)
    runs, _ = read_runs(sweep)
    trained = [run for run in runs if run.result.status in TRAINED]
    if not trained:
        raise ConfigError(f"{sweep}: no run of it is trained to its end")
    lacking, without = [], []
    for run in trained:
        name = run.result.run_id
        try:
            lacking += [name] if any(missing_probes(run, asked, again=True)) else []
        except NoWeights:
            without.append(name)
    check_layout(sweep)
    if without:
        named = ", ".join([*without[:MOST_NAMED], *(["…"] if len(without) > MOST_NAMED else [])])
        if len(without) == len(trained):
            raise ConfigError(f"{sweep}: none of its {len(trained)} trained runs has weights to be probed: {named}")
        tell(f"{len(without)} of {len(trained)} trained runs have no weights and cannot be probed: {named}")
    record_asked(sweep, command_line(), read_asked(sweep).report)
    failed = _probe_each(sweep, lacking, asked)
    with concluding(sweep):
        for reason in write_frames(sweep):
            tell(f"left out: {reason}")
        from reports.report import write_report  # which fails where matplotlib does

        report = write_report([sweep])
    print(printable(str(report.path)))
    return int(failed > 0)


def _probe_each(sweep: Path, names: list[str], asked: Execution) -> int:
    """Probe runs in a process of their own, one after another; return how many still lack what is asked for."""
    failed = 0
    with counting("Probing", len(names)) as advance, Worker() as worker:
        for name in names:
            try:
                reason = _probe_one(worker, sweep, name, asked)
            except Exception as error:  # whatever a user's class does to the process that it is in
                reason = str(error) if isinstance(error, ConfigError) else one_line(error)
            if reason is not None:
                failed += 1
                tell(f"{name}: {reason}")
            advance()
    return failed


def _probe_one(worker: Worker, sweep: Path, name: str, asked: Execution) -> str | None:
    """Do as `probe_finished`, in another process if the first one dies of it."""
    arguments = (sweep, name, asked.diagnostics, asked.lengthen)
    try:
        reason: str | None = worker.call_apart(probe_finished, *arguments)
    except WorkerDied:
        reason = worker.call_apart(probe_finished, *arguments)
    return reason


def _parse(arguments: list[str]) -> tuple[Path, Execution]:
    """Return the sweep's folder, and what is asked for; ConfigError if no probe can make anything of it."""
    folders = [Path(each) for each in arguments if "=" not in each]
    if len(folders) != 1:
        raise ConfigError(f"probe: takes the folder of one stored sweep, as {USAGE}")
    (sweep,) = folders
    if not (sweep / "runs").is_dir():
        raise ConfigError(f"{sweep}: holds no stored sweep; name its folder, as {USAGE}")
    overrides = [each for each in arguments if "=" in each]
    if not overrides:
        raise ConfigError(f"probe: nothing is asked for; add lengthen=[2,4] or diagnostics=standard, as {USAGE}")
    for override in OverridesParser.create().parse_overrides(overrides):
        key = override.key_or_group
        if key not in KEYS or override.is_sweep_override() or override.is_add() or override.is_delete():
            raise ConfigError(
                f"{override.input_line}: a probe of stored runs takes {', '.join(KEYS)} only; all else was for training"
            )
    register_with_hydra()
    with initialize_config_module("conf", version_base="1.3"):
        asked = from_hydra(compose("config", [*overrides, "device=cpu"])).execution
    if asked.diagnostics.every is not None:  # a file of the user's own in conf/diagnostics
        raise ConfigError("diagnostics.every: diagnostics while training cannot be made afterwards")
    if not asked.diagnostics.kinds and any(each.startswith("diagnostics.sequences=") for each in overrides):
        raise ConfigError("diagnostics.sequences: makes no difference; no diagnostics are asked for")
    if not (asked.diagnostics.kinds or asked.lengthen):
        raise ConfigError(f"{' '.join(overrides)}: asks for nothing; add lengthen=[2,4] or diagnostics=standard")
    return sweep, asked
