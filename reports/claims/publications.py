"""What a paper printed, how that was confirmed, by which protocol, and who else tried: the part of a claims file that
makes it the file of a publication.

- `publication`: `name`, `source` (title, where it is to be had), and `read`: what of it was read, and when
- `protocol`: a list of settings as printed, each with `setting`, `printed`, and `where` it holds (by columns of
  results.parquet). A setting that is a column, e.g. `training.clip_norm`, is compared with the runs, and `none` is one
  that is not set; of any other, `here` says what it is here.
- `replications`: by others: `by`, `at`, `of`, `result`, and whether it `agrees`
- `withdrawn`: findings, by name, that stood in this file and are not what was printed, and why

Of each claim `printed` says in words what was found, or `quantity`, `number`, `spread` and `unit` do; `confirmed` says
how that is known (a key of `CONFIRMED`), and `at` which distances, if not those of the protocol, e.g.
`{task.delay: [60, 200]}`. A claim without tests is printed and not put to the test here."""

from typing import Any

import msgspec

CONFIRMED = {
    "text": "own text",
    "code": "authors' code",
    "log": "authors' log",
    "second_hand": "second hand",
    "memory": "unconfirmed",
}
OF_NUMBER = ("quantity", "number", "spread", "unit", "setting", "at")  # keys of a claim, of what was printed
DISTANCES = ("task.delay", "task.length")


class Setting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A setting of a paper's protocol."""

    setting: str
    printed: str | int | float | list[str | int | float]
    here: str = ""
    where: dict[str, Any] = {}

    @property
    def values(self) -> list[str | int | float]:
        """All that were printed."""
        return self.printed if isinstance(self.printed, list) else [self.printed]


class Replication(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody else got who tried a finding."""

    by: str
    at: str
    of: str
    result: str
    agrees: bool


class Publication(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A paper: where it is to be had, what of it was read, its protocol, and who else tried."""

    name: str
    source: str
    read: str = ""
    protocol: list[Setting] = []
    replications: list[Replication] = []
    withdrawn: dict[str, str] = {}


class Printed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was printed of one finding, and how that is known."""

    words: str = ""
    quantity: str = ""
    number: int | float | None = None
    spread: str = ""
    unit: str = ""
    setting: str = ""
    confirmed: str = "text"
    at: dict[str, list[str | int | float]] = {}

    def __post_init__(self) -> None:
        if self.confirmed not in CONFIRMED:
            raise ValueError(f"confirmed: {self.confirmed}; must be one of {', '.join(CONFIRMED)}")

    def __str__(self) -> str:
        """Say it as tables do: "loss 0.164, not solved"."""
        number = () if self.number is None else (self.quantity, digits(self.number), self.spread, self.unit)
        return ", ".join(filter(None, [" ".join(filter(None, number)), self.words]))


def publication_of(written: dict[str, Any]) -> Publication | None:
    """Return the publication of a claims file; None if it is of none.

    Raises:
        ValueError: a key or value that the schema does not have.
    """
    if not written.get("publication"):
        return None
    about = dict(written["publication"])
    protocol = list(written.get("protocol") or [])
    # Files of before had two texts in the place of a list.
    texts = [str(about.pop(key, "")) for key in ("protocol", "differences")]
    if any(texts):
        protocol.append({"setting": "protocol", "printed": texts[0], "here": texts[1]})
    rest: dict[str, Any] = {key: written[key] for key in ("replications", "withdrawn") if written.get(key)}
    return msgspec.convert({**about, "protocol": protocol, **rest}, Publication)


def printed_of(written: dict[str, Any]) -> Printed:
    """Return what a claim's mapping says was printed.

    Raises:
        ValueError: a value that the schema does not have.
    """
    given: dict[str, Any] = {key: written[key] for key in OF_NUMBER if key in written}
    confirmed = written.get("confirmed", "text")
    if isinstance(confirmed, bool):  # in files of before
        confirmed = "text" if confirmed else "memory"
    return msgspec.convert({**given, "words": str(written.get("printed", "")), "confirmed": confirmed}, Printed)


def digits(number: int | float) -> str:
    """Return a number as papers print it: 74,000, 0.164, 5.3e-5."""
    return f"{number:,}" if isinstance(number, int) else f"{number:.6g}".replace("e-0", "e-")
