"""The registry of what papers printed, and the section of a report that sets it beside runs."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench.record.errors import ConfigError
from bench.record.rules import RULES_FILE, fix_claims
from reports.claims import parse_claims, publications
from reports.claims.__main__ import confirmations
from reports.claims.publications import CONFIRMED, Printed
from reports.load import load
from reports.report import write_report
from reports.verdicts import is_elsewhere, judge
from tests.reports.conftest import write_run

ROOT = Path(__file__).parents[2]
GALLERY = ROOT / "reports" / "gallery"
RULES = """
publication: {name: Somebody 2020, source: A paper.}
protocol:
  - {setting: training.batch_size, printed: 64}
  - {setting: training.clip_norm, printed: none}
  - {setting: task.length, printed: [200, 750], where: {task: adding}}
  - {setting: task.delay, printed: 9, where: {task: copy}}
  - {setting: data, printed: fixed, here: new at every step}
replications: [{by: Somebody else, at: "a/repository", of: adding, result: failed, agrees: false}]
claims:
  adding:
    {claim: Solved, source: table 1, quantity: loss, number: 5.3e-5, spread: "± 1e-5", printed: solved,
     tests: [{statistic: sequences_to_solve, of: {cell: gru}, where: {task: adding}, within: [20000, 80000]}]}
  other: {claim: Sorting, source: table 2, number: 74000, unit: sequences, confirmed: second_hand}
"""


def test_the_page_counts_what_the_registry_has():
    page = (ROOT / "docs" / "papers.md").read_text()
    for line in confirmations().splitlines():
        assert line in page
    findings = [finding for each in publications().values() for finding in each.findings]
    in_text = sum(finding.printed.confirmed == "text" for finding in findings)
    counted = f"{len(findings)} printed findings of {len(publications())} papers"
    counted += f", {in_text} of them confirmed in the paper's own text"
    for text in (page, (ROOT / "README.md").read_text()):
        assert counted in " ".join(text.split())


def test_every_finding_says_what_was_printed_where_and_how_that_is_known():
    for name, each in publications().items():
        assert each.publication.source, name
        assert each.publication.read, name
        assert each.publication.protocol, name
        for finding in each.findings:
            assert str(finding.printed), (name, finding.name)
            assert finding.source, (name, finding.name)
            assert finding.printed.confirmed in CONFIRMED
        assert not set(each.publication.withdrawn) & {finding.name for finding in each.findings}


@pytest.mark.parametrize(
    ("paper", "finding", "printed"),
    [
        ("bai2018", "adding_gru", "loss 5.3e-5, solved"),
        ("bai2018", "seq_mnist_rnn", "accuracy 21.5 %"),
        ("hochreiter1997", "adding_100", "74,000 training sequences"),
        ("hochreiter1997", "adding_1000", "853,000 (370,000 to 2,020,000) training sequences"),
        ("rusch2022", "psmnist_lem", "accuracy 96.62 %"),
        ("feng2024", "selective_minlstm", "accuracy 96 ± 2.8 %"),
        ("gers2002", "peephole_slower", "not important, and more time to converge"),
    ],
)
def test_printed_numbers_are_those_of_the_papers(paper, finding, printed):
    assert {each.name: str(each.printed) for each in publications()[paper].findings}[finding] == printed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("confirmed: second_hand", "confirmed: hearsay"), "confirmed: hearsay"),
        (("number: 74000", "number: many"), "number"),
        (("number: 74000", "numbr: 74000"), "numbr: no such key of a claim. Did you mean 'number'"),
        (("printed: fixed", "print: fixed"), "print"),
        (("source: A paper.", "sauce: A paper."), "sauce"),
        (("agrees: false", "agrees: perhaps"), "bool"),
    ],
)
def test_a_wrong_entry_is_said_in_a_line(change, said):
    assert change[0] in RULES
    with pytest.raises(ConfigError, match=re.escape(said)) as raised:
        parse_claims(RULES.replace(*change), "here")
    assert str(raised.value).startswith("here: ")
    assert "\n" not in str(raised.value)


def test_only_publications_have_claims_without_tests():
    with pytest.raises(ConfigError, match="other: has no tests"):
        parse_claims(RULES.replace("publication:", "about:"), "here")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "printed"
    for seed in range(8):
        write_run(folder, "gru", "adding", seed, 600 + 50 * (seed % 3) if seed else None)
    assert fix_claims(folder, RULES, 0)
    return folder


def test_a_report_sets_print_and_runs_side_by_side(sweep, tmp_path):
    stored = load(sweep)
    text = write_report([sweep], tmp_path / "report").path.read_text()
    batch = int(stored.results["training.batch_size"].iloc[0])
    (row,) = judge(stored)["adding"]
    assert row.finding.evidence.interval.estimate == 650 * batch
    section = text[text.index("## Beside Somebody 2020") : text.index("Source: A paper.")]
    assert re.search(r"\| Solved +\| loss 5\.3e-5 ± 1e-5, solved \| own text ", section)
    assert re.search(r"\| Sorting +\| +– \| 74,000 sequences +\| table 2 +\| second hand ", section)
    assert re.search(r"\| data +\| all +\| fixed +\| new at every step", section)
    assert re.search(r"\| task.length +\| adding +\| 200, 750 +\| 50 ", section)
    assert "task.delay" not in section  # no run has one
    assert f"As printed: training.batch_size {batch}" in section
    assert re.search(r"\| Somebody else +\| adding +\| failed +\| no ", section)


def test_an_unsolved_run_needed_more_than_it_spent(sweep):
    stored = load(sweep)
    (row,) = judge(stored)["adding"]
    evidence, batch = row.finding.evidence, int(stored.results["training.batch_size"].iloc[0])
    spent = float(stored.results["steps"].max()) * batch
    solved = stored.results["steps_to_solve"].dropna().astype(float) * batch
    assert evidence.n == 8
    above = evidence.p_above(solved.max())  # only the unsolved run is known to lie above
    assert above == pytest.approx(1 - 2**-8)
    assert evidence.p_above(2 * spent) == 1  # it may have needed less than that
    assert evidence.p_below(2 * spent) == pytest.approx(9 / 2**8)  # or more


ACCURACY = """
claims:
  longer:
    claim: It holds at twelve times the length.
    tests: [{statistic: accuracy, factor: 12, of: {cell: gru}, where: {task: adding}, above: 0.9, refuted_below: 0.9}]
