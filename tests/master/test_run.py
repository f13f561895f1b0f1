"""What the master says when it starts."""

from __future__ import annotations

import pytest

from balancer.errors import UsageError
from balancer.master.plan import Plan
from balancer.master.run import Master, _hand_off
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
    assert _hand_off(settings, settings.workers) == words


def test_only_root_starts_workers_as_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="-u 65534: only root can start workers as somebody else"):
        Master(Settings(user=65534), Plan())
