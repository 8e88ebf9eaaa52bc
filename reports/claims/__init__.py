"""Claims, and the rules that support or refute them, as data in YAML files.

A file has `claims`, by name, each with

- `claim`, `source`: the statement, and who made it
- `part`: the part of the sweep whose runs decide it
- `needs`: whether it needs all or any of its tests
- `tests`: each with a `statistic` (see `reports.verdicts`), of what (`of`, and with ratios `over`; with differences of
  times `less`), on what (`where`), and its rule: `above` and `refuted_below`, `below` and `refuted_above`, or `within`.
  What lies between the two numbers of a rule is a third zone, in which the number neither supports nor refutes.

`of`, `over` and `where` give values of columns of results.parquet (timing.parquet for times). Several values of a
column in `of` are a test each; in `where`, they are the problems, a test each. `otherwise` gives the values of all
other columns.

The file of a publication also gives its address, its printed results and its protocol, see
`reports.claims.publications`; a verdict says whether runs here agree."""

from dataclasses import dataclass, field
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from bench.record.errors import ConfigError, nearest
from bench.record.rules import read_rules
from reports.claims.publications import CONFIRMED, OF_NUMBER, Printed, Publication, printed_of, publication_of

STATISTICS = {
    "share_solved": "share of runs solved",
    "steps_to_solve": "steps to solve",
    "sequences_to_solve": "training sequences to solve",
    "accuracy": "accuracy at the end",
    "final_loss": "final loss",
    "gradient_decay": "factor by which the gradient changes per step",
    "memory": "share of the cue that a linear readout recovers",
    "parameters": "parameters",
    "flops": "FLOPs of a training step",
    "step_time": "time of a training step",
    "time_growth": "exponent of time over length",
}
RATIOS = {"steps_to_solve", "final_loss", "parameters", "flops", "step_time"}
NEEDS = ("all", "any")
KEYS = {"claim", "source", "part", "needs", "tests", "printed", "confirmed", *OF_NUMBER}
RULES = ({"above", "refuted_below"}, {"below", "refuted_above"}, {"within"})


@dataclass(frozen=True)
class Test:
    """One test of a claim.

    Attributes:
        statistic: a key of `STATISTICS`.
        of, over, less: conditions on what it is of, what that is divided by, and what is taken off.
        where: conditions on both, several values each.
        moment: of probes: start or end.
        factor: of accuracies: at how many times the length trained for (`lengthen`).
        supported, refuted: the values that say so, as (low, high); refuted None: those outside of `supported`.
    """

    statistic: str
    of: dict[str, Any]
    where: dict[str, list[Any]]
    supported: tuple[float, float]
    refuted: tuple[float, float] | None
    over: dict[str, Any] | None = None
    less: dict[str, Any] | None = None
    moment: str = "start"
    factor: int = 1


@dataclass(frozen=True)
class Claim:
    """What is said, and its tests."""

    name: str
    claim: str
    source: str
    part: str
    needs: str
    tests: list[Test]
    printed: Printed = field(default_factory=Printed)

    @property
    def in_print(self) -> str:
        """What a publication printed, marked where that was not read in its own text, its code or its logs."""
        known = self.printed.confirmed
        return str(self.printed) + (f" ({CONFIRMED[known]})" if known in ("second_hand", "memory") else "")


@dataclass(frozen=True)
class Claims:
    """A file of claims.

    Attributes:
        about: a sentence on all of them.
        claims: that have tests, in order.
        otherwise: values of the columns that a test does not speak of.
        publication: whose findings they are; None if of none.
        untested: what it printed, and nothing here puts to the test.
        finished_before: how many runs were finished when the rules were fixed; None if that is not known.
    """

    about: str
    claims: list[Claim]
    otherwise: dict[str, Any] = field(default_factory=dict)
    publication: Publication | None = None
    finished_before: int | None = None
    untested: list[Claim] = field(default_factory=list)

    @property
    def findings(self) -> list[Claim]:
        """All that a publication printed."""
        return [*self.claims, *self.untested]


def publications() -> dict[str, Claims]:
    """Return the registry of printed findings: the files of this package that are of publications, by their names."""
    names = sorted(each.name.removesuffix(".yaml") for each in files(__name__).iterdir() if ".yaml" in each.name)
    found = {name: parse_claims(find_claims(name), name) for name in names}
    return {name: claims for name, claims in found.items() if claims.publication}


def as_printed(claims: Claims) -> Claims:
    """Return the registry's file of the publication that a sweep's rules are of, or else those rules.

    By which rules runs are judged is fixed before them; what a paper printed is not, and is corrected when it is read
    again."""
    about = claims.publication
    same = [
        each for each in publications().values() if about and each.publication and each.publication.name == about.name
    ]
    return same[0] if same else claims


