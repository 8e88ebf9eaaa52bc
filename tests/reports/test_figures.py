"""Every figure, drawn from small sweeps that are stored here: nothing over anything else, nothing cut off; and the
looks of cells, told apart with whatever eyes and on whatever paper."""

import re
import shutil
from itertools import combinations, pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import reports.sections
from reports.figures import style
from reports.figures.differences import LEAST_SPAN, _few_numbers
from reports.figures.lengths import over
from reports.figures.panels import apart, log_powers, name_lines, panels_of, round_ticks
from reports.figures.training import learning_curves
from reports.report import write_report
from tests.reports.conftest import write_run
from tests.reports.layout import faults

DATA = Path(__file__).parent / "data"
GALLERY = Path(__file__).parents[2] / "reports" / "gallery"
# Sweeps, and figures that their reports have; together all there are.
SWEEPS = {
    DATA / "within": {
        "attention", "cost_quality", "gate_histograms", "gate_maps", "gradient_flow", "jacobian", "learning_curves",
        "lengthened", "memory", "pairwise", "profile", "step_sizes", "step_time", "time_to_solve", "reach_length",
    },
    DATA / "tuned": {"cost_quality", "learning_curves", "pairwise", "sensitivity_learning_rate", "step_time"},
    DATA / "timing": {"scaling", "share_of_peak", "step_time"},
    GALLERY / "claims_quick": {
        "claim_rnn_fails_runs", "claim_lstm_linear_runs", "claim_hard_to_read_runs", "claim_gru_worse", "scaling",
    },
    GALLERY / "paper_greff2017": {"differences"},
    GALLERY / "ablation": {"cost_quality", "differences", "learning_curves", "profile", "step_time", "time_to_solve"},
    GALLERY / "initialisation": {"differences", "step_time"},
    GALLERY / "missing": {"differences", "step_time"},
    GALLERY / "modern": {"sensitivity_learning_rate", "step_time"},
    GALLERY / "paper_bai2018": {"cost_quality", "pairwise"},
    GALLERY / "standard": {"cost_quality", "pairwise"},
    GALLERY / "frontier": {"frontier", "frontier_rates"},
}  # fmt: skip
# What a colour looks like to who lacks one kind of cone, in linear RGB (Machado, Oliveira & Fernandes 2009).
EYES = {
    "all cones": np.eye(3),
    "no red cones": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no green cones": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}  # fmt: skip


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda path: path.name)
def test_nothing_lies_over_anything_or_is_cut_off(sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found: dict[str, list[str]] = {}

    def look_at(figure: Figure, _: Path, name: str) -> None:
        found[name] = faults(figure)
        if figure.get_figwidth() != style.WIDTH:  # what is wider has letters too small for a telephone
            found[name].append(f"is {figure.get_figwidth():g} inches wide, and not style.WIDTH, {style.WIDTH:g}")
        style.set_for_print(figure)
        found[name] += [f"printed, {figure.get_figwidth():g} inches wide: {fault}" for fault in faults(figure)]
        plt.close(figure)

    monkeypatch.setattr("reports.sections.content.save", look_at)
    write_report([_with_few_claims(sweep, tmp_path / sweep.name)], tmp_path / "report")
    assert not {name: said for name, said in found.items() if said}
    assert set(found) >= SWEEPS[sweep], sorted(found)


def test_very_many_contenders_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    reference = {"cell": "lstm"}
    names = ["lstm", *(f"cell_of_a_long_name_{number}" for number in range(1, 15))]
    for task in ("adding", "copy"):
        for place, name in enumerate(names):
            for seed in range(4):
                steps = None if place % 5 == 4 else 300 + 50 * place + 25 * seed
                write_run(
                    tmp_path / "many", name, task, seed, steps, reference=reference, flops_step=1e6 * (1 + place % 7)
                )
    (tmp_path / "many" / "sweep.json").write_text('{"commands": [], "report": {"reference": {"cell": "lstm"}}}')
    drawn: dict[str, Figure] = {}
    monkeypatch.setattr("reports.sections.content.save", lambda figure, _, name: drawn.update({name: figure}))
    said = write_report([tmp_path / "many"], tmp_path / "report").path.read_text()
    assert {name: found for name, figure in drawn.items() if (found := faults(figure))} == {}
    strips = drawn["time_to_solve"].axes[0]
    labels = [label.get_text() for label in strips.get_yticklabels()]
    assert labels[:2] == ["lstm 4/4", "cell_of_a_long_name_1 4/4"]  # the earliest on top
    assert labels[-1].endswith("0/4")
    first = strips.images[0].get_array()[0]
    assert (first[0], first[-1]) == (0, 1)
    losses = drawn["learning_curves"].axes[0].get_yticklabels()
    assert losses[0].get_text().endswith("4/4")
    assert losses[-1].get_text().endswith("0/4")
    ratios = [label.get_text() for label in drawn["differences"].axes[0].get_yticklabels()]
    assert ratios[:2] == ["cell_of_a_long_name_1", "cell_of_a_long_name_2"]
    assert "a strip per cell" in said


def test_losses_of_very_many_contenders_are_drawn_where_none_is_below_the_baseline():
    runs = pd.DataFrame({"contender": [f"cell_{number}" for number in range(20)], "seed": 0})
    runs = runs.assign(sweep="s", problem="adding", cell=runs["contender"], solved=False, baseline_loss=0.1)
    at_steps = [runs.assign(step=step, metric="loss", value=0.2 + runs.index / 10) for step in (0, 100)]
    strips = learning_curves(pd.concat(at_steps), runs).axes[0].images[0]
    assert (strips.norm.vmin, strips.norm.vmax) == (0.2, 0.2 + 1.9)


def _with_few_claims(sweep: Path, folder: Path) -> Path:
    """Return the sweep with those of its claims whose figures are looked at: drawing all takes a minute."""
    shutil.copytree(sweep, folder, ignore=shutil.ignore_patterns("*.png", "*.svg", "*.md"))
    rules = folder / "rules.yaml"
    if rules.exists():
        written = yaml.safe_load(rules.read_text())
        written.pop("sha256", None)  # of the claims as they were
        kept = [name for name in written["claims"] if any(name in figure for figure in SWEEPS[sweep])]
        written["claims"] = {name: written["claims"][name] for name in kept or written["claims"]}
        rules.write_text(yaml.safe_dump(written, sort_keys=False))
    return folder


def test_every_figure_is_among_them():
    source = "".join(path.read_text() for path in Path(reports.sections.__path__[0]).glob("*.py"))
    calls = set(re.findall(r'content\.show\([^"\n]*, "(\w+)"', source))
    assert len(calls) > 15
    undrawn = calls - set.union(*SWEEPS.values())
    assert not undrawn, f"name {undrawn} in SWEEPS, beside a sweep whose report shows it"


def test_faults_are_found():
    figure, (left, right) = plt.subplots(1, 2, figsize=(4, 2))
    assert not [fault for fault in faults(figure) if " over " in fault]
    left.text(0.5, 0.5, "one")
    left.text(0.52, 0.52, "two")
    left.text(0.5, 0.1, "a text that is much too long for its panel")
    right.text(0.1, 0.8, "small", fontsize=4)
    said = faults(figure)
    assert "'one' over 'two'" in said
    assert any("much too long" in fault and "reaches into the panel" in fault for fault in said)
    assert "'small' is of 4.0 points" in said
    figure, axes = plt.subplots(figsize=(2, 2))
    axes.set_xlim(0, 1)
    axes.set_xticks(np.linspace(0, 1, 15))
    assert len(faults(figure)) > 3  # numbers of ticks run into each other
    plt.close("all")


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of a linear sRGB colour, under D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = (
        np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    )
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_colours_are_seen_on_white_and_told_apart():
    looks = style.palette()
    for look in looks:
        luminance = linear(look.colour) @ [0.2126, 0.7152, 0.0722]
        assert 1.05 / (luminance + 0.05) >= 3, look  # WCAG 2, 1.4.11
    for eyes in EYES.values():
        seen = [lab(eyes @ linear(look.colour)) for look in looks]
        apart = {(i, j): float(np.linalg.norm(seen[i] - seen[j])) for i, j in combinations(range(len(looks)), 2)}
        assert min(apart.values()) > 5
        assert min(value for (_, j), value in apart.items() if j < 5) > 10  # the cells that are in every sweep


def test_without_colours_dashes_and_markers_tell_cells_apart():
    looks = style.palette()
    for one, other in combinations(looks, 2):
        assert one.dash != other.dash
        assert one.marker != other.marker


@given(st.lists(st.floats(0, 1), max_size=9), st.floats(0.01, 0.1))
def test_names_stand_apart_in_the_order_of_their_lines_and_no_further_than_needed(heights: list[float], gap: float):
    given = {str(i): height for i, height in enumerate(heights)}
    found = apart(given, gap)
    assert set(found) == set(given)
    placed = sorted(found, key=lambda name: found[name])
    assert [given[name] for name in placed] == sorted(heights)
    assert all(found[b] - found[a] > gap - 1e-9 for a, b in pairwise(placed))
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in found.values())
    if all(b - a >= gap for a, b in pairwise(sorted(heights))):
        assert found == pytest.approx(given, abs=1e-9)


