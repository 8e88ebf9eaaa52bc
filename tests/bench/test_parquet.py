"""Files of kilobytes that stand for gigabytes are refused before they take them; memory that runs out is told."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra.core.global_hydra import GlobalHydra

from bench.cli import _run as run_command
from bench.record import frames
from bench.record.columns import CURVE_TYPES, RESULT_TYPES, Column
from bench.record.files import Damaged
from bench.record.frames import read_parquet, with_types, write_parquet
from bench.train.process import limited_memory
from reports.__main__ import main as write_reports
from tests.bench.faults import forked

STANDARD = Path(__file__).parents[2] / "reports" / "gallery" / "standard"


def _run_lengths(path: Path) -> None:
    pq.write_table(pa.table({name: np.zeros(10_000_000) for name in "abc"}), path)


def _dictionary(path: Path) -> None:
    indices = pa.array(np.zeros(1_000_000, np.int32))
    pq.write_table(pa.table({"text": pa.DictionaryArray.from_arrays(indices, ["x" * 100_000])}), path)


def _prefixes(path: Path) -> None:
    texts = pa.table({"text": ["x" * 50_000] * 5000})
    pq.write_table(texts, path, use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"})


def _codec(path: Path) -> None:
    pq.write_table(pa.table({"text": ["x" * 200_000_000]}), path, compression="zstd", use_dictionary=False)


def _nested(path: Path) -> None:
    pq.write_table(pa.table({"many": [np.zeros(20_000_000)]}), path)


@pytest.mark.parametrize("make", [_run_lengths, _dictionary, _prefixes, _codec, _nested])
def test_what_grows_when_it_is_read_is_refused(tmp_path: Path, make: Callable[[Path], None]):
    path = tmp_path / "curves.parquet"
    make(path)
    assert path.stat().st_size < 300_000

    def attempt() -> str:
        status = Path("/proc/self/status").read_text().split()
        with limited_memory((int(status[status.index("VmData:") + 1]) + (128 << 10)) / 2**20):
            try:
                read_parquet(path, CURVE_TYPES)
            except (Damaged, MemoryError) as error:
                return f"{type(error).__name__}: {error}"
        return "was read"

    assert forked(attempt).startswith(f'"Damaged: {path}: ')


def test_a_large_table_of_ours_is_read(tmp_path: Path):
    """Of one evaluation's texts and numbers after the other, nearly all the same in a run."""
    rows = 500_000
    names = {"sweep": "sweep", "cell": "peephole_lstm", "task": "adding", "metric": "loss"}
    numbers = np.arange(rows, dtype=float)
    frame = pd.DataFrame(
        {
            **{key: [value] * rows for key, value in names.items()},
            "run_id": [f"peephole_lstm-adding-s{run}-0123456789" for run in np.arange(rows) // 5000],
            "seed": np.arange(rows) // 5000,
            **{key: np.arange(rows) % 5000 for key in ("step", "samples")},
            "seconds": numbers / 7,
            "value": np.sin(numbers),
        }
    )
    frame = with_types(frame, CURVE_TYPES)
    write_parquet(tmp_path / "curves.parquet", frame)
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "curves.parquet", CURVE_TYPES), frame)


def test_a_table_that_memory_does_not_suffice_for_is_not_called_damaged(tmp_path: Path, monkeypatch):
    def fail(*_: object) -> None:
        raise pa.ArrowMemoryError("malloc of size 4096 failed")

    (tmp_path / "curves.parquet").write_bytes(b"")
    monkeypatch.setattr(frames, "read_table", fail)
    with pytest.raises(MemoryError):
        read_parquet(tmp_path / "curves.parquet", CURVE_TYPES)


def test_memory_that_runs_out_is_told_in_a_line(tmp_path: Path, monkeypatch, capsys):
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("reports.report.load", fail)
    monkeypatch.setattr("bench.sweep.Sweep.run", fail)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "quick").mkdir(parents=True)
    monkeypatch.setattr(sys, "argv", ["reports", "results/quick"])
    with pytest.raises(SystemExit) as ended:
        write_reports()
    codes = ended.value.code, run_command(["cell=lstm", "seed=0"])
    GlobalHydra.instance().clear()
    assert codes == (2, 1)
    for line in capsys.readouterr().err.splitlines():
        assert line.startswith("error: memory ran out (MemoryError); ")


@pytest.mark.parametrize(
    ("table", "types", "column", "value"),
    [
        ("results", RESULT_TYPES, "status", "odd"),
        ("results", RESULT_TYPES, "steps", -1),
        ("curves", CURVE_TYPES, "step", -1),
    ],
)
def test_a_sound_file_with_values_that_cannot_be_is_refused(
    table: str, types: dict[str, Column], column: str, value: object, tmp_path: Path
):
    path = tmp_path / f"{table}.parquet"
    frame = pd.read_parquet(STANDARD / path.name)
    write_parquet(path, frame)
    assert len(read_parquet(path, types)) == len(frame)
    frame.loc[0, column] = value
    write_parquet(path, frame)
    with pytest.raises(Damaged, match=f"holds unexpected values in column {column}"):
        read_parquet(path, types)
