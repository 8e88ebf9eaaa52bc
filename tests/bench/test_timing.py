"""Counted FLOPs are the closed form, memory is what was asked for, rounds interleave all cells."""

from pathlib import Path

import pandas as pd
import pytest
import torch

import cells
from bench.cost import timing
from bench.cost.flops import count_flops
from bench.cost.timing import Case, case_key, group_key, measure, peak_memory
from bench.execute.plan import Plan
from bench.execute.study import time_cells
from bench.train.model import backend_of, make_model, make_task
from cells import native
from tests.bench.conftest import make_config

# Gates, and the products of an attention LSTM beyond its LSTM's, in multiplications per step and sequence.
GATES = {"RNN": 1, "LSTM": 4, "PeepholeLSTM": 4, "GRU": 3, "AttentionLSTM": 4}


def closed_form(cell: str, steps: int, batch: int, inputs: int, hidden: int, outputs: int) -> tuple[int, int]:
    """FLOPs of a forward pass and of a training step: two per multiplication; backward costs twice the
    forward, but for the gradient of the input, which nothing needs."""
    projection = GATES[cell] * hidden * inputs
    recurrence = GATES[cell] * hidden * hidden
    # The last h enters no product; the first, which is zero, does.
    readout = hidden * outputs
    attention = 0
    if cell == "AttentionLSTM":
        attention = hidden * hidden + 2 * steps * hidden + 2 * hidden * hidden
    forward = 2 * steps * batch * (projection + recurrence + readout + attention)
    # The initial state needs no gradient: its product's is left out in one direction.
    spared = 2 * steps * batch * projection + 2 * batch * recurrence
    return forward, 3 * forward - spared


@pytest.mark.parametrize("steps", [12, 500])  # counted, and extrapolated
@pytest.mark.parametrize("backend", ["loop", "auto"])
@pytest.mark.parametrize("cell", GATES)
def test_flops_are_the_closed_form(cell, backend, steps):
    config = make_config(
        cell={"_target_": f"cells.{cell}", "name": "x", "hidden_size": 16, "backend": backend},
        task={"length": steps},
        training={"batch_size": 8},
    )
    counted = count_flops(config.run)
    assert counted == closed_form(cell, steps=steps, batch=8, inputs=2, hidden=16, outputs=1)


def test_peak_memory_is_what_is_held_at_once():
    def work() -> None:
        first = torch.empty(1_000_000)  # 4 MB
        second = torch.empty(2_000_000)  # 8 MB
        del first, second
        torch.empty(1_500_000)

    assert peak_memory(work, "cpu") == pytest.approx(12_000_000, rel=0.01)


def test_rounds_interleave_cells_and_keep_every_measurement(monkeypatch):
    order = []
    for name in ("forward", "training_step", "inference"):
        method = getattr(Case, name)

        def recording(self, *arguments, name=name, method=method):
            order.append((self.config.run.cell["name"], name))
            return method(self, *arguments)

        monkeypatch.setattr(Case, name, recording)
    monkeypatch.setitem(timing.GEMM_SIZES, "cpu", 32)
    once_each = {"rounds": 2, "inference_steps": 2, "block_seconds": 1e-9}
    kinds = ("LSTM", "GRU")
    configs = [
        make_config(cell={"_target_": f"cells.{kind}", "name": kind.lower()}, timing=once_each) for kind in kinds
    ]
    configs.append(make_config(seed=5, training={"learning_rate": 0.1}, timing=once_each))  # the LSTM again
    rounds = []
    rows = measure(configs, lambda: rounds.append(1), lambda *failure: pytest.fail(str(failure)))
    assert len(rounds) == 2
    steps = [cell for cell, name in order if name == "training_step"]
    assert steps[-4:] == ["lstm", "gru", "gru", "lstm"]  # each round begins with another
    by_quantity: dict[tuple, list] = {}
    for row in rows:
        assert row["value"] > 0
        by_quantity.setdefault((row["cell"] if row["cell"] != "lstm" else "lstm", row["quantity"]), []).append(
            row["round"]
        )
    each_round = {"forward", "training_step", "inference_step", "gemm"}
    once = {"first_call", "peak_memory", "flops_forward", "flops_training_step"}
    for cell in ("lstm", "gru"):
        assert {q: by_quantity[cell, q] for q in each_round} == {key: [0, 1] for key in each_round}
        assert {q: by_quantity[cell, q] for q in once} == {key: [None] for key in once}


def test_what_is_short_is_repeated_and_its_mean_counts(monkeypatch):
    calls = []
    monkeypatch.setitem(timing.GEMM_SIZES, "cpu", 32)
    monkeypatch.setattr(Case, "forward", lambda self: calls.append(1))
    settings = {"rounds": 3, "inference_steps": 1, "block_seconds": 0.002}
    rows = measure([make_config(timing=settings)], lambda: None, lambda *failure: pytest.fail(str(failure)))
    assert len(calls) > 100
    values = [row["value"] for row in rows if row["quantity"] == "forward"]
    assert len(values) == 3
    assert max(values) < 0.002 * 1000  # a call, not a block of them


def test_a_slow_case_sits_out_after_its_third_round(monkeypatch):
    monkeypatch.setitem(timing.GEMM_SIZES, "cpu", 32)
    settings = {"rounds": 6, "inference_steps": 2, "max_seconds": 1e-6}
    rows = measure([make_config(timing=settings)], lambda: None, lambda *failure: pytest.fail(str(failure)))
    assert {row["round"] for row in rows if row["quantity"] == "training_step"} == {0, 1, 2}


