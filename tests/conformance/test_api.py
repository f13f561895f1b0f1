"""Node's scenarios that need its API, in Node and in ours; numbered as in our table of them.

Where the two differ on purpose, the test says so in the one place where it does.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from tests.conformance.labs import Lab, NodeLab, OurLab
from tests.conformance.scenarios import wait_until_blocked
from tests.support.raw import RawConnection, get, request

if TYPE_CHECKING:
    from collections.abc import Callable

    Start = Callable[..., Lab]

_needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not on PATH")


@pytest.fixture(
    params=[
        pytest.param(NodeLab, id="node", marks=[pytest.mark.node, _needs_node]),
        pytest.param(OurLab, id="balancer"),
    ]
)
def start(request: pytest.FixtureRequest) -> Start:
    lab: Start = request.param
    return lab


def three(lab: Lab, **env: object) -> None:
    """Workers 1, 2 and 3, which listen in this order."""
    for _ in range(3):
        lab.fork(**env)


def hold(stack: ExitStack, lab: Lab) -> tuple[int, RawConnection]:
    """A connection that stays open, and whose it is."""
    connection = stack.enter_context(RawConnection(lab.port))
    return connection.get().worker, connection


def test_s1_the_rotation_is_the_order_of_listening(start: Start) -> None:
    with start() as lab:
        gate = lab.folder / "gate"
        first = lab.start_fork(GATE=gate)
        lab.fork()
        gate.touch()
        lab.wait_listening(first)
        lab.fork()
        assert lab.sequential(6) == [2, 1, 3, 2, 1, 3]


def test_s8a_limits_of_1_2_and_9_are_filled_exactly(start: Start) -> None:
    with start() as lab, ExitStack() as stack:
        for limit in (1, 2, 9):
            lab.fork(LIMIT=limit)
        connections = [stack.enter_context(RawConnection(lab.port)) for _ in range(12)]
        for connection in connections:
            connection.send(request())
        served = [connection.receive_response().worker for connection in connections]
        assert [served.count(worker) for worker in (1, 2, 3)] == [1, 2, 9]


def test_s8b_one_by_one_they_fill_in_turn(start: Start) -> None:
    with start() as lab, ExitStack() as stack:
        for limit in (1, 2, 9):
            lab.fork(LIMIT=limit)
        assert [hold(stack, lab)[0] for _ in range(8)] == [1, 2, 3, 2, 3, 3, 3, 3]


def test_s9b_a_connection_on_its_way_to_a_blocked_worker_that_is_disconnected(start: Start) -> None:
    """Node: the blocked worker serves it in the end.  Ours: it is taken back, another one does."""
    with start() as lab:
        three(lab)
        pids = {answer.worker: answer.pid for answer in (get(lab.port) for _ in range(3))}
        with RawConnection(lab.port) as blocker:
            blocker.send(request("/block/0.6", close=True))
            wait_until_blocked(pids[1])
            began = monotonic()
            assert lab.sequential(2) == [2, 3]
            with RawConnection(lab.port) as waiting:  # for worker 1, whose turn it is
                waiting.send(request(close=True))
                assert lab.sequential(1) == [2]
                lab.say("disconnect", 1)
                served_by = waiting.receive_response().worker
                seconds = monotonic() - began
            assert blocker.receive_response().worker == 1
        assert served_by == (1 if isinstance(lab, NodeLab) else 3)
        assert (seconds >= 0.4) == isinstance(lab, NodeLab)
        exit_ = lab.wait("exit", 1)
        assert (exit_["code"], exit_["voluntary"]) == (0, True)
        assert set(lab.sequential(4)) == {2, 3}


def test_s9c_a_worker_disconnects_itself(start: Start) -> None:
    with start() as lab:
        three(lab)
        lab.send(2, do="disconnect")
        exit_ = lab.wait("exit", 2)
        assert (exit_["code"], exit_["signal"], exit_["voluntary"]) == (0, None, True)
        assert lab.wait("disconnect", 2)["voluntary"] is True
        assert lab.sequential(4) == [1, 3, 1, 3]


def test_s9d_a_connection_on_its_way_to_a_server_that_closes_goes_elsewhere(start: Start) -> None:
    with start() as lab:
        lab.fork()
        lab.fork()
        first, second = (get(lab.port) for _ in range(2))
        assert (first.worker, second.worker) == (1, 2)
        lab.send(1, do="block and close", seconds=0.3)
        lab.wait("message", 1)
        wait_until_blocked(first.pid)
        with RawConnection(lab.port) as waiting:  # for worker 1, whose turn it is
            waiting.send(request(close=True))
            assert lab.sequential(1) == [2]
            assert waiting.receive_response().worker == 2
        assert lab.sequential(3) == [2, 2, 2]


def test_s10_a_server_that_closes_and_listens_again_joins_at_the_tail(start: Start) -> None:
    with start() as lab:
        three(lab)
        assert lab.sequential(2) == [1, 2]
        lab.send(2, do="close")
        lab.send(2, do="echo", closed=True)
        lab.wait("message", 2)
        assert lab.sequential(4) == [3, 1, 3, 1]
        lab.send(2, do="listen")
        assert lab.wait("listening", 2, 2)["port"] == lab.port
        assert lab.sequential(7) == [3, 1, 2, 3, 1, 2, 3]


def test_s19_kill_is_sigterm(start: Start) -> None:
    """Node: at once, the open connection is cut.  Ours: a wish; the connection is finished."""
    with start() as lab:
        lab.fork()
        with RawConnection(lab.port) as connection:
            connection.send(request("/sleep/0.5", close=True))
            lab.send(1, do="echo")
            lab.wait("message", 1)
            lab.say("kill", 1, "SIGTERM")
            if isinstance(lab, NodeLab):
                assert connection.closed_by_server()
            else:
                assert connection.receive_response().worker == 1
        exit_ = lab.wait("exit", 1)
        found = (exit_["code"], exit_["signal"], exit_["voluntary"])
        assert found == ((None, "SIGTERM", False) if isinstance(lab, NodeLab) else (0, None, True))


def test_s23_disconnect_returns_when(start: Start) -> None:
    """Node: when the first worker has gone.  Ours: when the last one has."""
    with start() as lab:
        three(lab)
        with RawConnection(lab.port) as connection:
            connection.send(request("/sleep/0.7", close=True))
            for worker in (1, 2, 3):  # one of them has the connection by now
                lab.send(worker, do="echo")
            for worker in (1, 2, 3):
                lab.wait("message", worker)
            left = lab.ask("disconnect-all", answer="disconnected")
            assert len(left) > 0 if isinstance(lab, NodeLab) else left == []
            assert connection.receive_response().status == 200
        for worker in (1, 2, 3):
            assert lab.wait("exit", worker)["voluntary"] is True


def test_s24_the_order_of_the_events_of_one_worker(start: Start) -> None:
    with start() as lab:
        lab.fork()
        lab.send(1, do="echo", a=1)
        assert lab.wait("message", 1)["data"] == {"a": 1}
        assert lab.ask("workers", answer="workers") == [1]
        lab.say("kill", 1, "SIGKILL")
        lab.wait("exit", 1)
        assert lab.ask("workers", answer="workers") == []
        events = lab.events(1)
    names = ["fork", "online", "listening", "message", "disconnect", "exit"]
    assert [each["name"] for each in events] == names
    assert events[4]["voluntary"] is False
    assert (events[5]["code"], events[5]["signal"]) == (None, "SIGKILL")
    assert events[5]["voluntary"] is False


def test_s31a_a_message_to_a_worker_that_was_just_killed(start: Start) -> None:
    """Node's primary dies of an uncaught EPIPE.  Ours is told False."""
    with start() as lab:
        lab.fork()
        if isinstance(lab, NodeLab):
            lab.say("kill-and-send", 1)
            assert lab.process.wait(deadline=5) == 1
            lab.process.wait_for_line("EPIPE")  # its log may end later than it does
        else:
            assert lab.ask("kill-and-send", 1, answer="sent") is False
            lab.wait("exit", 1)
            lab.fork()
            assert lab.sequential(1) == [2]
