"""Forecasts and texts: windows stay on their side of the border, and numbers are what they are by hand."""

import csv
import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch

from tasks import Characters, Forecast, Regress

ROWS = 100


@pytest.fixture
def series(tmp_path):
    """A series whose values are the numbers of their rows."""
    return write(tmp_path / "my.csv", [[i, i] for i in range(ROWS)])


def write(path, rows, header=("a", "b")):
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(header)
        out.writerows(rows)
    return str(path)


def whole(part):
    return part.take(torch.arange(len(part)))


def in_rows(task, batch):
    """Inputs (T, B) and targets (B, horizon) as numbers of rows: the first of two targets was standardised so."""
    training = np.arange(60)
    return batch.inputs[..., 0], batch.targets[:, ::2] * training.std() + training.mean()


@pytest.mark.parametrize("horizon", [1, 3])
def test_windows_stay_on_their_side(series, horizon):
    task = Forecast(series, length=7, horizon=horizon, standardise=False)
    borders = [0, 60, 80, 100]
    asked = []
    for k, part in enumerate((task.training, task.validation, task.testing)):
        shown, targets = in_rows(task, whole(part))
        first, last = targets.min().round().item(), targets.max().round().item()
        assert (first, last) == (max(7, borders[k]), borders[k + 1] - 1)
        torch.testing.assert_close(targets[:, 0], shown[-1] + 1)  # windows end just before what they ask for
        torch.testing.assert_close(targets[:, -1], shown[-1] + horizon)
        torch.testing.assert_close(shown[0], shown[-1] - 6)
        asked.append({round(value) for value in targets.flatten().tolist()})
        assert shown.max() < borders[k + 1] - 1
    assert not asked[0] & asked[1]
    assert not asked[1] & asked[2]


