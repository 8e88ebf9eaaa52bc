"""A results folder from a stranger: reported on, or refused in a line; nothing in it is executed or obeyed."""

import json
import os
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from markdown_it import MarkdownIt
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.record.errors import ConfigError
from bench.record.frames import write_frames
from reports.figures.style import make_drawable
from reports.load import LoadError, load
from reports.report import write_report
from reports.text import escape
from tests.reports.conftest import write_run

CASES = int(os.environ.get("HOSTILE_CASES", "8"))
TEXTS = (
    "", " ", "a|b", "x\n# heading", "```", "<script>alert(1)</script>", "![x](http://a.example/b.png)",
    "[a](javascript:b)", "\x1b[31m", "\u202e", "../../etc", "$x$", "%s", "{0}", "=1+1", "null", "NaN", "{}", "[]", "[[",
    '{"a": [1]}', "é" * 300,
    "$", "\\frac{", "a_b_c", "*b*", "x" * 5000,
)  # fmt: skip
NUMBERS = (-1, 0, 1, 2**62, -(2**62), float("nan"), float("inf"), -1e300, 1e-300, 0.5)


def hurt(frame: pd.DataFrame, chance: random.Random) -> pd.DataFrame:
    """Return a table with odd values in one or two columns, all its rows or some of them."""
    frame = frame.copy()
    for _ in range(chance.randint(1, 2)):
        column = chance.choice(list(frame.columns))
        values = frame[column].astype(object)
        value: Any = chance.choice([*TEXTS, *NUMBERS, None, True, b"bytes", [1], {"a": 1}])
        rows = [chance.random() < 0.5 for _ in values] if chance.random() < 0.5 else [True] * len(values)
        values = pd.Series([value if row else old for row, old in zip(rows, values, strict=True)], index=frame.index)
        frame[column] = values
        if chance.random() < 0.1:
            frame = frame.drop(columns=column)
        if chance.random() < 0.05:
            frame = frame.iloc[:0]
    return frame


def readings(results: pd.DataFrame) -> pd.DataFrame:
    """Return a table of readings with a few points of every kind."""
    rows = []
    kinds = [("gradient_flow", "h"), ("decay", "h"), ("at_rest", "h"), ("gate_histogram", "f"), ("gate_map", "f"),
             ("gate_saturation", "f"), ("memory", "state"), ("attention", "attention"), ("jacobian", "state"),
             ("updates", "all")]  # fmt: skip
    for _, run in results[results["seed"] == 0].iterrows():
        who = {name: run[name] for name in ("sweep", "run_id", "cell", "task", "seed")}
        for moment, step in (("start", 0), ("training", 50), ("end", 100)):
            for kind, part in kinds:
                known = {"step": step, "moment": moment, "kind": kind, "part": part}
                rows += [{**who, **known, "x": x, "y": y, "value": 0.5} for x in (0.0, 1.0) for y in (0.0, 1.0)]
    return pd.DataFrame(rows).convert_dtypes()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.drawn
def test_tables_with_any_values_make_a_report_or_are_refused(tmp_path: Path, sweep: Path):
    write_frames(sweep)
    shutil.rmtree(sweep / "runs")
    readings(pd.read_parquet(sweep / "results.parquet")).to_parquet(sweep / "diagnostics.parquet")
    names = ("results", "curves", "timing", "diagnostics")
    tables = {name: pd.read_parquet(sweep / f"{name}.parquet") for name in names}
    outcomes, wrong = {"whole": 0, "in part": 0, "refused": 0}, []
    for number in range(CASES):
        chance = random.Random(number)
        folder = tmp_path / "hostile"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sweep, folder)
        name = chance.choice(list(tables))
        try:
            hurt(tables[name], chance).to_parquet(folder / f"{name}.parquet")
        except Exception:  # what Arrow cannot write, nobody can send
            continue
        try:
            report = write_report([folder]).path.read_text()
        except LoadError as error:
            outcomes["refused"] += 1
            wrong += [f"{number}: {error!r}"] if "\n" in str(error) else []
        except Exception as error:
            wrong.append(f"{number}, {name}: {error!r}")
        else:
            outcomes["in part" if "Left out of this report" in report else "whole"] += 1
            assert_harmless(report)
    assert not wrong
    assert outcomes["whole"]
    assert outcomes["in part"]


