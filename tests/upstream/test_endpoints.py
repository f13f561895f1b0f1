"""Choice, count and health over a real table: two workers, and what each sees of the other."""

from __future__ import annotations

import math
import random
import socket
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio

from balancer.core.endpoints import Chooser, ChooserConfig
from balancer.core.health import EjectionConfig
from balancer.core.policy import make_policy
from balancer.core.retry import Failure
from balancer.net.endpoints import EndpointTable, WorkerView
from balancer.settings import parse_upstream
from balancer.settings.policy import parse_policy
from balancer.upstream.directory import NoEndpoint, Wish
from balancer.upstream.endpoints import Endpoints, EndpointsConfig
from balancer.upstream.pool import Pool
from balancer.upstream.queue import Queue, Ticket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balancer.net.endpoints import EndpointRow
    from balancer.upstream.connection import UpstreamConnection
    from balancer.upstream.lease import EndpointLease


class Wired:
    """A connection that nobody looks into."""

    def __init__(self, endpoint: int) -> None:
        self.endpoint = endpoint
        self.usable = True
        self.idle = False
        self.watched = False
        self.idle_since = 0.0
        self.deadline = 1.0
        self.closed = False
        self.expired_at: float | None = None
        self.transport = self

    def watch(self, watcher: object) -> None: ...

    def close(self) -> None:
        self.closed = True

    def expire(self, now: float) -> None:
        self.expired_at = now


class Machine:
    """Several workers over one table."""

    def __init__(self, texts: tuple[str, ...], policy: str, **options: Any) -> None:  # noqa: ANN401
        self.upstreams = dict(enumerate(map(parse_upstream, texts)))
        self.table = EndpointTable.create(rows=8)
        for number, each in self.upstreams.items():
            address = (int(socket.AF_INET), (each.host, each.port))
            self.table.place(number, address, weight=each.weight, now=monotonic())
        self.policy = policy
        self.options = options
        self.views: list[WorkerView] = []
        self.workers: list[Endpoints] = []
        self.now = 100.0
        self.open_ones: set[UpstreamConnection] = set()

    def worker(self) -> Endpoints:
        row = len(self.views)
        self.table.admit(row)
        view = WorkerView(self.table, row)
        self.views.append(view)
        made = Endpoints(
            self.upstreams,
            view,
            lambda name_of: Chooser(
                make_policy(parse_policy(self.policy), random.Random(row).random, name_of),
                ChooserConfig(),
            ),
            Pool(8, 4.0),
            Queue(view, 10, 5.0, lambda row: self.workers[row]._queue.rung()),
            self._connect,
            self.open_ones,
            self,
            EndpointsConfig(EjectionConfig(**self.options)),
        )
        self.workers.append(made)
        return made

    async def _connect(self, row: Any, _upstream: object) -> UpstreamConnection:  # noqa: ANN401
        await trio.lowlevel.checkpoint()
        made = cast("UpstreamConnection", Wired(row.index))
        self.open_ones.add(made)
        return made


@contextmanager
def machine(
    *texts: str,
    policy: str = "round-robin",
    **options: Any,  # noqa: ANN401
) -> Iterator[Machine]:
    made = Machine(texts or ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"), policy, **options)
    try:
        yield made
    finally:
        for view in made.views:
            view.close()
        made.table.close()


def wired(connection: UpstreamConnection) -> Wired:
    return cast("Wired", connection)


def claim(worker: Endpoints, **wish: Any) -> EndpointLease:  # noqa: ANN401
    lease = worker.claim(Wish(**wish))
    assert lease is not None
    return lease


def test_turns_are_taken_and_counted() -> None:
    with machine() as made:
        worker = made.worker()
        leases = [claim(worker) for _ in range(6)]
        assert sorted(lease.endpoint for lease in leases) == [0, 0, 1, 1, 2, 2]
        assert made.table.active(0) == 2
        for lease in leases:
            lease.end(None)
        assert [made.table.active(index) for index in range(3)] == [0, 0, 0]
        assert leases[0].name == "10.0.0.1:80"


def test_max_is_the_machines() -> None:
    with machine("10.0.0.1:80,max=2", "10.0.0.2:80,max=1") as made:
        one, two = made.worker(), made.worker()
        leases = [claim(one), claim(two), claim(one)]
        assert sorted(lease.endpoint for lease in leases) == [0, 0, 1]
        assert one.claim(Wish()) is None
        assert two.claim(Wish()) is None
        leases[0].end(None)
        assert claim(two).endpoint == leases[0].endpoint


async def test_who_waits_is_before_who_comes() -> None:
    with machine("10.0.0.1:80,max=1") as made:
        one, two = made.worker(), made.worker()
        busy = claim(one)
        got: list[str] = []

        async def wait(worker: Endpoints, name: str) -> None:
            lease = await worker.wait(Wish(), Ticket())
            got.append(name)
            lease.end(None)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, two, "two")
            await trio.testing.wait_all_tasks_blocked()
            busy.end(None)
            assert one.claim(Wish()) is None, "somebody has waited longer"
            nursery.start_soon(wait, one, "one")
        assert got == ["two", "one"]
        claim(one)


