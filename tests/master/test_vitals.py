"""When a server should get clients."""

from __future__ import annotations

import pytest

from balancer.core.control import UpstreamStatus
from balancer.core.lifecycle import State
from balancer.master.operations import Phase
from balancer.master.vitals import Vitals, unready


def vitals(phase: Phase = Phase.RUNNING, **workers: int) -> Vitals:
    return Vitals(phase, {State(name): count for name, count in workers.items()}, 2, 0)


def upstream(state: str, pool: str = "") -> UpstreamStatus:
    return UpstreamStatus("127.0.0.1:9000", "a:9000", state, False, 1, 0, 0, 0, 0, 0, pool)


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.RUNNING, Phase.RELOADING])
def test_one_ready_worker_is_enough(phase: Phase) -> None:
    assert unready(vitals(phase, ready=1, starting=1), []) is None


@pytest.mark.parametrize(
    ("looks", "reason"),
    [
        (vitals(Phase.STOPPING, ready=2), "the server is stopping"),
        (vitals(starting=2), "no worker is ready (2 starting)"),
        (vitals(stalled=1, draining=1), "no worker is ready (1 draining, 1 stalled)"),
        (vitals(ready=0), "no worker is ready (there is none)"),
    ],
)
def test_reasons(looks: Vitals, reason: str) -> None:
    assert unready(looks, []) == reason


def test_a_proxy_needs_an_upstream() -> None:
    assert unready(vitals(ready=1), [upstream("down"), upstream("ready")]) is None
    some = [upstream("down"), upstream("ejected"), upstream("down")]
    assert unready(vitals(ready=1), some) == "no upstream is ready (2 down, 1 ejected)"


def test_every_pool_needs_one() -> None:
    some = [upstream("ready", "api"), upstream("drained", "img"), upstream("down", "img")]
    assert unready(vitals(ready=1), some) == "no upstream of pool img is ready (1 drained, 1 down)"
    assert unready(vitals(ready=1), [*some, upstream("ready", "img")]) is None
