"""Verdicts on claims, held to computations by hand: all signs tried, binomial sums, Holm's steps."""

import itertools
import json
import math
import re
import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.record.asked import fix_looks, record_asked
from bench.record.errors import ConfigError
from bench.record.files import Damaged
from bench.record.rules import RULES_FILE, fix_claims, read_rules
from reports.claims import find_claims, parse_claims, read_claims
from reports.load import load
from reports.report import write_report
from reports.sections import claims
from reports.statistics import ALPHA, Contrast, Evidence, Looks, Times, growth, median, p_of_verdicts, ratio, share
from reports.verdicts import REFUTED, SUPPORTED, judge, verdict_of
from tests.reports.conftest import write_run, write_timing

INFINITE = math.inf
GALLERY = Path(__file__).parents[2] / "reports" / "gallery" / "claims_quick"
RULES = """
otherwise: {cell.forget_bias: 1.0}
claims:
  slow:
    claim: A GRU needs more steps than an LSTM.
    source: nobody
    part: all
    needs: any
    tests: [{statistic: steps_to_solve, of: {cell: gru}, over: {cell: lstm},
      where: {task: [adding, copy]}, above: 1.0, refuted_below: 1.1}]
  fails:
    claim: Plain networks fail.
    needs: all
    tests: [{statistic: share_solved, of: {cell: rnn},
      where: {task: [adding, copy]}, below: 0.5, refuted_above: 0.5}]
  same:
    claim: Forget biases make no difference.
    needs: all
    tests: [{statistic: steps_to_solve, of: {cell: lstm, cell.forget_bias: 0.0}, over: {cell: lstm},
      where: {task: adding}, within: [0.8, 1.25]}]
  smaller:
    claim: A GRU is smaller.
    needs: all
    tests: [{statistic: parameters, of: {cell: gru}, over: {cell: lstm},
      where: {task: adding}, below: 1.0, refuted_above: 0.95}]
  faster:
    claim: A GRU is faster.
    needs: all
    tests: [{statistic: step_time, of: {cell: gru}, over: {cell: lstm},
      where: {task: adding}, below: 1.0, refuted_above: 0.95}]
  unknown:
    claim: Nobody ran this.
    needs: all
    tests: [{statistic: share_solved, of: {cell: nobody}, above: 0.5, refuted_below: 0.5}]
"""
SEEDS = 10
TASKS = ("adding", "copy")
GRU = [300, 350, 250, 400, 300, 300, 350, 250, 300, 350]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "tested"
    for seed in range(SEEDS):
        for task in ("adding", "copy"):
            write_run(folder, "rnn", task, seed, 500 if task == "copy" and seed < 5 else None)
            write_run(folder, "lstm", task, seed, 700 + 50 * (seed % 3), cell_options={"forget_bias": 1.0})
            write_run(
                folder, "gru", task, seed, GRU[seed] if task == "adding" else 700 + 50 * (seed % 4), parameters=12_993
            )
        write_run(folder, "lstm", "adding", seed, 700 + 50 * ((seed + 1) % 3), cell_options={"forget_bias": 0.0})
    write_timing(folder)
    (folder / "sweep.json").write_text(json.dumps({"commands": ["python -m bench +sweep=tested"]}))
    assert fix_claims(folder, RULES, 0)
    return folder


@pytest.mark.drawn
def test_times_alone_have_a_report(sweep, tmp_path):
    """As of a part that trains nothing."""
    shutil.rmtree(sweep / "runs")
    said = write_report([sweep], tmp_path / "report").path.read_text()
    assert "A GRU is faster." in said


def test_settings_selected_for_each_cell_do_not_set_what_is_compared_apart(tmp_path):
    folder, best = tmp_path / "tuned", {"gru": 0.01, "lstm": 0.003}
    for cell, rate in best.items():
        for seed in range(SEEDS):
            write_run(
                folder, cell, "adding", seed, GRU[seed] * (2 if cell == "gru" else 1), training={"learning_rate": rate}
            )
        for tried in best.values():
            write_run(folder, cell, "adding", 1000, 300 if tried == rate else None, training={"learning_rate": tried})
    selection = {"selection_seeds": [1000], "search": ["training.learning_rate"], "reference": {}}
    (folder / "sweep.json").write_text(json.dumps({"commands": ["python -m bench +sweep=tuned"], "report": selection}))
    assert fix_claims(folder, RULES, 0)
    row, not_run = judge(load(folder))["slow"]
    assert (not_run.finding.problem, not_run.verdict) == ("copy", "not run")
    assert (row.finding.problem, row.finding.subject, row.verdict) == ("adding", "gru / lstm", "supported")