def test_failures_of_all_workers_eject() -> None:
    with machine(after=5, time=10.0) as made:
        one, two = made.worker(), made.worker()
        for turn in range(5):
            worker = (one, two)[turn % 2]
            lease = claim(worker, tried=(1, 2))
            assert lease.endpoint == 0
            lease.failed(Failure.BROKEN)
            lease.end(None)
        for worker in (one, two):
            assert {claim(worker).endpoint for _ in range(6)} == {1, 2}
        row = made.table.heads.row(0)
        assert row is not None
        assert row.ejections == 1
        assert 9 < row.ejected_until - monotonic() <= 10


def test_an_answer_in_between_ends_the_run_and_a_500_does_not() -> None:
    with machine(after=2) as made:
        worker = made.worker()
        for status in (500, 200, 500, 404, 503):
            lease = claim(worker, tried=(1, 2))
            lease.answered(status, 0.1)
            lease.end(None)
        assert made.table.totals(0).run == 1
        lease = claim(worker, tried=(1, 2))
        lease.answered(500, 0.1)
        lease.end(None)
        assert {claim(worker).endpoint for _ in range(4)} == {1, 2}


def test_answers_that_break_off_are_failures_in_a_row() -> None:
    with machine(after=2) as made:
        worker = made.worker()
        for _ in range(2):
            lease = claim(worker, tried=(1, 2))
            lease.answered(200, 0.1)
            lease.failed(Failure.TRUNCATED)
            lease.end(None)
        assert {claim(worker).endpoint for _ in range(4)} == {1, 2}


def test_a_tunnel_ends_the_run_when_it_begins() -> None:
    with machine(after=2) as made:
        worker = made.worker()
        for _ in range(2):
            claim(worker, tried=(1, 2)).answered(101, 0.1)
            lease = claim(worker, tried=(1, 2))
            lease.failed(Failure.BROKEN)
            lease.end(None)
        assert made.table.totals(0).run == 1


def test_the_end_of_an_idle_connection_is_nobodys_fault() -> None:
    with machine(after=1) as made:
        worker = made.worker()
        lease = claim(worker, tried=(1, 2))
        lease.failed(Failure.STALE)
        lease.end(None)
        assert made.table.totals(0).stale == 1
        assert made.table.totals(0).failures == 0
        assert 0 in {claim(worker).endpoint for _ in range(3)}


def test_who_can_not_be_ejected_is_not_judged_at_every_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with machine("10.0.0.1:80", after=5) as made:
        worker = made.worker()
        leases = [claim(worker) for _ in range(23)]
        looks = 0
        states = WorkerView.states

        def counted(view: WorkerView) -> list[EndpointRow]:
            nonlocal looks
            looks += 1
            return states(view)

        monkeypatch.setattr(WorkerView, "states", counted)
        for lease in leases:
            lease.failed(Failure.BROKEN)
        assert looks == 4
        leases[0].answered(200, 0.1)
        made.table.heads.end_run(0)
        for lease in leases[:5]:
            lease.failed(Failure.BROKEN)
        assert looks == 5, "a new run begins anew"


def test_our_own_shortage_is_nobodys_fault() -> None:
    with machine(after=1) as made:
        lease = claim(made.worker(), tried=(1, 2))
        lease.failed(Failure.SHORTAGE)
        lease.end(None)
        assert made.table.totals(0).failures == 0


def test_the_last_one_is_never_ejected() -> None:
    with machine("10.0.0.1:80", after=1) as made:
        worker = made.worker()
        for _ in range(3):
            lease = claim(worker)
            lease.failed(Failure.CONNECT)
            lease.end(None)