def test_what_comes_after_training_changes_nothing_in_it(tmp_path):
    generator = np.random.default_rng(0)
    values = generator.normal(size=(ROWS, 2))
    before = Forecast(write(tmp_path / "one.csv", values), length=5)
    values[60:] = 1e3 * generator.normal(size=(40, 2))
    after = Forecast(write(tmp_path / "two.csv", values), length=5)
    for one, other in zip(vars(whole(before.training)).values(), vars(whole(after.training)).values(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(before.scale, after.scale)
    inputs = before.training.inputs[:60]
    torch.testing.assert_close(inputs.mean(dim=0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(inputs.std(dim=0, correction=0), torch.ones(2), atol=1e-6, rtol=0)


@pytest.mark.parametrize("strategy", ["zero", "forward_fill", "mask"])
def test_gaps_are_filled_from_the_past_alone(tmp_path, strategy):
    """Whatever comes later, what a network is shown stays."""
    rows = [[i % 7, "" if i % 5 == 3 else i % 3] for i in range(ROWS)]
    before = Forecast(write(tmp_path / "one.csv", rows), length=4, strategy=strategy)
    rows[50:] = [[a * 2, 9] for a, _ in rows[50:]]
    after = Forecast(write(tmp_path / "two.csv", rows), length=4, strategy=strategy, standardise=True)
    unscaled = [Forecast(each, length=4, strategy=strategy, standardise=False).training.inputs for each in (
        str(tmp_path / "one.csv"), str(tmp_path / "two.csv"))]  # fmt: skip
    assert torch.equal(unscaled[0][:50], unscaled[1][:50])
    assert before.input_size == after.input_size == (4 if strategy == "mask" else 2)


@pytest.mark.parametrize("strategy", ["interpolation", "deletion"])
def test_strategies_that_look_ahead_are_refused(series, strategy):
    with pytest.raises(ValueError, match="for a forecast"):
        Forecast(series, strategy=strategy)


def test_series_that_nothing_tells_apart_are_refused(tmp_path):
    for shop_rows in (2, 3):
        file = tmp_path / f"{shop_rows}.csv"
        rows = [
            f"2024-{1 + day // 28:02}-{1 + day % 28:02},{shop},{day}\n"
            for day in range(60)
            for shop in range(shop_rows)
        ]
        file.write_text("when,shop,sales\n" + "".join(rows))
        said = "row 3, column when: '2024-01-01' is the time of another row, too; set task.sequence"
        with pytest.raises(ValueError, match=said):
            Forecast(str(file), time="when", length=4)
        assert Forecast(str(file), time="when", sequence="shop", length=4).facts()["series"] == shop_rows


def test_windows_that_ask_for_a_missing_value_are_left_out(tmp_path):
    rows = [[i, ""] if i == 40 else [i, i] for i in range(ROWS)]
    task = Forecast(write(tmp_path / "my.csv", rows), length=7, target="b", inputs="a")
    assert len(task.training) == 60 - 7 - 1
    assert task.output_size == task.input_size == 1


def test_each_of_several_series_is_cut_by_time(tmp_path):
    rows = [[name, t, 100 * k + t] for t in reversed(range(50)) for k, name in enumerate("xy")]
    path = write(tmp_path / "my.csv", rows, ("series", "day", "value"))
    task = Forecast(path, sequence="series", time="day", length=5, standardise=False)
    shown = whole(task.training).inputs[..., 0]
    assert {int(value) // 100 for value in shown[-1].tolist()} == {0, 1}
    assert (shown[-1] - shown[0] == 4).all()  # no window has rows of two series
    assert max(value % 100 for value in shown.flatten().tolist()) == 28
    assert min(value % 100 for value in whole(task.testing).inputs[-1, :, 0].tolist()) == 39


def test_baselines_and_scores_by_hand(tmp_path):
    generator = np.random.default_rng(1)
    values = np.cumsum(generator.normal(size=ROWS))
    task = Forecast(write(tmp_path / "my.csv", values[:, None], ["a"]), length=6)
    facts = task.facts()
    asked, before = values[80:], values[79:-1]
    assert facts["baseline/last value/rmse"] == pytest.approx(np.sqrt(np.mean((asked - before) ** 2)), rel=1e-4)
    assert facts["baseline/last value/mae"] == pytest.approx(np.mean(np.abs(asked - before)), rel=1e-4)
    assert facts["baseline/mean/rmse"] == pytest.approx(np.sqrt(np.mean((asked - values[:60].mean()) ** 2)), rel=1e-4)
    assert facts["baseline/mean/r2"] == pytest.approx(
        1 - np.mean((asked - values[:60].mean()) ** 2) / asked.var(), rel=1e-4
    )
    validated = np.mean((values[60:80] - values[:60].mean()) ** 2) / values[:60].var()
    assert task.baseline_loss == pytest.approx(validated, rel=1e-4)
    batch = task.test_part(torch.device("cpu"))
    outputs = torch.zeros(6, 20, 1)
    outputs[-1] = batch.targets
    assert task.loss(outputs, batch) == 0


def test_a_linear_series_is_forecast_by_a_line(tmp_path):
    rows = [[math.sin(0.3 * i)] for i in range(200)]
    facts = Forecast(write(tmp_path / "my.csv", rows, ["a"]), length=8).facts()
    assert facts["baseline/linear on the last steps/r2"] > 0.95 > facts["baseline/last value/r2"]


def test_too_few_rows(series):
    with pytest.raises(ValueError, match=r"my\.csv: 100 rows leave no training window of 60 steps"):
        Forecast(series, length=60)


def test_regress(tmp_path):
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(200, 6, 2))
    targets = 100 + 10 * inputs[:, -1, 0] + generator.normal(size=200)
    np.savez(tmp_path / "my.npz", inputs=inputs, targets=targets)
    task = Regress(str(tmp_path / "my.npz"))
    assert task.training.targets.mean().item() == pytest.approx(0, abs=1e-5)
    assert task.training.targets.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert task.facts()["baseline/linear on the last steps/rmse"] == pytest.approx(1, rel=0.3)
    assert task.facts()["baseline/mean/rmse"] == pytest.approx(10, rel=0.3)
    assert task.baseline_loss == pytest.approx(task.validation.targets.square().mean().item())


def test_targets_that_are_no_numbers(tmp_path):
    path = write(tmp_path / "my.csv", [[1, 2], [3, "many"], *[[5, 6]] * 20], ["t0", "target"])
    with pytest.raises(ValueError, match=r"my\.csv: row 3, column target: 'many' is not a number"):
        Regress(path)


TEXT = "the cat sat on the mat; the dog sat on the log. " * 20


def text_of(tmp_path, text, name="my.txt"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return str(tmp_path / name)


def read_back(task, indices):
    return "".join(task.symbols[i] for i in indices.tolist())


def test_text_is_cut_in_order_and_each_character_asked_for_once(tmp_path):
    task = Characters(text_of(tmp_path, TEXT), length=10)
    n = len(TEXT)
    cut = [TEXT[: round(0.8 * n)], TEXT[round(0.8 * n) : round(0.9 * n)], TEXT[round(0.9 * n) :]]
    for text, part in zip(cut, (task.training, task.validation, task.testing), strict=True):
        assert read_back(task, part.characters) == text
    batch = whole(task.testing)
    asked = read_back(task, batch.targets.T.flatten())
    assert asked == cut[2][1 : 1 + len(asked)]
    assert len(cut[2]) - 1 - len(asked) < 10
    assert read_back(task, batch.inputs.argmax(dim=-1)[:, 1]) == cut[2][10:20]
    drawn = task.sample(5, torch.Generator().manual_seed(0))
    for k in range(5):
        assert read_back(task, drawn.inputs.argmax(dim=-1)[:, k]) + read_back(task, drawn.targets[-1:, k]) in cut[0]


def test_context_is_read_and_not_asked_for(tmp_path):
    """The protocol of Bai et al. (2018): of 400 characters the last 320, and windows that overlap by 80."""
    task = Characters(text_of(tmp_path, TEXT), length=10, context=4)
    batch = whole(task.testing)
    assert read_back(task, batch.targets[4:].T.flatten()) in TEXT
    outputs = torch.randn(10, batch.inputs.shape[1], task.output_size)
    loss = task.loss(outputs, batch)
    outputs[:4] = 7.0
    assert task.loss(outputs, batch) == loss
    assert task.score(outputs, batch)["bits"].item() == pytest.approx(loss.item() / math.log(2), rel=1e-6)


def test_frequencies_by_hand(tmp_path):
    task = Characters(text_of(tmp_path, "abab" * 20 + "aabb" * 20), length=5, test=0.25, validation=0.25)
    training, test = "abab" * 20, "aabb" * 10
    counts = Counter(itertools.pairwise(training))
    asked = list(itertools.pairwise(test))
    p = {pair: (counts[pair] + 1) / (sum(counts[pair[0], other] for other in "ab") + 2) for pair in asked}
    bits = task.facts()["baseline/frequencies after one character/bits"]
    assert bits == pytest.approx(-np.mean([math.log2(p[pair]) for pair in asked]))


def test_characters_that_training_does_not_know(tmp_path):
    other = text_of(tmp_path, "the zebra! " * 10, "test.txt")
    task = Characters(text_of(tmp_path, "the cat sat on the mat " * 10), test_file=other, length=5)
    assert task.facts()["unknown"] == len(set("zbr!"))
    assert task.output_size == len(task.symbols) + 1
    assert (task.testing.characters == len(task.symbols)).sum() == 40


def test_texts_that_do_not_do(tmp_path):
    (tmp_path / "bytes.txt").write_bytes(b"abc\xff")
    with pytest.raises(ValueError, match=r"bytes\.txt: is not UTF-8 text \(byte 3\)"):
        Characters(str(tmp_path / "bytes.txt"))
    with pytest.raises(ValueError, match=r"leave no validation window of 100"):
        Characters(text_of(tmp_path, "short " * 30))


def test_a_column_of_that_name_tells_series_apart(tmp_path):
    rows = [f"{name},{number}\n" for name in "ab" for number in range(30)]
    (tmp_path / "my.csv").write_text("sequence,v\n" + "".join(rows))
    task = Forecast(str(tmp_path / "my.csv"), length=4)
    assert (task.facts()["series"], task.input_size) == (2, 1)
