"""The rules by which a sweep's claims are judged: kept beside its runs before there is anything to be seen of them."""

from pathlib import Path

from bench.record.files import Damaged, digest, read_bytes, write_text_atomic

RULES_FILE = "rules.yaml"
RULES_BYTES = 1 << 20
FINISHED, SEAL = "\nfinished_before:", "\nsha256: "  # what is kept after the text of the claims file


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
    kept = f"{text.rstrip()}{FINISHED} {finished}"
    try:
        before = read_rules(path)
    except (FileNotFoundError, Damaged):
        before = None
    if before is None or not finished:
        write_text_atomic(path, f"{kept}{SEAL}{digest(kept.encode())}\n")
        return True
    return before.rpartition(FINISHED)[0].rstrip() == text.rstrip()


def read_rules(path: Path) -> str:
    """Return the rules that a sweep keeps, without their checksum; those of earlier versions have none.

    Raises:
        FileNotFoundError: it keeps none.
        OSError: they cannot be read.
        Damaged: they are not what was written.
    """
    content = read_bytes(path, RULES_BYTES)
    kept, sealed, seal = content.rpartition(SEAL.encode())
    if sealed and digest(kept) != seal.decode(errors="replace").strip():
        raise Damaged(f"{path}: its checksum does not match")
    return (kept if sealed else content).decode(errors="replace")