def test_names_that_meet_share_what_they_are_moved():
    assert apart({"a": 0.5, "b": 0.5, "c": 0.9}, 0.1) == pytest.approx({"a": 0.45, "b": 0.55, "c": 0.9})
    assert apart({"a": 1.0, "b": 1.0}, 0.1) == pytest.approx({"a": 0.9, "b": 1.0})
    assert apart({}, 0.1) == {}


def _two_lines(second: str) -> tuple[Figure, Axes]:
    figure, panels = panels_of(["one"])
    axes = panels["one"]
    axes.plot([0, 1, 2], [0, 3, 1], label="lstm")
    axes.plot([0, 1], [1, 2], label=second)
    name_lines(figure, panels, style.looks(["lstm", second]))
    figure.draw_without_rendering()
    return figure, axes


def test_lines_are_named_beside_the_panel_at_their_end():
    figure, axes = _two_lines("gru")
    places = {text.get_text(): text for text in axes.texts}
    assert set(places) == {"lstm", "gru"}
    for name, end in (("lstm", (2, 1)), ("gru", (1, 2))):
        box = places[name].get_window_extent()
        assert box.x0 > axes.bbox.x1
        assert box.x1 < figure.bbox.x1
        assert (box.y0 + box.y1) / 2 == pytest.approx(axes.transData.transform(end)[1], abs=2)
    assert not figure.legends
    plt.close(figure)


