"""A sweep's tables beside its report, as small as what is drawn from them allows: to publish, and to write it again."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from bench.record.asked import COMMANDS_FILE, LOOKS_FILE, PLAN_FILE
from bench.record.frames import write_parquet
from bench.record.rules import RULES_FILE
from reports.load import load_one

# Bits of the mantissa that curves and diagnostics keep: three digits. Results and times are kept whole.
BITS = 11
_MANTISSA_BITS = 52


def write_tables(sweep: Path, folder: Path) -> None:
    """Write what `load` reads of a sweep, without its runs, to another folder.

    The report of that folder is the sweep's, but for the name, which is the folder's. Values of curves and diagnostics
    are rounded to within 1/4096 of themselves: they take half of the space.

    Args:
        sweep: its folder.
        folder: where to, e.g. the report's folder.

    Raises:
        LoadError: a folder without results.
        OSError: they cannot be written.
    """
    stored = load_one(sweep, folder.resolve().name)
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in {"results": stored.results, "timing": stored.timing}.items():
        if len(frame):
            write_parquet(folder / f"{name}.parquet", frame)
    for name, frame in {"curves": stored.curves, "diagnostics": stored.readings}.items():
        if len(frame):
            write_parquet(folder / f"{name}.parquet", _rounded(frame), split=["value"])
    kept = [COMMANDS_FILE, LOOKS_FILE, RULES_FILE, *([PLAN_FILE] if len(stored.missing) else [])]
    for name in kept:
        if (sweep / name).exists():
            shutil.copyfile(sweep / name, folder / name)


def _rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with the column `value` rounded to `BITS` bits of the mantissa, half away from zero."""
    dropped = _MANTISSA_BITS - BITS
    values = frame["value"].to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    finite = np.isfinite(values)
    bits = values[finite].view(np.int64) + (np.int64(1) << (dropped - 1))
    values[finite] = ((bits >> dropped) << dropped).view(np.float64)
    return frame.assign(value=pd.array(values, dtype=frame["value"].dtype))
