"""Prints the table of docs/papers.md: how many printed findings of each paper are registered, and how each is known."""

from reports import text
from reports.claims import publications
from reports.claims.publications import CONFIRMED


def confirmations() -> str:
    """Return a table of all papers: their printed findings, those put to the test here, and how they are known."""
    registry = {each.publication.name: each for each in publications().values() if each.publication}
    groups = {name: each.findings for name, each in registry.items()}
    groups["all"] = [finding for findings in groups.values() for finding in findings]
    return text.table(
        [
            {
                "paper": name,
                "findings": text.count(len(findings)),
                "tested here": text.count(sum(bool(finding.tests) for finding in findings)),
                **{
                    said: text.count(sum(finding.printed.confirmed == how for finding in findings))
                    for how, said in CONFIRMED.items()
                },
            }
            for name, findings in groups.items()
        ]
    )


if __name__ == "__main__":
    print(confirmations())