def find_claims(name: str) -> str:
    """Return the text of a claims file: one of this package by its name, or any by its path.

    Raises:
        ConfigError: no such file, or one that cannot be read as claims.
    """
    path = Path(name)
    if path.suffix == ".yaml":
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"claims={name}: cannot be read ({error})") from error
    else:
        known = {each.name.removesuffix(".yaml"): each for each in files(__name__).iterdir() if ".yaml" in each.name}
        if name not in known:
            raise ConfigError(f"claims={name}: no such file.{nearest(name, known)}")
        text = known[name].read_text(encoding="utf-8")
    parse_claims(text, f"claims={name}")
    return text


def read_claims(path: Path) -> Claims:
    """Return the claims that a sweep keeps.

    Raises:
        FileNotFoundError: it keeps none.
        ConfigError, Damaged, OSError: they cannot be read.
    """
    return parse_claims(read_rules(path), path.name)


def parse_claims(text: str, where: str) -> Claims:
    """Return a file's claims.

    Raises:
        ConfigError: it is no such file; which claim, and what is wrong.
    """
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):  # a few of them can mean gigabytes
            raise ConfigError(f"{where}: must not have YAML aliases")
        written = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: no YAML ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(written, dict) or not isinstance(written.get("claims"), dict) or not written["claims"]:
        raise ConfigError(f"{where}: has no mapping `claims`")
    try:
        publication = publication_of(written)
        claims = [_claim(str(name), claim) for name, claim in written["claims"].items()]
        if publication is None and (bare := [claim.name for claim in claims if not claim.tests]):
            raise ValueError(f"{bare[0]}: has no tests")
        return Claims(
            str(written.get("about", "")),
            [claim for claim in claims if claim.tests],
            dict(written.get("otherwise") or {}),
            publication,
            written.get("finished_before") if isinstance(written.get("finished_before"), int) else None,
            [claim for claim in claims if not claim.tests],
        )
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ConfigError(f"{where}: {' '.join(reason.split())[:300]}") from error


def _claim(name: str, written: dict[str, Any]) -> Claim:
    try:
        if unknown := set(written) - KEYS:
            raise ValueError(f"{min(unknown)}: no such key of a claim.{nearest(min(unknown), KEYS)}")
        tests = [test for each in written.get("tests") or [] for test in _tests(each)]
        texts = {key: str(written.get(key, "")) for key in ("source", "part")}
        needs = str(written.get("needs", "all"))
        claim = Claim(name, str(written["claim"]), needs=needs, tests=tests, printed=printed_of(written), **texts)
    except KeyError as error:
        raise ValueError(f"{name}: lacks {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{name}: {error}") from error
    if claim.needs not in NEEDS:
        raise ValueError(f"{name}: needs {claim.needs}; must be all or any")
    return claim


def _tests(written: dict[str, Any]) -> list[Test]:
    """Return a test for each choice among the values of `of`."""
    unknown = set(written) - {"statistic", "of", "over", "less", "where", "moment", "factor"}.union(*RULES)
    if unknown:
        raise ValueError(f"{min(unknown)}: no such key of a test")
    statistic = written["statistic"]
    if statistic not in STATISTICS:
        raise ValueError(f"statistic {statistic}: no such.{nearest(str(statistic), STATISTICS)}")
    if (statistic in RATIOS) != ("over" in written):
        raise ValueError(
            f"{statistic} {'is a ratio: it needs' if statistic in RATIOS else 'is no ratio: it has no'} over"
        )
    supported, refuted = _rule(written)
    of = {str(key): value if isinstance(value, list) else [value] for key, value in written["of"].items()}
    where = {str(key): value if isinstance(value, list) else [value] for key, value in written.get("where", {}).items()}
    return [
        Test(
            statistic, dict(zip(of, values, strict=True)), where, supported, refuted,
            dict(written["over"]) if "over" in written else None, dict(written["less"]) if "less" in written else None,
            str(written.get("moment", "start")), int(written.get("factor", 1)),
        )
        for values in product(*of.values())
    ]  # fmt: skip


def _rule(written: dict[str, Any]) -> tuple[tuple[float, float], tuple[float, float] | None]:
    given = set(written).intersection(set().union(*RULES))
    if given not in RULES:
        raise ValueError("its rule must be above and refuted_below, below and refuted_above, or within")
    if "within" in given:
        low, high = map(float, written["within"])
        if not low < high:
            raise ValueError(f"within [{low}, {high}]: is not a range")
        return (low, high), None
    infinite = float("inf")
    ends = sorted(float(written[key]) for key in given)  # what lies between supports as little as it refutes
    upper, lower = (ends[1], infinite), (-infinite, ends[0])
    return (upper, lower) if "above" in given else (lower, upper)
