"""A report is the same bytes whatever the process that makes it has set, and leaves what that has set as it is."""

from pathlib import Path

import pytest

from reports.report import write_report
from tests.python import python

MATPLOTLIBRC = """
text.usetex: True
text.parse_math: True
font.family: cursive
font.size: 31
savefig.bbox: standard
savefig.transparent: True
savefig.pad_inches: 2
savefig.facecolor: red
figure.dpi: 33
figure.autolayout: True
axes.xmargin: 0.4
axes.formatter.use_locale: True
axes.formatter.use_mathtext: True
axes.prop_cycle: cycler('color', ['r'])
axes.unicode_minus: False
path.sketch: 1, 100, 2
lines.linewidth: 9
svg.fonttype: none
interactive: True
font.no_such_key: \x1b[31m
figure.figsize: nonsense \x1b[31m
"""
CODE = """
import sys
from pathlib import Path
from reports import load
load(sys.argv[1])
assert "matplotlib" not in sys.modules
import matplotlib, numpy as np, pandas as pd
assert matplotlib.rcParams["text.usetex"]
np.set_printoptions(precision=1, legacy="1.13", floatmode="fixed", threshold=2, sign="+")
pd.options.display.precision = 1
pd.options.display.float_format = "{:.1f}".format
pd.options.display.max_rows = pd.options.display.max_columns = 1
pd.options.display.max_colwidth = 3
pd.options.mode.string_storage = "python"
pd.options.future.infer_string = False
pd.options.compute.use_bottleneck = pd.options.compute.use_numexpr = False
before = dict(matplotlib.rcParams) | {"backend": None}, np.get_printoptions()
from reports.report import write_report
write_report([Path(sys.argv[1])], Path(sys.argv[2]))
# seaborn imports pyplot, which settles on a backend that there is; no figure here needs one.
assert (dict(matplotlib.rcParams) | {"backend": None}, np.get_printoptions()) == before
"""


@pytest.mark.drawn
def test_a_report_is_the_same_bytes_whatever_matplotlib_numpy_and_pandas_were_told(sweep: Path, tmp_path: Path):
    write_report([sweep], tmp_path / "plain")
    plain = {path.name: path.read_bytes() for path in (tmp_path / "plain").iterdir()}
    rules = tmp_path / "matplotlibrc"
    rules.write_text(MATPLOTLIBRC)
    told = {"MATPLOTLIBRC": str(rules), "MPLBACKEND": "tkagg", "LC_ALL": "C"}
    for way in (["-c", CODE, sweep, tmp_path / "told"], ["-m", "reports", sweep, "--output", tmp_path / "told"]):
        done = python(*way, **told)
        assert way[0] == "-c" or not done.stderr  # but for what matplotlib says to who imports it
        written = {path.name: path.read_bytes() for path in (tmp_path / "told").iterdir()}
        assert set(written) == set(plain)
        assert [name for name in plain if written[name] != plain[name]] == []


def test_a_backend_that_there_is_not_is_a_line(sweep: Path):
    done = python("-m", "reports", sweep, code=2, MPLBACKEND="non\x1b[31msense")
    assert "MPLBACKEND" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr
