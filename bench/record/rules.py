"""The rules by which a sweep's claims are judged: kept beside its runs before there is anything to be seen of them."""

from pathlib import Path

from bench.record.files import Damaged, read_bytes, write_text_atomic

RULES_FILE = "rules.yaml"
RULES_BYTES = 1 << 20


def fix_claims(sweep: Path, text: str, finished: int) -> bool:
    """Keep the rules by which a sweep's claims are judged, before its runs: once some are finished, the rules that
    were kept first stand.

    Args:
        sweep: the sweep's folder.
        text: of the claims file.
        finished: how many runs are finished.

    Returns:
        Whether these are the rules that are kept.

    Raises:
        OSError: they cannot be written.
    """
    path = sweep / RULES_FILE
    kept = f"{text.rstrip()}\nfinished_before: {finished}\n"
    try:
        before = read_bytes(path, RULES_BYTES).decode(errors="replace")
    except (FileNotFoundError, Damaged):
        before = None
    if before is None or not finished:
        write_text_atomic(path, kept)
        return True
    return before.rpartition("finished_before:")[0].rstrip() == text.rstrip()
