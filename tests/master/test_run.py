"""What the master says when it starts."""

from __future__ import annotations

import pytest

from balancer.master.run import _hand_off
from balancer.settings import Settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(workers=1), "round-robin over 1 worker, window 1, recall 0.1 s"),
        (Settings(workers=2, recall=None), "round-robin over 2 workers, window 1, recall off"),
        (Settings(workers=2, policy="shared"), "shared over 2 workers"),
        (Settings(workers=1, policy="reuseport"), "reuseport over 1 worker"),
    ],
)
def test_the_banner_names_only_what_has_a_meaning(settings: Settings, words: str) -> None:
    assert _hand_off(settings) == words