def test_what_changes_is_seen_by_the_next_request() -> None:
    with machine() as made:
        worker = made.worker()
        claim(worker)
        now = monotonic()
        made.table.heads.probed(0, up=False, now=now)
        made.table.heads.drain(1, drained=True, now=now)
        assert {claim(worker).endpoint for _ in range(4)} == {2}
        made.table.heads.remove(2)
        made.table.heads.drain(0, drained=True, now=now)
        with pytest.raises(NoEndpoint) as caught:
            worker.claim(Wish())
        assert (caught.value.reason, caught.value.retry_after) == ("no upstream is available", 2)
        index = made.table.place(0, (int(socket.AF_INET), ("10.0.0.9", 80)), weight=1, now=now)
        assert claim(worker).endpoint == index


async def test_connections_are_kept_and_closed_with_their_endpoint() -> None:
    with machine() as made:
        worker = made.worker()
        lease = claim(worker, tried=(1, 2))
        connection = await lease.connect()
        assert lease.idle() is None
        worker.tick()
        assert wired(connection).expired_at == made.now
        lease.end(connection)
        assert connection.deadline == math.inf
        again = claim(worker, tried=(1, 2))
        assert again.idle() is connection
        fresh = claim(worker, tried=(1, 2))
        assert fresh.idle() is None
        other = await fresh.connect()
        again.end(connection)
        made.table.heads.probed(0, up=False, now=monotonic())
        claim(worker)
        assert wired(connection).closed
        fresh.end(other)
        assert wired(other).closed
        worker.close()


def test_a_cookie_brings_back_to_where_it_came_from() -> None:
    with machine() as made:
        one, two = made.worker(), made.worker()
        token = claim(one, tried=(0, 2)).token
        assert {claim(two, prefer=token).endpoint for _ in range(4)} == {1}
        assert {claim(two, prefer=b"nonsense").endpoint for _ in range(3)} == {0, 1, 2}
        made.table.heads.drain(1, drained=True, now=monotonic())
        assert 1 not in {claim(two, prefer=token).endpoint for _ in range(4)}


def test_a_key_has_its_endpoint_in_every_worker() -> None:
    with machine(policy="hash:ip") as made:
        one, two = made.worker(), made.worker()
        for key in (b"10.1.1.1", b"10.1.1.2", b"10.1.1.3", b"10.1.1.4"):
            assert claim(one, key=key).endpoint == claim(two, key=key).endpoint


def test_retries_are_counted_and_bounded_by_the_machines_budget() -> None:
    with machine() as made:
        one, two = made.worker(), made.worker()
        for _ in range(40):
            assert one.may_retry()
            claim(one, tried=(0,), costs=True)
            claim(one, tried=(0,))  # after a refused connection
            if not two.may_retry():
                break
        assert not one.may_retry()
        assert made.table.spent()[1] == 32


def test_a_worker_that_starts_late_has_no_share_of_what_was_before_it() -> None:
    with machine() as made:
        one = made.worker()
        for _ in range(1000):
            claim(one)
        two = made.worker()
        for _ in range(32):
            assert two.may_retry()
            claim(two, costs=True)
        assert not two.may_retry()
        assert one.may_retry()


def test_rows_that_are_not_its_own_are_none() -> None:
    """Another pool's, or upstreams that came after the worker."""
    with machine("10.0.0.1:80", after=1, most=50) as made:
        worker = made.worker()
        now = monotonic()
        for number, last in ((7, 7), (8, 8)):
            address = (int(socket.AF_INET), (f"10.0.0.{last}", 80))
            made.table.place(number, address, weight=1, now=now)
        assert {claim(worker).endpoint for _ in range(4)} == {0}
        lease = claim(worker)
        lease.failed(Failure.BROKEN)
        lease.end(None)
        row = made.table.heads.row(0)
        assert row is not None
        assert not row.ejected_until, "it is the only one, whatever others have"


async def test_idle_connections_to_who_is_drained_go_without_a_request() -> None:
    with machine() as made:
        worker = made.worker()
        lease = claim(worker, tried=(1, 2))
        connection = await lease.connect()
        lease.end(connection)
        worker.tick()
        assert not wired(connection).closed
        made.table.heads.drain(0, drained=True, now=monotonic())
        worker.tick()
        assert wired(connection).closed
