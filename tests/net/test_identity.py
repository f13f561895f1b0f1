"""Workers as another user."""

from __future__ import annotations

import os

import pytest

from balancer.errors import RunError
from balancer.net.identity import take_on
from tests.net.children import exit_code, run_child

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def who() -> tuple[int, int, list[int]]:
    return os.getuid(), os.getgid(), os.getgroups()


def test_nobody_asked_for_anything() -> None:
    before = who()
    take_on(None, None)
    assert who() == before


@needs_root
@pytest.mark.parametrize(
    ("user", "group", "expected"),
    [
        (NOBODY, None, (NOBODY, NOBODY, [NOBODY])),  # the user's own group
        (NOBODY, 12, (NOBODY, 12, [12])),
        (54321, None, (54321, 0, [0])),  # a number that has no name
        (54321, 7, (54321, 7, [7])),
    ],
)
def test_root_becomes_somebody(
    user: int, group: int | None, expected: tuple[int, int, list[int]]
) -> None:
    def become() -> None:
        take_on(user, group)
        assert who() == expected
        with pytest.raises(PermissionError):
            os.setuid(0)

    assert exit_code(run_child(become)) == 0


@needs_root
def test_who_is_not_root_can_not() -> None:
    def try_to() -> None:
        os.setuid(NOBODY)
        with pytest.raises(RunError, match=r"--user 0 --group 5: .* Operation not permitted"):
            take_on(0, 5)

    assert exit_code(run_child(try_to)) == 0