def splits_tried(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Return the shares of all splits in which ranks of the first group sum to at least, and at most, theirs."""
    ranks = stats.rankdata(np.concatenate([a, b]))
    sums = np.array([sum(chosen) for chosen in itertools.combinations(ranks, len(a))])
    found = ranks[: len(a)].sum()
    return np.mean(sums >= found - 1e-9), np.mean(sums <= found + 1e-9)


def test_a_ratio_is_evidence_as_its_contrast_says():
    contrast = Contrast(Times(np.arange(5.0, 13)), Times(np.arange(1.0, 9)))
    evidence = ratio(Looks(contrast, [contrast]))
    assert evidence.interval == contrast.interval
    for x in (0.8, 1.0, 2.0):
        assert (evidence.p_above(x), evidence.p_below(x)) == (contrast.p_above(x), contrast.p_below(x))
    assert evidence.testable
    alike = Contrast(Times(np.ones(8)), Times(np.ones(8)))
    assert not ratio(Looks(alike, [alike])).testable


def test_shares_are_tested_by_binomial_sums():
    evidence = share(2, 11)
    tail = sum(math.comb(11, k) * 0.5**11 for k in range(3))
    assert evidence.p_below(0.5) == pytest.approx(tail)
    assert evidence.p_above(0.5) == pytest.approx(1 - sum(math.comb(11, k) * 0.5**11 for k in range(2)))


def test_medians_are_tested_by_signs():
    evidence = median([0.91, 0.97, 0.93, 0.99, 0.95, 0.2, 0.96])
    assert evidence.interval.estimate == 0.95
    assert evidence.p_above(0.9) == pytest.approx((math.comb(7, 6) + 1) / 2**7)
    assert evidence.p_below(0.9) == pytest.approx(1 - 1 / 2**7)
    assert evidence.p_above(0.95) == pytest.approx(sum(math.comb(7, k) for k in range(3, 8)) / 2**7)  # a tie is no sign


def test_growth_is_least_squares_on_logarithms():
    x = np.repeat([100, 200, 400, 800], 5)
    y = 3 * x**1.5 * np.exp(np.random.default_rng(0).normal(0, 0.05, len(x)))
    evidence = growth(x, y)
    assert evidence is not None
    slope, _ = np.polyfit(np.log(x), np.log(y), 1)
    assert evidence.interval.estimate == pytest.approx(slope)
    assert evidence.p_above(1.4) < 1e-3 < 0.5 < evidence.p_above(1.6)
    assert growth([1, 2], [1, 2]) is None


def test_each_verdict_counts_two_sided():
    """So that neither is reached while the interval holds a border, and both together are false one time in twenty."""
    touching = p_of_verdicts(share(0, 10), (-INFINITE, 0.5), (0.5, INFINITE))
    assert touching == pytest.approx((2 * 0.5**10, 1.0))
    within = p_of_verdicts(share(5, 10), (0.2, 0.8), None)
    assert within[0] == pytest.approx(2 * share(5, 10).p_above(0.2), rel=0.2)
    assert within[1] == 1
    for evidence in (share(9, 10), median(np.arange(1, 11) / 10), growth([1, 2, 4, 8], [1, 2.3, 4, 9])):
        low, high = evidence.interval.low, evidence.interval.high
        for border in np.linspace(low, high, 9)[1:-1]:
            assert min(p_of_verdicts(evidence, (border, INFINITE), (-INFINITE, border))) > 0.05


@pytest.mark.parametrize("x", [0.95, 1.0, 1.05, 1.1])
def test_false_verdicts_are_as_rare_as_promised(x):
    """Between the regions, and on their borders, both verdicts are false."""
    generator = np.random.default_rng(0)
    false = 0
    for _ in range(300):
        a, b = (factor * np.exp(generator.normal(0.0, 0.3, 8)) for factor in (x, 1.0))
        contrast = Contrast(Times(a), Times(b))
        evidence: Evidence = ratio(Looks(contrast, [contrast]))
        false += min(p_of_verdicts(evidence, (max(x, 1.1), INFINITE), (-INFINITE, min(x, 1.0)))) <= 0.05
    assert false <= stats.binom.ppf(0.999, 300, 0.05)


def test_what_lies_between_the_numbers_of_a_rule_is_in_neither_zone():
    for written in ("above: 1.0, refuted_below: 1.1", "above: 1.1, refuted_below: 1.0"):
        test, *_ = parse_claims(RULES.replace("above: 1.0, refuted_below: 1.1", written), "here").claims[0].tests
        assert (test.supported, test.refuted) == ((1.1, INFINITE), (-INFINITE, 1.0))


def found_on(judged, name):
    return judged[name][0].finding.problem


def test_a_sweep_is_judged_as_by_hand(sweep):
    stored = load(sweep)
    judged = judge(stored)
    found = {(name, row.finding.problem): row for name, rows in judged.items() for row in rows}
    results = stored.results[~(stored.results["cell.forget_bias"] == 0.0).fillna(False)]
    p = {}
    for task in ("adding", "copy"):
        pair = [
            results[(results["cell"] == cell) & (results["task"] == task)]
            .sort_values("seed")["steps_to_solve"].astype(float).to_numpy()
            for cell in ("gru", "lstm")
        ]  # fmt: skip
        if task == "adding":  # refuted below 1
            p["slow", task] = 2 * splits_tried(*pair)[1]
        solved = int(results[(results["cell"] == "rnn") & (results["task"] == task)]["solved"].sum())
        tails = [sum(math.comb(10, k) for k in ks) / 2**10 for ks in (range(solved + 1), range(solved, 11))]
        p["fails", task] = min(1.0, 2 * min(tails))
    for key, value in p.items():
        assert found[key].p == pytest.approx(value), key
    # Refuted if both tests refute, of which that on copy does not; supported if one of two is.
    slow = [p_of_verdicts(found["slow", task].finding.evidence, (1.1, INFINITE), (-INFINITE, 1.0)) for task in TASKS]
    fails = [p_of_verdicts(found["fails", task].finding.evidence, (-INFINITE, 0.5), (0.5, INFINITE)) for task in TASKS]
    same = found["same", "adding"].p
    faster = found["faster", found_on(judged, "faster")].p
    claims = [
        min(2 * min(s for s, _ in slow), max(r for _, r in slow)),
        min(max(s for s, _ in fails), 2 * min(r for _, r in fails)),
        same, faster, 1.0,
    ]  # fmt: skip
    level = max(k for k in range(1, 6) if k == 1 or sorted(claims)[k - 1] <= 0.05 * k / 5)
    assert found["same", "adding"].p_corrected == pytest.approx(min(1.0, same * 5 / level))
    for (supports, refutes), task in zip(slow, TASKS, strict=True):
        corrected = min(1.0, min(2 * supports, refutes) * 5 / level)
        assert found["slow", task].p_corrected == pytest.approx(corrected)
    for (supports, refutes), task in zip(fails, TASKS, strict=True):
        assert found["fails", task].p_corrected == pytest.approx(min(1.0, min(supports, 2 * refutes) * 5 / level))
    assert found["slow", "adding"].verdict == "refuted"
    assert found["fails", "adding"].verdict == "supported"
    assert found["fails", "copy"].verdict == "not decidable"
    verdicts = {
        claim.name: verdict_of(claim, [row.verdict for row in judged[claim.name]]) for claim in stored.claims.claims
    }
    assert verdicts["smaller"] == "supported"
    assert verdicts["faster"] == "refuted"  # 1.5 times as long, whatever the round
    assert verdicts["fails"] == "not decidable"
    assert verdicts["unknown"] == "not run"


MEMORY = """
claims:
  read:
    claim: It cannot be read off.
    tests: [{statistic: memory, moment: end, of: {cell: gru, solved: true}, where: {task: adding}, below: 0.8,
      refuted_above: 0.8}]
"""


def test_memory_is_a_number_a_run_of_those_that_are_asked_for(sweep, tmp_path):
    (sweep / RULES_FILE).write_text(MEMORY)
    stored = load(sweep)
    runs = stored.results[(stored.results["cell"] == "gru") & (stored.results["task"] == "adding")]
    unsolved = stored.results["run_id"] == runs["run_id"].iloc[0]
    stored = replace(
        stored,
        results=stored.results.assign(solved=stored.results["solved"] & ~unsolved),
        readings=pd.DataFrame(
            [
                {"run_id": run, "kind": "memory", "part": "state", "moment": moment, "x": float(x), "value": value}
                for number, run in enumerate(runs["run_id"])
                for moment, values in {"start": [1.0, 0.0], "end": [1.0, 0.9 + 0.01 * number]}.items()
                for x, value in enumerate(values)
            ]
        ),
    )
    (row,) = judge(stored)["read"]
    assert row.finding.evidence.n == 9  # the first was not solved
    assert row.finding.evidence.interval.estimate == pytest.approx((1.0 + 0.95) / 2)
    assert row.p == pytest.approx(2 * 2**-9)  # regions that touch
    assert row.verdict == "refuted"


def test_a_measurement_before_training_counts_once_whatever_the_learning_rate(sweep):
    (sweep / RULES_FILE).write_text(MEMORY.replace("end", "start").replace(", solved: true", ""))
    stored = load(sweep)
    gru = (stored.results["cell"] == "gru") & (stored.results["task"] == "adding")
    again = stored.results[gru].assign(**{"training.learning_rate": 0.5}, problem="adding, learning_rate 0.5")
    again["run_id"] += "-again"
    readings = pd.DataFrame(
        {"run_id": run, "kind": "memory", "part": "state", "moment": "start", "x": 0.0, "value": 0.1 + 0.01 * number}
        for runs in (stored.results[gru], again)
        for number, run in enumerate(runs["run_id"])
    )
    both = pd.concat([stored.results, again], ignore_index=True)
    (row,) = judge(replace(stored, results=both, readings=readings))["read"]
    assert row.finding.problem == "adding"
    assert row.finding.evidence.n == gru.sum()


def test_where_one_test_suffices_what_speaks_against_the_claim_is_said():
    rows = [SimpleNamespace(verdict=v, finding=SimpleNamespace(problem=p, within="")) for v, p in
            (("supported", "adding"), ("refuted", "copy"), ("not decidable", "sorting"))]  # fmt: skip
    assert claims._whole_verdict(SimpleNamespace(needs="any"), rows) == "supported (not on copy)"
    assert claims._whole_verdict(SimpleNamespace(needs="all"), rows) == "refuted"
    assert claims._whole_verdict(SimpleNamespace(needs="any"), rows[1:]) == "not decidable"


def test_how_many_of_the_networks_looked_into_had_learned_is_said_unless_all_had():
    results = pd.DataFrame({"run_id": ["a", "b", "c"], "solved": [True, False, True]})

    def said(*runs: str, moment: str = "end") -> str:
        finding = SimpleNamespace(evidence=1, runs=runs, subject="lstm", problem="adding")
        row = SimpleNamespace(test=SimpleNamespace(statistic="gradient_decay", moment=moment), finding=finding)
        return claims._probed(SimpleNamespace(stored=SimpleNamespace(results=results)), [row])

    assert said("a", "b").endswith("these had solved their task: lstm on adding, 1 of 2.")
    assert said("a", "c") == said("b", moment="start") == ""


GROWTH = """
claims:
  square:
    claim: What attention adds grows with the square.
    part: scaling
    tests: [{statistic: time_growth, of: {cell: gru}, less: {cell: lstm}, where: {task: adding}, within: [1.8, 2.2]}]
"""


@pytest.mark.drawn
def test_the_growth_of_what_is_added_is_that_without_the_rest(sweep, tmp_path):
    (sweep / RULES_FILE).write_text(GROWTH)
    steps = pd.read_parquet(sweep / "timing.parquet").query("task == 'adding'")
    longer = [
        steps.assign(
            time_steps=length,
            group=str(length),
            value=[
                float(2 * length + (length**2 if cell == "gru" else 0) * 1.01 ** (number % 3))
                if quantity == "training_step"
                else value
                for cell, quantity, number, value in steps[["cell", "quantity", "round", "value"]].itertuples(
                    index=False
                )
            ],
        )
        for length in (100, 200, 400)
    ]
    pd.concat(longer).to_parquet(sweep / "timing.parquet")
    (row,) = judge(load(sweep))["square"]
    assert row.finding.evidence.interval.estimate == pytest.approx(2.0)
    assert row.verdict == "supported"
    text = write_report([sweep], tmp_path / "report").path.read_text()
    assert "claim_square_runs.png" in text
    assert (tmp_path / "report" / "claim_square_runs.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("needs", "verdicts", "expected"),
    [
        ("all", ["supported", "supported"], "supported"),
        ("all", ["supported", "refuted"], "refuted"),
        ("all", ["supported", "not decidable"], "not decidable"),
        ("any", ["refuted", "supported"], "supported"),
        ("any", ["refuted", "refuted"], "refuted"),
        ("any", ["refuted", "not decidable"], "not decidable"),
        ("all", ["supported", "not run"], "not run"),
        ("all", ["refuted", "not run"], "refuted"),
        ("any", ["refuted", "not run"], "not run"),
        ("any", ["not decidable", "not run"], "not decidable"),
        ("all", ["supported", "not run", "not decidable"], "not decidable"),
        ("all", ["supported", "not testable by this rule"], "not testable by this rule"),
        ("all", [], "not run"),
        ("all", ["not run", "not run"], "not run"),
        ("any", ["not run"], "not run"),
        ("any", ["not run", "not testable by this rule"], "not testable by this rule"),
        ("any", ["not decidable", "not testable by this rule"], "not decidable"),
    ],
)
def test_a_claim_takes_all_of_its_tests_or_any(needs, verdicts, expected):
    claim = replace(parse_claims(RULES, "here").claims[0], needs=needs)
    assert verdict_of(claim, verdicts) == expected


@pytest.mark.drawn
def test_the_report_says_what_was_found_and_how_to_run_it(sweep, tmp_path):
    text = write_report([sweep], tmp_path / "report").path.read_text()
    assert re.search(r"\| A GRU is smaller\. +\| supported ", text)
    assert "fixed before the first run" in text
    assert "`python -m bench +sweep=tested part=all`" in text
    assert "no such runs" in text
    for name in re.findall(r"\]\((claim_\w+\.(?:png|svg))\)", text):
        assert (tmp_path / "report" / name).stat().st_size > 0
    again = write_report([sweep], tmp_path / "again").path.read_text()
    assert again == text


def test_the_report_says_why_there_are_so_many_seeds(sweep):
    """Seeds that were added since a claim was open make its p-values too small, unless looks were planned."""
    asked = json.loads((sweep / "sweep.json").read_text())
    (sweep / "sweep.json").write_text(json.dumps(asked | {"added": [5]}))
    report = write_report([sweep]).path.read_text()
    assert "**Seeds were added after the outcomes of 5 of them had been shown.**" in report
    fix_looks(sweep, [list(range(6)), list(range(6, 9))])
    report = write_report([sweep]).path.read_text()
    assert "While claims were open, seeds were added at looks after 6, 9 seeds." in report
    assert "7 have seeds that no look planned" in report
    assert re.search(r"The sweep took 70 runs instead of \d+\.", report)
    assert "more seeds are planned" not in report  # the last look is made
    (sweep / "looks.json").unlink()
    fix_looks(sweep, [list(range(6)), list(range(6, 20)), [20]])
    report = write_report([sweep]).path.read_text()
    assert re.search(r"Next: \d claims? (is|are) undecided, and more seeds are planned; the same command", report)
    record_asked(sweep, "a", runs={"gru-adding-s99": ["gru", "adding", 99]})
    report = write_report([sweep]).path.read_text()
    assert re.search(r"So far the sweep has 70 runs; at all looks it would have \d+\.", report)


def test_rules_stand_once_runs_are_finished(tmp_path):
    assert fix_claims(tmp_path, RULES, 0)
    other = RULES.replace("0.5", "0.6")
    assert fix_claims(tmp_path, other, 0)  # nobody can have looked
    assert not fix_claims(tmp_path, RULES, 3)
    assert "0.6" in (tmp_path / RULES_FILE).read_text()
    assert fix_claims(tmp_path, other, 3)
    late = tmp_path / "late"
    late.mkdir()
    assert "0.6" in read_rules(tmp_path / RULES_FILE)
    assert fix_claims(late, RULES, 7)
    assert parse_claims((late / RULES_FILE).read_text(), "here").finished_before == 7


def test_rules_that_were_changed_by_hand_are_damaged(sweep, tmp_path):
    path = tmp_path / RULES_FILE
    fix_claims(tmp_path, RULES, 0)
    path.write_text(path.read_text().replace("0.5", "0.6", 1))
    with pytest.raises(Damaged, match=r"rules\.yaml: its checksum does not match"):
        read_claims(path)
    shutil.copytree(sweep, tmp_path / "copy")
    shutil.copy(path, tmp_path / "copy")
    stored = load(tmp_path / "copy")
    assert stored.claims is None
    assert ["rules.yaml: its checksum does not match" in each for each in stored.wrong] == [True]
    # Kept anew, they say after how many runs that was; and those of earlier versions have no checksum.
    assert fix_claims(tmp_path, RULES, 7)
    assert read_claims(path).finished_before == 7
    path.write_text(path.read_text().rpartition("sha256")[0])
    assert read_claims(path).finished_before == 7


SHIPPED = sorted(each.name.removesuffix(".yaml") for each in files("reports.claims").iterdir() if ".yaml" in each.name)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_claims_can_be_read(name):
    claims = parse_claims(find_claims(name), name)
    assert all(claim.source for claim in claims.claims)
    assert len({claim.claim for claim in claims.claims}) == len(claims.claims)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("statistic: share_solved", "statistic: shares"), "Did you mean 'share_solved'"),
        (("below: 0.5, refuted_above: 0.5", "below: 0.5"), "its rule must be"),
        (("over: {cell: lstm},\n      where", "where"), "is a ratio: it needs over"),
        (("needs: any", "needs: most"), "must be all or any"),
        (("where: {task: adding}, within", "were: {task: adding}, within"), "were: no such key"),
        (("claims:", "claim:"), "has no mapping `claims`"),
        (("within: [0.8, 1.25]", "within: [2, 1]"), "is not a range"),
    ],
)
def test_wrong_rules_are_said_in_a_line(change, said):
    with pytest.raises(ConfigError, match=re.escape(said)) as raised:
        parse_claims(RULES.replace(*change), "here")
    assert str(raised.value).startswith("here")
    assert "\n" not in str(raised.value)


def test_rules_from_elsewhere_cannot_grow():
    with pytest.raises(ConfigError, match="aliases"):
        parse_claims("a: &a [x, x]\nclaims: {b: {claim: [*a, *a], tests: []}}", "here")
    with pytest.raises(ConfigError, match="no YAML"):
        parse_claims("claims: {b: [", "here")


def test_claims_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'lstm'"):
        find_claims("lstms")
    with pytest.raises(ConfigError, match="cannot be read"):
        find_claims(str(tmp_path / "none.yaml"))


def test_findings_of_a_publication_are_corrected_over_their_number():
    """Each has a verdict: corrected over claims of three findings each, 7 % of them could be false instead of 5 %."""
    stored = load(Path(__file__).parent / "data" / "paper_greff2017")
    rows = [row for judged in judge(stored).values() for row in judged]
    assert len(rows) > len(stored.claims.claims)
    corrected = stats.false_discovery_control([row.p for row in rows])
    found = corrected <= ALPHA
    assert [row.verdict in (SUPPORTED, REFUTED) for row in rows] == list(found)
    assert 0 < found.sum() < len(rows)
    assert [row.p_corrected for row in rows] == pytest.approx([min(1, row.p * len(rows) / found.sum()) for row in rows])


def test_verdicts_in_the_gallery_are_those_of_the_tables_beside_them():
    stored = load(GALLERY)
    judged = judge(stored)
    report = (GALLERY / "README.md").read_text()
    for claim in stored.claims.claims:
        verdict = verdict_of(claim, [row.verdict for row in judged[claim.name]])
        assert re.search(rf"\| {re.escape(claim.claim)} +\| {verdict} ", report), claim.name
    assert stored.claims.finished_before == 0