def test_native_kernels_hold_no_more_memory_than_torchs():
    if not native.library().loaded:
        pytest.skip("no native kernels here")
    for kind in ("RNN", "LSTM", "GRU", "PeepholeLSTM"):
        peaks = {}
        for backend in getattr(cells, kind).available_backends():
            config = make_config(
                cell={"_target_": f"cells.{kind}", "name": "x", "hidden_size": 64, "backend": backend},
                task={"length": 50},
                training={"batch_size": 32},
            )
            case = Case.build(config)
            case.training_step()
            peaks[backend_of(case.model.cell)] = peak_memory(case.training_step, "cpu")
        assert peaks["native"] <= min(peak for backend, peak in peaks.items() if backend != "native"), kind


def test_cases_differ_by_what_costs_time_and_groups_by_all_but_the_cell():
    base = make_config()
    assert case_key(base) == case_key(make_config(seed=1, training={"learning_rate": 0.5, "max_steps": 9}))
    assert case_key(base) != case_key(make_config(training={"batch_size": 5}))
    assert case_key(base) != case_key(make_config(cell={"hidden_size": 5}))
    assert group_key(base) == group_key(make_config(cell={"_target_": "cells.GRU", "name": "gru", "hidden_size": 5}))
    assert group_key(base) != group_key(make_config(task={"length": 9}))


def test_a_cell_that_cannot_be_timed_is_left_out():
    failed = []
    configs = [make_config(), make_config(cell={"_target_": "tests.bench.broken.Exploding", "name": "bad"})]
    rows = measure(configs, lambda: None, lambda config, error: failed.append((config.run.cell["name"], str(error))))
    assert [name for name, _ in failed] == ["bad"]
    assert {row["cell"] for row in rows} == {"lstm"}


def test_a_cell_that_has_only_the_call_is_timed():
    rows = measure(
        [make_config(cell={"_target_": "tests.bench.broken.Minimal", "name": "mine"})],
        lambda: None,
        lambda *failure: pytest.fail(str(failure)),
    )
    assert {row["backend"] for row in rows} == {"own"}
    assert "inference_step" in {row["quantity"] for row in rows}


class TestStudy:
    """A sweep's cells are measured together or not at all."""

    @pytest.fixture(autouse=True)
    def _fast(self, monkeypatch):
        monkeypatch.setitem(timing.GEMM_SIZES, "cpu", 32)

    def plan(self, folder: Path, *kinds: str) -> Plan:
        configs = [
            make_config(folder, cell={"_target_": f"cells.{kind}", "name": kind.lower()}, train=False) for kind in kinds
        ]
        return Plan(folder, {str(number): config for number, config in enumerate(configs)}, [], frozenset())

    def test_measured_cells_are_not_measured_again(self, tmp_path: Path):
        assert time_cells(self.plan(tmp_path, "LSTM", "GRU"))
        before = pd.read_parquet(tmp_path / "timing.parquet")
        assert not time_cells(self.plan(tmp_path, "LSTM", "GRU"))
        assert not time_cells(self.plan(tmp_path, "GRU"))
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "timing.parquet"), before)

    def test_a_new_cell_is_measured_beside_the_old_ones(self, tmp_path: Path):
        time_cells(self.plan(tmp_path, "LSTM", "GRU"))
        before = pd.read_parquet(tmp_path / "timing.parquet")
        assert time_cells(self.plan(tmp_path, "RNN"))
        after = pd.read_parquet(tmp_path / "timing.parquet")
        assert set(after["cell"]) == {"lstm", "gru", "rnn"}
        kept = before.merge(after, on=["case", "quantity", "round", "value"])
        assert "training_step" not in set(kept["quantity"])

    def test_more_rounds_are_measured_when_they_are_asked_for(self, tmp_path: Path):
        def plan(**timing) -> Plan:
            config = make_config(tmp_path, timing={"rounds": 3, "inference_steps": 1} | timing)
            return Plan(tmp_path, {"1": config}, [], frozenset())

        assert time_cells(plan())
        assert not time_cells(plan(rounds=2))
        assert time_cells(plan(rounds=5))
        assert pd.read_parquet(tmp_path / "timing.parquet")["round"].max() == 4
        assert not time_cells(plan(rounds=9, max_seconds=1e-6))  # a slow case may stop after its third
        assert time_cells(plan(rounds=9))

    def test_all_forms_of_a_cell_are_measured_beside_it(self, tmp_path: Path):
        settings = {"rounds": 2, "inference_steps": 2, "backends": "all"}
        config = make_config(
            tmp_path, cell={"_target_": "cells.PeepholeLSTM", "name": "peephole_lstm"}, timing=settings, train=False
        )
        lstm = make_config(tmp_path, timing=settings, train=False)
        plan = Plan(tmp_path, {"1": config, "2": lstm}, [], frozenset())
        assert time_cells(plan)
        rows = pd.read_parquet(tmp_path / "timing.parquet").drop_duplicates("case")
        forms = {(row["cell"], row["backend"]): row["form"] for _, row in rows.iterrows()}
        own = backend_of(make_model(lstm.run, make_task(lstm.run)).cell)
        known = [("lstm", backend) for backend in ("native", "torch", "loop")]
        known += [("peephole_lstm", backend) for backend in ("native", "loop", "torchrecurrent")]
        if own != "native":
            known = [(cell, backend) for cell, backend in known if backend != "native"]
        assert set(forms) == set(known)
        assert forms["lstm", own] == "own"
        assert [form for (cell, _), form in forms.items() if cell == "lstm"].count("own") == 1
        assert not time_cells(plan)  # all there

    @pytest.mark.parametrize("content", [b"", b"garbage"])
    def test_a_damaged_file_is_measured_again(self, tmp_path: Path, content: bytes):
        (tmp_path / "timing.parquet").write_bytes(content)
        assert time_cells(self.plan(tmp_path, "LSTM"))
        assert set(pd.read_parquet(tmp_path / "timing.parquet")["cell"]) == {"lstm"}
