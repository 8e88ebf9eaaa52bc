"""Tables beside a report, from which it can be written again."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.__main__ import main
from reports.archive import _rounded
from reports.load import load
from reports.report import write_report
from tests.reports.conftest import write_timing


def test_the_report_of_the_tables_is_the_sweeps(sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_timing(sweep)
    folder = tmp_path / "published" / sweep.name
    monkeypatch.setattr("sys.argv", ["reports", str(sweep), "--output", str(folder), "--tables"])
    main()
    published = load(folder)
    monkeypatch.undo()
    shutil.move(sweep, tmp_path / "kept")  # what is left is the tables
    again = write_report([folder], tmp_path / "again").path.read_bytes()
    assert again == (folder / "README.md").read_bytes()
    shutil.move(tmp_path / "kept", sweep)
    before = load(sweep)
    pd.testing.assert_frame_equal(published.results, before.results)
    pd.testing.assert_frame_equal(published.timing, before.timing)
    assert not published.curves["value"].equals(before.curves["value"])
    np.testing.assert_allclose(published.curves["value"], before.curves["value"], rtol=1 / 4096)


@given(st.lists(st.floats(), min_size=1))
def test_values_are_rounded_to_three_digits(values: list[float]):
    exact = np.array(values)
    rounded = _rounded(pd.DataFrame({"value": pd.array(exact, dtype="Float64")}))["value"].to_numpy(
        np.float64, na_value=np.nan
    )
    normal = np.isfinite(exact) & ((np.abs(exact) > 1e-300) | (exact == 0)) & (np.abs(exact) < 1e308)
    assert (np.abs(rounded[normal] - exact[normal]) <= np.abs(exact[normal]) / 4096).all()
    np.testing.assert_array_equal(rounded[~np.isfinite(exact)], exact[~np.isfinite(exact)])
    assert (rounded.view(np.int64)[normal] % 2**41 == 0).all()


@pytest.mark.parametrize("more", [[], ["another", "--output", "both"]])
def test_tables_are_of_one_sweep_in_a_folder_that_is_named(
    sweep: Path, more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "another").mkdir()
    monkeypatch.setattr("sys.argv", ["reports", str(sweep), *more, "--tables"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: --tables: give one sweep, and --output")