def assert_harmless(report: str) -> None:
    """No markup, link or control character in a report comes from its data."""
    fence = ""
    for line in report.splitlines():
        if re.fullmatch("`{3,}", line) and len(line) >= len(fence):
            fence = "" if fence else line
        elif not fence:
            assert "<script" not in line.replace("\\<", "")
            assert "](http" not in line.replace("\\]", "")
            assert "](javascript" not in line.replace("\\]", "")
            assert "heading" not in line or not line.startswith("# heading")
        assert "\x1b" not in line
        assert "\u202e" not in line
    assert not fence


NAMES = (
    r"$\frac{1}{$", "$x$", "a$b$c", "\\frac{", "$$", "x" * 5000, "a_" * 900, "two\nlines", "\u202eright to left",
    "שלום עולם", "مرحبا", "😀 漢字", "tab\tand\x1b[31m", "", " ", "_hidden", "%s {0}", "-1", "1e3", "<b>&amp;</b>",
)  # fmt: skip


@pytest.mark.drawn
def test_names_are_drawn_as_they_are_and_nothing_is_said_of_them(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """As settings of cells and of tasks, layers that are timed and sweeps, in every kind of text in figures."""
    write_frames(sweep)
    shutil.rmtree(sweep / "runs")
    tables = (pd.read_parquet(sweep / f"{name}.parquet") for name in ("results", "timing"))
    results, timing = (table[table["task"] == "adding"] for table in tables)
    texts: set[str] = set()

    def drawn(figure: Figure, *_: object) -> None:
        make_drawable(figure)
        figure.draw_without_rendering()
        assert not [text for text in figure.findobj(Text) if text.get_parse_math() and "$" in text.get_text()]
        texts.update(text.get_text() for text in figure.findobj(Text))

    for first in range(0, len(NAMES), 5):
        one, two, three, four, five = names = NAMES[first : first + 5]
        folder = sweep.parent / f"sweep {one[:50]}".replace("/", " ")
        shutil.copytree(sweep, folder)
        layers = {"lstm": one, "gru": two, "rnn": three}
        results.assign(**{
            "task.kind": [four if seed % 2 else five for seed in results["seed"]],
            "cell.layer": results["cell"].map(layers), "cell.a$b": results["cell"],
        }).to_parquet(folder / "results.parquet")  # fmt: skip
        timing.assign(**{"cell.layer": timing["cell"].map(layers)}).to_parquet(folder / "timing.parquet")
        with monkeypatch.context() as patched:
            if "😀 漢字" not in names:  # with these the files are written
                patched.setattr("reports.sections.content.save", drawn)
            assert_harmless(write_report([folder]).path.read_text())
    assert capsys.readouterr() == ("", "")
    for name in (r"$\frac{1}{$", "$x$", "a$b$c"):
        assert any(name in text for text in texts), name


def test_texts_of_runs_are_shown_and_not_obeyed(sweep: Path):
    paths = sorted((sweep / "runs").glob("*/result.json"))
    for first in range(0, len(TEXTS), len(paths) // 2):
        texts = TEXTS[first : first + len(paths) // 2]
        for path, text in zip(paths, texts, strict=False):
            result = json.loads(path.read_text())
            path.write_text(json.dumps(result | {"status": "failed", "solved": False, "error": text}))
        (sweep / "sweep.json").write_text(json.dumps({"commands": [*texts, "```", "# heading\n<script>"]}))
        assert_harmless(write_report([sweep]).path.read_text())


def test_links_are_not_followed(tmp_path: Path, sweep: Path):
    secret = tmp_path / "secret"
    secret.write_text("commands: secret")
    for name in ("results.parquet", "curves.parquet", "timing.parquet", "sweep.json"):
        (sweep / name).unlink(missing_ok=True)
        (sweep / name).symlink_to(secret)
    folder = next((sweep / "runs").iterdir())
    for name in ("config.yaml", "metrics.jsonl", "result.json"):
        (folder / name).unlink()
        (folder / name).symlink_to(secret)
    elsewhere = tmp_path / "elsewhere"
    next((sweep / "runs").glob("gru-copy*")).rename(elsewhere)
    (sweep / "runs" / "gru-copy-link").symlink_to(elsewhere)
    report = write_report([sweep]).path.read_text()
    assert "secret" not in report
    assert "16 runs" in report
    assert f"- runs/{folder.name}/result.json: is not a plain file" in report


@pytest.mark.parametrize(
    "text", [*TEXTS[1:], *NAMES, "# no heading", "- no list", "1. no list", "+", "&lt;", "[a]: b", "[a][b]", "~~a~~"]
)
def test_escaped_text_is_read_as_it_was(text: str):
    """On a line, between others; of what cannot be printed, spaces."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(escape(text))
    shown = [token.content for part in tokens for token in part.children or [] if token.type != "softbreak"]
    assert {token.type for token in tokens} <= {"paragraph_open", "inline", "paragraph_close"}
    kinds = {token.type for part in tokens for token in part.children or []}
    assert kinds <= {"text", "text_special"}
    said = "".join(c if c.isprintable() else " " for c in text)
    assert "".join(shown) == " ".join(said.split())


def test_a_report_is_not_written_where_a_link_leads(tmp_path: Path, sweep: Path):
    (tmp_path / "mine").mkdir()
    (sweep / "report").symlink_to(tmp_path / "mine")
    with pytest.raises(ConfigError, match="is a link"):
        write_report([sweep])
    assert not list((tmp_path / "mine").iterdir())
    assert write_report([sweep], tmp_path / "mine").path.exists()


@pytest.mark.parametrize(("key", "drawn"), [("rate", 1), ("/rate", 0), ("r" * 300, 0)])
def test_a_selected_setting_names_no_file_elsewhere(sweep: Path, key: str, drawn: int):
    write_frames(sweep)
    shutil.rmtree(sweep / "runs")
    results = pd.read_parquet(sweep / "results.parquet")
    column, selecting = f"training.{key}", results["seed"] < 2
    both = [results.assign(**{column: value, "tuned": column, "selection": selecting}) for value in (0.1, 0.2)]
    pd.concat(both).to_parquet(sweep / "results.parquet")
    assert f"{key} was selected" in write_report([sweep]).path.read_text()
    assert len(list((sweep / "report").glob("sensitivity_*.png"))) == drawn


def test_more_than_a_report_can_show_is_a_line(sweep: Path):
    write_frames(sweep)
    shutil.rmtree(sweep / "runs")
    results = pd.read_parquet(sweep / "results.parquet").iloc[:1]
    many = pd.concat([results] * 300, ignore_index=True)
    many.assign(cell=[f"c{number}" for number in range(300)]).to_parquet(sweep / "results.parquet")
    with pytest.raises(LoadError, match="300 contenders are more than a report shows"):
        write_report([sweep])


def test_long_values_tell_contenders_apart_and_make_no_wide_tables(sweep: Path):
    for seed, value in enumerate(("x" * 200 + "1", "x" * 200 + "2")):
        write_run(sweep, "lstm", "adding", 10 + seed, 500, hidden_size=8)
        (run,) = (sweep / "runs").glob(f"lstm-adding-s{10 + seed}-*")
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["cell"]["style"] = value
        (run / "config.yaml").write_text(yaml.safe_dump(config))
    write_run(sweep, "gru", "adding", 20, None, status="failed", error="e" * 1_000_000)
    assert len([name for name in set(load(sweep).results["contender"]) if "xxx" in name]) == 2
    assert len(write_report([sweep]).path.read_bytes()) < 100_000


def test_a_pipe_is_not_waited_for(sweep: Path):
    os.mkfifo(sweep / "results.parquet")
    folder = next((sweep / "runs").iterdir())
    (folder / "result.json").unlink()
    os.mkfifo(folder / "result.json")
    assert "17 runs" in write_report([sweep]).path.read_text()


def test_yaml_that_would_execute_or_explode_is_refused(tmp_path: Path, sweep: Path):
    first, second, *_ = sorted((sweep / "runs").iterdir())
    (first / "config.yaml").write_text(f"!!python/object/apply:os.mkdir [{tmp_path / 'executed'}]")
    (second / "config.yaml").write_text("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n")
    assert "16 runs" in write_report([sweep]).path.read_text()
    assert not (tmp_path / "executed").exists()
