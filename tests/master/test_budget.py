"""Whether the file descriptors suffice for what is configured."""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.errors import ExitCode, UsageError
from balancer.master.budget import (
    PER_WORKER,
    SMALLEST,
    SPARE,
    connections_limit,
    queue_limit,
    raise_limit,
    shortage,
)
from balancer.settings import Settings, TcpBind
from tests.net.children import exit_code, run_child

if TYPE_CHECKING:
    from balancer.settings import Bind

HOST = TcpBind("127.0.0.1", 8000)
PLENTY = 1_000_000


def binds(count: int) -> tuple[Bind, ...]:
    return (HOST,) * count


def refusal(limit: int, **chosen: int) -> str:
    with pytest.raises(UsageError) as caught:
        queue_limit(Settings(**{"workers": 2, **chosen}), limit)  # type: ignore[arg-type]
    assert caught.value.exit_code is ExitCode.USAGE
    return str(caught.value)


def test_where_there_is_plenty_the_queue_is_as_asked() -> None:
    assert queue_limit(Settings(workers=2, queue=5000), PLENTY) == 5000
    assert queue_limit(Settings(workers=2), PLENTY) == Settings().queue


def test_a_default_is_cut_to_what_fits() -> None:
    assert queue_limit(Settings(workers=2), 200) == 200 - SPARE - 2 * PER_WORKER - 2


def test_a_proxys_connections_need_two_each() -> None:
    proxy = Settings(workers=2, upstreams=("a:1",))
    assert connections_limit(proxy, PLENTY) == proxy.worker_connections
    assert connections_limit(proxy, 1024) == (1024 - SPARE) // 2
    assert connections_limit(Settings(workers=2), 1024) == proxy.worker_connections
    chosen = Settings(workers=2, upstreams=("a:1",), worker_connections=500)
    with pytest.raises(UsageError, match="500: needs 1064 file descriptors and the limit is 1000"):
        queue_limit(chosen, 1000)


def test_what_is_cut_is_said_with_the_number_to_set() -> None:
    assert shortage(Settings(workers=2), PLENTY) is None
    assert shortage(Settings(workers=2), 1024 + SPARE + 2 * PER_WORKER + 2) is None
    assert shortage(Settings(workers=2, upstreams=("a:1",)), 1024) == (
        "only 1024 file descriptors per process are allowed, so that a worker can hold about 480 "
        "connections (1000 are configured) and 942 can wait for one (1024): raise the hard limit "
        "to 2064 (ulimit -n 2064, LimitNOFILE=2064, docker run --ulimit nofile=2064)"
    )


def test_several_listeners_share_it() -> None:
    one = queue_limit(Settings(workers=2), 400)
    assert queue_limit(Settings(workers=2, bind=binds(3)), 400) <= one // 3


@given(st.integers(1, 64), st.integers(1, 256), st.integers(1, 4), st.integers(100, 100_000))
def test_what_is_allowed_fits_and_what_does_not_fit_is_blamed_on_somebody(
    workers: int, window: int, lanes: int, limit: int
) -> None:
    settings = Settings(workers=workers, window=window, bind=binds(lanes))
    taken = SPARE + PER_WORKER * workers + window * workers * lanes
    if taken + SMALLEST * lanes > limit:
        with pytest.raises(UsageError, match=f"the limit is {limit}"):
            queue_limit(settings, limit)
    else:
        queue = queue_limit(settings, limit)
        assert queue >= SMALLEST
        assert taken + queue * lanes <= limit


@pytest.mark.parametrize(
    ("chosen", "flag"),
    [
        ({"queue": 1001}, "--queue 1001"),
        ({"worker_connections": 2000}, "--worker-connections 2000"),
        ({"workers": 150}, "-w 150"),
        ({"window": 256, "workers": 4}, "--window 256"),
    ],
)
def test_a_number_that_was_asked_for_and_does_not_fit_is_named(
    chosen: dict[str, int], flag: str
) -> None:
    text = refusal(1024, **chosen)
    assert text.startswith(f"{flag}: needs ")
    assert "\n" not in text


def test_the_limit_that_is_recommended_is_enough() -> None:
    text = refusal(1024, queue=1001)
    needed = int(text.split("needs ")[1].split()[0])
    assert queue_limit(Settings(workers=2, queue=1001), needed) == 1001
    assert f"ulimit -n {needed}" in text


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_a_queue_that_was_asked_for_is_never_cut(lanes: int) -> None:
    """It is per listener: with several of them, it needs as many times as many."""
    with pytest.raises(UsageError) as caught:
        queue_limit(Settings(workers=2, queue=900, bind=binds(lanes)), 900)
    needed = int(str(caught.value).split("needs ")[1].split()[0])
    assert queue_limit(Settings(workers=2, queue=900, bind=binds(lanes)), needed) == 900


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    def act() -> None:
        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
        assert raise_limit() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        assert raise_limit() == hard

    assert exit_code(run_child(act)) == 0


def test_no_limit_is_plenty_and_not_minus_one(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: endless)
    assert raise_limit() == sys.maxsize
    assert queue_limit(Settings(workers=2, queue=5000), raise_limit()) == 5000