"""


def test_an_accuracy_may_be_at_a_longer_length(sweep):
    stored = load(sweep)
    claims = parse_claims(ACCURACY, "here")
    results = stored.results.assign(**{"final_score.accuracy": 0.5})
    (row,) = judge(replace(stored, claims=claims, results=results))["longer"]
    assert row.finding.evidence is None
    assert row.finding.why == "not known"
    longer = results.assign(**{"at_12x.accuracy": [0.93 + 0.01 * number for number in range(8)]})
    (row,) = judge(replace(stored, claims=claims, results=longer))["longer"]
    assert row.finding.evidence.interval.estimate == pytest.approx(0.965)
    assert row.p == pytest.approx(2 * 2**-8)
    assert row.verdict == "supported"


@pytest.mark.parametrize(("solved", "within"), [(True, ""), (False, "300 steps")])
def test_a_score_of_runs_that_did_not_solve_rests_on_their_budget(sweep, solved, within):
    stored = load(sweep)
    values = {"at_12x.accuracy": 0.5, "solved": solved, "budget": 300.0, "currency": "steps"}
    claims = parse_claims(ACCURACY, "here")
    (row,) = judge(replace(stored, claims=claims, results=stored.results.assign(**values)))["longer"]
    assert row.finding.within == within


def test_what_was_printed_is_read_from_the_registry_not_from_older_rules(tmp_path):
    """The rules of stored runs stand; what their paper printed has been read again since, and one finding withdrawn."""
    folder = tmp_path / "paper_gers2002"
    shutil.copytree(Path(__file__).parent / "data" / "paper_gers2002", folder)
    text = write_report([folder], tmp_path / "report").path.read_text()
    assert "withdrawn: on measuring spike delays peepholes took more time there" in text
    stored = load(folder)
    assert stored.claims.publication.protocol[0].setting == "protocol"  # in the two texts of its time


def test_the_first_sentence_says_for_how_many_findings_the_printed_result_is_unconfirmed(tmp_path: Path):
    said = write_report([GALLERY / "paper_le2015"], tmp_path).path.read_text()
    limits = "3 are at another length than printed and for 3 the printed result is unconfirmed"
    assert f"3 agree and none disagrees; {limits}.**" in said


def test_findings_printed_of_other_lengths_are_marked(sweep, tmp_path: Path):
    """Eight runs at length 50 beside a protocol of 200 and 750; a finding may name distances of its own."""
    (sweep / RULES_FILE).write_text(RULES.replace("within: [20000, 80000]", "above: 900, refuted_below: 900"))
    said = write_report([sweep], tmp_path / "report").path.read_text()
    assert "1 agrees and none disagrees; 1 is at another length than printed.**" in said
    assert re.search(r"\| agrees, elsewhere +\|", said)
    stored = load(sweep)
    (row,) = judge(stored)["adding"]
    about = stored.claims.publication
    printed = stored.claims.claims[0].printed
    assert is_elsewhere(stored, row, about, printed)
    assert not is_elsewhere(stored, row, about, Printed(at={"task.length": [50, 60]}))
    assert not is_elsewhere(stored, replace(row, verdict="not decidable"), about, printed)


def test_seeds_are_asked_for_by_findings_and_not_by_comparisons(tmp_path: Path):
    """Of this sweep both findings agree, and a comparison of cells is open: its command would run nothing."""
    said = write_report([GALLERY / "paper_rusch2022"], tmp_path).path.read_text()
    assert "open" in said
    assert "Next:" not in said
