"""Whose word on a request's id is taken."""

from __future__ import annotations

import pytest

from balancer.core.requestid import RequestIds

TRUSTED = frozenset({"10.0.0.1", None})


@pytest.mark.parametrize("peer", ["10.0.0.1", None])
@pytest.mark.parametrize("said", ["a", "0b9f-1.2_3~x", "x" * 128])
def test_a_trusted_peer_says_the_id(said: str, peer: str | None) -> None:
    assert RequestIds("w-", TRUSTED).choose(said, peer) == said


@pytest.mark.parametrize(
    "said", ["", "-", "x" * 129, "a b", 'a"b', "a\nb", "a\n", "é", "a,b", "a\\"]
)
def test_what_is_no_id(said: str) -> None:
    assert RequestIds("w-", TRUSTED).choose(said, "10.0.0.1") == "w-1"


def test_nobody_else_is_believed() -> None:
    assert RequestIds("w-", TRUSTED).choose("mine", "10.0.0.2") == "w-1"
    assert RequestIds("w-").choose("mine", None) == "w-1"


def test_ids_are_never_given_twice() -> None:
    ids = RequestIds("w-")
    given = [ids.next() for _ in range(40)]
    assert len(set(given)) == 40
    assert given[-1] == "w-28"
