"""What every process does first."""

import gc

from bench.startup import importing


def test_what_is_imported_is_left_alone_by_collections_that_go_on_afterwards() -> None:
    before = gc.get_freeze_count()
    with importing():
        while_importing = gc.isenabled()
        made = [[] for _ in range(1000)]
    frozen = gc.get_freeze_count() - before
    gc.unfreeze()
    assert not while_importing
    assert gc.isenabled()
    assert frozen >= len(made)
