"""The plan is what Hydra would run, found in less time."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import initialize_config_module
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf

import conf
from bench.arguments import parse_arguments
from bench.execute.apart import Worker
from bench.execute.plan import Plan, make_plan
from bench.execute.run import run, store_failure
from bench.record.encoding import settings_columns
from bench.record.errors import ConfigError
from bench.record.store import RunFolder
from bench.spec.checks import from_hydra
from bench.spec.command import Command
from bench.spec.command import compose as compose_command
from bench.spec.config import Execution, register_with_hydra, to_plain
from bench.spec.identity import run_id
from bench.train.model import make_model, make_task
from reports.claims import find_claims, parse_claims
from reports.conditions import select
from reports.verdicts import TIMES

CONF = Path(conf.__file__).parent


def plan_of(master) -> Plan:
    with Worker() as worker:
        return make_plan(Command(master), worker)


@pytest.fixture
def compose(tmp_path):
    """Composes a sweep's own configuration, as a command begins with it."""
    register_with_hydra()

    def composed(*overrides: str):
        config = GlobalHydra.instance().hydra.compose_config(
            "config", [*overrides, f"results_dir={tmp_path}"], run_mode=RunMode.MULTIRUN, from_shell=False,
            with_log_configuration=False, validate_sweep_overrides=False,
        )  # fmt: skip
        config.hydra.mode = RunMode.MULTIRUN
        return config

    with initialize_config_module("conf", version_base="1.3"):
        yield composed


