"""The notebook in docs/ shows what its code does."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CELLS = json.loads((ROOT / "docs" / "notebook.ipynb").read_text())["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]


def test_it_was_run_from_top_to_bottom_without_an_error():
    assert [cell["execution_count"] for cell in CODE] == [*range(1, len(CODE) + 1)]
    outputs = [output for cell in CODE for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} == {"stream", "display_data", "execute_result"}
    assert "16/16" in str(CODE[0]["outputs"])  # a bar
    assert all("<table" in str(cell["outputs"]) for cell in CODE[1:4])


def test_its_code_works(tmp_path: Path):
    """As a script, which needs no Jupyter, on fewer and shorter runs."""
    code = "\n".join("".join(cell["source"]) for cell in CODE)
    few = '"seed=0,1", "training.max_steps=50", "timing.enabled=false", "tracking=none", "+launch=serial"'
    less = code.replace('"seed=range(8)"', few)
    less = less.replace('"training.max_steps=500"', '"training.max_steps=50", "tracking=none"')
    assert less.count("max_steps=50") == 2
    shown = "print(len(runs), tuple(outputs.shape), axes.get_legend_handles_labels()[1])"
    done = subprocess.run(
        [sys.executable, "-c", f"{less}\n{shown}"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "4 (20, 4, 1) ['gru', 'lstm']"