def test_a_figure_holds_any_text():
    assert style.drawable("gru, kind $x$\ntwo") == "gru, kind $x$\ntwo"
    assert style.drawable("漢\x1b[1m\u202e ∂L/∂h ‖w‖") == "□ [1m  ∂L/∂h ‖w‖"
    assert style.drawable("a" * 500 + "b" * 500, 9) == "aaa…bbbb"
    assert style.drawable("x\n" * 500) == "\n".join("x" * style.MOST_LINES)


def test_powers_of_ten_are_said_without_mathematics():
    with style.theme():
        figure, panels = panels_of(["one"])
        panels["one"].plot([0, 1], [2e-4, 3.0])
        log_powers(panels["one"])
        figure.draw_without_rendering()
        said = {label.get_text() for label in panels["one"].get_yticklabels()}
        panels["one"].set_ylim(0.15, 0.45)
        figure.draw_without_rendering()
        said |= {label.get_text() for label in panels["one"].get_yticklabels(minor=True)}
    assert {"10⁻³", "10⁰", "0.2"} <= said


def test_a_cell_looks_the_same_in_a_figure_of_some_cells():
    runs = pd.DataFrame({"cell": ["lstm", "mamba", "tcn"], "contender": ["lstm", "mamba", "tcn"]})
    of_all = style.contender_looks(runs)
    for cell in runs["cell"]:
        assert style.contender_looks(runs[runs["cell"] == cell], runs["cell"]) == {cell: of_all[cell]}


def test_reach_is_shown_where_a_length_varies_and_something_was_solved():
    def runs(problems: dict[str, int], solved: bool) -> pd.DataFrame:
        rows = [{"problem": name, "task.length": length} for name, length in problems.items()]
        return pd.DataFrame(rows).assign(status="solved" if solved else "unsolved", solved=solved, contender="lstm")

    varied = {"adding, length 10": 10, "adding, length 20": 20}
    assert set(over(runs(varied, solved=True), "task.length")) == {"adding"}
    assert not over(runs(varied, solved=False), "task.length")
    with_others = {"adding, length 10, clip_norm 1": 10, "adding, length 20, clip_norm 5": 20}
    assert not over(runs(with_others, solved=True), "task.length")
    each_its_own = runs(varied, solved=True).assign(contender=["lstm", "lstm, layers 2"])
    assert not over(each_its_own, "task.length")


def test_costs_that_are_nearly_equal_lie_close_together():
    axes = Figure().subplots()
    _few_numbers(axes, [1000.0, 1001.0])
    low, high = axes.get_xlim()
    assert high / low == pytest.approx(LEAST_SPAN)
    assert len(axes.get_xticks()) >= 2


def test_a_spike_does_not_cut_off_what_is_learned():
    runs = pd.DataFrame(
        {"problem": "adding", "cell": ["lstm", "gru"], "contender": ["lstm", "gru"], "seed": 0, "sweep": "s"}
    )
    losses = {"lstm": [0.2, 5000.0, 0.17], "gru": [0.2, 0.01, 0.002]}
    rows = [(name, step, value) for name, values in losses.items() for step, value in enumerate(values)]
    curves = pd.DataFrame(rows, columns=["contender", "step", "value"]).merge(runs, on="contender")
    figure = learning_curves(curves.assign(metric="loss"), runs.assign(baseline_loss=0.17))
    assert figure.axes[0].get_ylim()[0] < 0.002


def test_names_too_long_to_stand_beside_a_panel_stand_in_a_legend():
    long = "lstm, learning_rate 0.003"
    figure, axes = _two_lines(long)
    assert not axes.texts
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["lstm", long]
    plt.close(figure)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.9, 1200, [1, 10, 100, 1000]),
        (4_000, 35_000, [5_000, 10_000, 20_000]),
        (0.4, 2.4, [0.5, 1, 2]),
        (1.2, 4.7, [1.5, 2, 3]),
        (1.1, 1.35, [1.2]),
        (9.9e7, 1.01e8, [1e8]),
    ],
)
def test_ticks_are_three_or_more_of_the_roundest_kind(low: float, high: float, ticks: list[float]):
    assert round_ticks(low, high) == pytest.approx(ticks)