@pytest.mark.parametrize(
    "overrides",
    [
        ("+sweep=quick", "seed=0,1", "cell=lstm,gru"),
        ("+sweep=standard", "seed=3", "cell=lstm", "tuning=none"),
        ("+sweep=lengths", "seed=0", "cell=rnn", "+training.optimizer_options={weight_decay: 0.1},{amsgrad: true}"),
        (
            "cell=gru,peephole_lstm",
            "task=copy,adding",
            "++dtype=float32,float64",
            "~setting",
        ),
        ("cell=lstm", "cell.hidden_size=range(2,5)", "++cell.name=a,b", "training.clip_norm=null,1"),
    ],
)
def test_each_run_is_composed_as_hydra_composes_it(compose, overrides):
    master = compose(*overrides)
    loader = GlobalHydra.instance().hydra.config_loader
    params = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
    arguments = params + list(master.hydra.overrides.task)
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(arguments)
    (jobs,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    expected = [from_hydra(loader.load_sweep_config(master, job)) for job in jobs]
    assert len(expected) > 1
    assert plan_of(master).configs == {run_id(config.run): config for config in expected}


def test_a_wrong_value_in_one_of_many_runs_is_found_before_any_begins(compose):
    with pytest.raises(ConfigError, match=r"training.learning_rate=-1"):
        plan_of(compose("cell=lstm,gru", "training.learning_rate=0.1,-1"))
    with pytest.raises(ConfigError, match="nothing"):
        plan_of(compose("cell=lstm,gru", "training.nothing=1,2"))
    with pytest.raises(ConfigError, match="nothing"):
        plan_of(compose("cell=lstm", "++training.nothing=1"))


@pytest.mark.usefixtures("compose")  # which leaves Hydra as it was
def test_what_is_set_on_each_of_several_tasks_need_not_be_set_on_the_default_one():
    master = compose_command(parse_arguments(["-m", "task=copy,selective_copy", "task.span=4", "seed=0"]))
    spans = {config.run.task["name"]: config.run.task["span"] for config in plan_of(master).configs.values()}
    assert spans == {"copy": 4, "selective_copy": 4}


def test_excluded_combinations_are_left_out(compose):
    sizes = ("cell=rnn,lstm,gru", "cell.hidden_size=4,8", "seed=0,1")
    plan = plan_of(compose(*sizes, "exclude=[{cell: [rnn, gru], cell.hidden_size: 4}, {seed: 1, cell: lstm}]"))
    kept = {(c.run.cell["name"], c.run.cell["hidden_size"], c.run.seed) for c in plan.configs.values()}
    assert kept == {("rnn", 8, 0), ("rnn", 8, 1), ("gru", 8, 0), ("gru", 8, 1), ("lstm", 4, 0), ("lstm", 8, 0)}
    with pytest.raises(ConfigError, match="exclude: leaves out every run"):
        plan_of(compose("cell=lstm", "exclude=[{cell: lstm}]"))
    with pytest.raises(ConfigError, match="exclude: must be"):
        plan_of(compose("cell=lstm", "exclude=[lstm]"))


def test_a_run_that_parts_have_in_common_has_the_probes_of_all(compose):
    def planned(parts: dict[str, dict[str, str]], *overrides: str) -> dict[str, Execution]:
        master = compose("seed=0", *overrides)
        OmegaConf.update(master, "parts", parts, force_add=True)
        return {each.run.cell["name"]: each.execution for each in plan_of(master).configs.values()}

    gates, memory = (
        {"cell": "lstm", "diagnostics.kinds": f"[{kind}]", "diagnostics.sequences": n}
        for kind, n in (("gates", "8"), ("memory", "9"))
    )
    parts = {"a": {**gates, "lengthen": "[4]"}, "b": {"cell": "lstm,gru", "lengthen": "[2]"}, "c": {"cell": "gru"}}
    for order in ("a,b,c", "c,b,a"):
        asked = planned(parts, f"part={order}")
        assert (asked["lstm"].lengthen, asked["gru"].lengthen) == ([2, 4], [2])
        assert (asked["lstm"].diagnostics.kinds, asked["lstm"].diagnostics.sequences) == (["gates"], 8)
        assert asked["gru"].diagnostics.kinds == []
    with pytest.raises(ConfigError, match="lstm on adding, seed 0, in common and ask for others"):
        planned({"a": gates, "b": memory})


@pytest.mark.parametrize("sweep", sorted(path.stem for path in (CONF / "sweep").glob("*.yaml")))
def test_every_sweep_can_be_planned(compose, sweep, tmp_path):
    fewer = ["cell=lstm"] if sweep in ("standard", "tune", "lengths", "tasks") else []
    if sweep == "mine":
        np.savez(tmp_path / "my.npz", inputs=np.zeros((20, 3)), targets=np.arange(20) % 2)
        fewer = [f"task.file={tmp_path / 'my.npz'}"]
    plan = plan_of(compose(f"+sweep={sweep}", "seed=0", *fewer))
    configs = [*plan.configs.values(), *plan.timed.values()]
    assert {config.sweep.name for config in configs} == {sweep}
    if plan.first.sweep.train and sweep != "mine":  # each task's settings are the sweep's own
        settings = OmegaConf.load(CONF / "setting" / f"{sweep}.yaml")
        assert {config.run.task["name"] for config in configs if config.sweep.train} <= settings.keys()
    if plan.first.sweep.claims == "lstm":
        _check_that_every_claim_finds_its_runs(plan)


def _check_that_every_claim_finds_its_runs(plan):
    def rows(configs):
        named = [{"cell": c.run.cell["name"], "task": c.run.task["name"], "solved": True} for c in configs]
        of_times = [{"batch_size": c.run.training.batch_size, "time_steps": c.run.task.get("length")} for c in configs]
        settings = [settings_columns(to_plain(config)) for config in configs]
        return pd.DataFrame([one | two | three for one, two, three in zip(settings, of_times, named, strict=True)])

    runs, times = rows(plan.configs.values()), rows(plan.timed.values())
    claims = parse_claims(find_claims(plan.first.sweep.claims), "claims")
    assert {claim.part for claim in claims.claims} <= set(plan.first.sweep.parts)
    for claim in claims.claims:
        for test in claim.tests:
            for conditions in filter(None, (test.of, test.over, test.less)):
                table = times if test.statistic in TIMES else runs
                found = select(table, {**test.where, **conditions}, claims.otherwise)
                assert len(found), (claim.name, conditions)
                wanted = test.where.get("task", [])
                assert {*found["task"]} >= {*wanted}, (claim.name, conditions)


PARTS = (
    "++parts={one: {cell: 'lstm,gru', seed: '0,1'}, two: {cell: gru, task.length: '5,6'}, "
    "times: {train: false, cell: rnn}}"
)


def test_a_sweep_is_the_union_of_its_parts(compose):
    plan = plan_of(compose("task.length=5", "seed=0", PARTS))
    found = {(c.run.cell["name"], c.run.task["length"], c.run.seed) for c in plan.configs.values()}
    assert found == {("lstm", 5, 0), ("gru", 5, 0)}  # what the command line says holds in all parts
    plan = plan_of(compose("task=adding", PARTS))
    found = {(c.run.cell["name"], c.run.task["length"], c.run.seed) for c in plan.configs.values()}
    assert found == {("lstm", 100, 0), ("lstm", 100, 1), ("gru", 100, 0), ("gru", 100, 1), ("gru", 5, 0), ("gru", 6, 0)}
    assert [c.run.cell["name"] for c in plan.timed.values()] == ["rnn"]


def test_parts_can_be_asked_for(compose):
    assert {c.run.cell["name"] for c in plan_of(compose(PARTS, "part=two")).configs.values()} == {"gru"}
    plan = plan_of(compose(PARTS, "part=times,one"))
    assert {c.run.cell["name"] for c in plan.configs.values()} == {"lstm", "gru"}
    assert len(plan.timed) == 1
    with pytest.raises(ConfigError, match="Did you mean 'two'"):
        plan_of(compose(PARTS, "part=tow"))
    with pytest.raises(ConfigError, match="It has no parts"):
        plan_of(compose("cell=lstm", "part=two"))
    with pytest.raises(ConfigError, match=r"parts\.one: must be a mapping"):
        plan_of(compose("cell=lstm", "++parts={one: 3}"))


def test_a_scale_replaces_what_parts_sweep(compose):
    scales = "++scales={small: {two: {task.length: 3}}}"
    plan = plan_of(compose(PARTS, scales, "scale=small", "part=two"))
    assert {c.run.task["length"] for c in plan.configs.values()} == {3}
    with pytest.raises(ConfigError, match="scale=tiny: this sweep has no such scale"):
        plan_of(compose(PARTS, scales, "scale=tiny"))


@pytest.mark.parametrize("sweep", sorted(path.stem for path in (CONF / "sweep").glob("paper_*.yaml")))
def test_papers_have_a_small_scale_whose_runs_their_claims_speak_of(compose, sweep):
    plan = plan_of(compose(f"+sweep={sweep}", "scale=small", "seed=0"))
    results = pd.DataFrame([settings_columns(to_plain(c)) | {"cell": c.run.cell["name"], "task": c.run.task["name"]}
                            for c in plan.configs.values()])  # fmt: skip
    claims = parse_claims(find_claims(plan.first.sweep.claims), sweep)
    assert claims.publication.source
    assert {claim.part for claim in claims.claims} <= set(plan.first.sweep.parts)
    met = [
        select(results, {**test.where, **test.of}, claims.otherwise) for claim in claims.claims for test in claim.tests
    ]
    assert sum(len(runs) > 0 for runs in met) >= 2
    assert all(runs.duplicated(["task", *[c for c in runs if c.startswith("task.")]]).sum() == 0 for runs in met)


def test_initialisations_are_those_of_their_files(compose):
    plan = plan_of(compose("+sweep=initialisation", "seed=0", "task=adding"))
    found = {
        (
            c.run.cell["name"],
            c.run.cell["initialization"],
            c.run.cell.get("forget_bias"),
            c.run.cell.get("nonlinearity"),
        )
        for c in plan.configs.values()
    }
    assert found == {
        ("rnn", "uniform", None, "tanh"),
        ("rnn", "orthogonal", None, "tanh"),
        ("rnn", "identity", None, "relu"),
        ("lstm", "uniform", 1.0, None),
        ("lstm", "orthogonal", 1.0, None),
        ("lstm", "uniform", "chrono", None),
        ("lstm", "uniform", 0.0, None),
        ("lstm", "uniform", 3.0, None),
    }
    chrono = next(c for c in plan.configs.values() if c.run.cell.get("forget_bias") == "chrono")
    assert chrono.run.cell["longest_memory"] == chrono.run.task["length"]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("+sweep=quick", "horizon=25,50"), "horizon=25,50: makes no difference; no run here uses horizon"),
        (("+sweep=quick", "horizon=25"), "horizon=25: makes no difference; no run here uses horizon"),
        (("cell=lstm", "threads=1,2"), "threads=1,2: makes no difference; with 1 and 2 the runs are the same"),
        (("seed=0,1", "training.clip_norm=1,1.0,2"), "with 1 and 1.0 the runs are the same"),
        (("cell=rnn,gru", "seed=0,1,0"), "seed=0,1,0: has 0 twice"),
        (("+sweep=timing", "part=length", "seed=0,1"), "seed=0,1: makes no difference"),
        (("+sweep=timing", "part=length", "training.max_steps=9"), "nothing is trained"),
        (("+sweep=quick", "tuning.trials=3"), "tuning.trials=3: makes no difference; only a search within ranges"),
        (("+sweep=quick", "tuning=learning_rate", "tuning.at_once=3"), "only a search within ranges"),
        (("+sweep=quick", "tuning.selection_seeds=[0]"), "nothing is selected"),
        (("+sweep=quick", "timing=none", "timing.rounds=3"), "no times are measured"),
        (("+sweep=quick", "tracking=none", "tracking.project=mine"), "nothing is tracked"),
        (("+sweep=quick", "diagnostics.every=100"), "add diagnostics=standard"),
        (("match=time", "training.max_seconds=1", "training.max_steps=9"), "the budget is training.max_seconds"),
        (("task=embedded_reber", "lengthen=[2]"), "no task here has a distance that could be lengthened"),
    ],
)
def test_what_makes_no_difference_is_refused(compose, overrides, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        plan_of(compose(*overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        ("+sweep=lengths", "task=adding", "cell=lstm", "horizon=10,20"),
        ("cell=lstm,gru", "cell.hidden_size=75", "match=hidden,parameters"),  # the same for the LSTM alone
        ("task=adding", "horizon=5,6", "task.length=${horizon}"),
        ("+sweep=quick", "seed=0", "diagnostics=standard", "diagnostics.every=100"),
        ("seed=0,1", "training.learning_rate=0.1,0.2", "tuning.selection_seeds=[1]"),
        ("seed=0,1", "cell=rnn,gru", "threads=1,2", "training.learning_rate=0.1,0.2", "cell=rnn", "threads=1"),
    ],
)
def test_what_makes_a_difference_to_some_run_is_not(compose, overrides):
    assert len(plan_of(compose(*overrides)).configs) > 1


def test_a_choice_of_groups_is_composed_once_however_many_runs_have_it(compose, monkeypatch):
    composed = []
    original = ConfigLoaderImpl.load_sweep_config
    monkeypatch.setattr(
        ConfigLoaderImpl, "load_sweep_config", lambda *given: composed.append(given) or original(*given)
    )
    axes = ("cell=lstm,gru", "task.length=range(2,12)", "seed=range(0,10)", "training.learning_rate=0.1,0.2")
    assert len(plan_of(compose(*axes)).configs) == 400
    assert len(composed) == 2


def test_a_sweep_without_end_is_refused(compose):
    with pytest.raises(ConfigError, match="seed: makes this a sweep of more than 1,000,000 runs"):
        plan_of(compose("seed=range(0,1000000000)"))


def test_axes_multiply_in_their_order(compose):
    configs = list(plan_of(compose("cell=lstm", "seed=0,1", "training.learning_rate=0.1,0.2")).configs.values())
    assert [(config.run.seed, config.run.training.learning_rate) for config in configs] == [
        (0, 0.1), (0, 0.2), (1, 0.1), (1, 0.2),
    ]  # fmt: skip


def test_retry_plans_what_ended_so_and_what_was_set_aside_for_it(compose, tmp_path):
    tiny = ("task.length=5", "training.max_steps=2", "training.evaluate_every=2", "tracking=none", "device=cpu")
    plan = plan_of(compose("cell=lstm,gru", "seed=0,1", *tiny))
    with pytest.raises(ConfigError, match="none of these runs has ended yet"):
        plan_of(compose("cell=lstm,gru", "seed=0,1", "retry=failed", *tiny))
    failed, stopped, unsolved, _ = plan.configs.values()
    for config in (failed, stopped):
        store_failure(config, "for the test")
    run(unsolved)
    RunFolder(plan.sweep, run_id(stopped.run)).set_aside()
    again = plan_of(compose("cell=lstm,gru", "seed=0,1", "retry=failed", *tiny))
    assert set(again.pending) == {run_id(failed.run), run_id(stopped.run)}
    finished = plan_of(compose("cell=lstm,gru", "seed=0,1", *tiny)).finished
    assert finished == {run_id(failed.run), run_id(unsolved.run)}


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def test_every_cell_and_every_initialisation_can_be_built_for_every_task(compose):
    def planned(*overrides: str) -> list:
        return list(plan_of(compose(*overrides, "cell.hidden_size=2", "device=cpu")).configs.values())

    generated = [name for name in choices("task") if "\nfile:" not in (CONF / "task" / f"{name}.yaml").read_text()]
    tasks = planned("cell=lstm", "initialization=chrono", f"task={','.join(generated)}")
    cells = planned(f"cell={','.join(choices('cell'))}", "task=adding")
    others = [name for name in choices("initialization") if name not in ("chrono", "irnn")]
    for name in others:
        cells += planned("cell=lstm", f"initialization={name}", "task=adding")
    cells += planned("cell=rnn", "initialization=irnn", "task=adding")
    assert {config.run.task["name"] for config in tasks} == set(generated)
    named = {"torchrecurrent": "MGU"}  # a layer of that package is named by itself
    assert {config.run.cell["name"] for config in cells} == {named.get(name, name) for name in choices("cell")}
    own = {"copy": 150, "precise_timing": 49, "selective_copy": 150, "trigger_recall": 110}  # not the sequence's length
    for config in tasks:
        task = make_task(config.run)
        assert config.run.cell["longest_memory"] == own.get(config.run.task["name"], task.length)
        for cell in [config.run.cell, *(other.run.cell for other in cells)]:  # only chrono depends on the task
            make_model(config.with_run(cell=cell).run, task)


def test_chrono_of_the_shortest_tasks(compose):
    for task in ("task=copy task.delay=1", "task=adding task.length=2"):
        plan = plan_of(compose("cell=lstm", "initialization=chrono", *task.split(), "device=cpu"))
        assert plan.first.run.cell["longest_memory"] == 3


def test_a_task_that_cannot_be_is_what_chrono_complains_of(compose):
    for value, says in (("1", "^task=adding: length must be at least 2, not 1$"), ("abc", "^task.length: Value 'abc'")):
        with pytest.raises(ConfigError, match=says):
            plan_of(compose("cell=lstm", "initialization=chrono", f"task.length={value}", "device=cpu"))
