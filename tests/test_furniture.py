"""What a project needs beside its code is there and true; `make furniture` says it line by line."""

import pytest

from tests import furniture


@pytest.mark.parametrize("check", furniture.CHECKS, ids=lambda check: check.__name__)
def test_furniture(check):
    check()


def test_a_target_that_there_is_not_is_found():
    page = "Run `make test-quick` first.\n    make docs bench\n      - run: make nothing\n"
    assert furniture.said_targets(page) == {"test-quick", "docs", "bench", "nothing"}
    assert furniture.said_targets(page) - furniture.targets() == {"nothing"}
