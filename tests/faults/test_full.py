"""All workers are full: a connection waits, and costs nothing while it does."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time

import pytest

from tests.faults.lab import ask, cpu_seconds, readable
from tests.support import raw
from tests.support.server import BalancerServer

MEASURED = 1.0
"""Seconds of looking at a server that should do nothing."""


@pytest.mark.parametrize(
    ("policy", "window"),
    [
        ("round-robin", "1"),
        ("round-robin", "4"),
        ("least-connections", "1"),
        ("shared", "1"),
        ("reuseport", "1"),
    ],
)
def test_a_full_server_does_nothing_and_serves_when_there_is_room(policy: str, window: str) -> None:
    args = ("--policy", policy, "--window", window, "--worker-connections", "2")
    with BalancerServer(*args, workers=2) as server, contextlib.ExitStack() as stack:
        held = [stack.enter_context(raw.RawConnection(server.port)) for _ in range(4)]
        if policy == "reuseport":
            # The kernel's hash may have sent more than two to one of them.
            held = _settle(server, stack, held)
        answers = [each.get() for each in held]
        by_worker = [answer.worker for answer in answers]
        assert by_worker.count(1) == by_worker.count(2) == 2
        waiting = stack.enter_context(ask(server.port))
        if policy not in {"shared", "reuseport"}:
            # Each has said once that it is full.
            server.wait_for(lambda status: status["listeners"][0]["refused"] == 2)
        refused, cpu = _watch(server)
        assert refused == 0
        assert cpu < 0.02 * MEASURED + 0.02  # two ticks of the kernel's clock
        assert not readable([waiting])
        # Under reuseport it waits for one certain worker, so let both have room.
        held[by_worker.index(1)].close()
        held[by_worker.index(2)].close()
        assert waiting.receive_response().status == 200


def _settle(
    server: BalancerServer, stack: contextlib.ExitStack, held: list[raw.RawConnection]
) -> list[raw.RawConnection]:
    """Connections until each worker has two."""
    chosen: dict[int, list[raw.RawConnection]] = {1: [], 2: []}
    for connection in held:
        connection.close()
    while min(map(len, chosen.values())) < 2:
        connection = stack.enter_context(raw.RawConnection(server.port))
        mine = chosen[connection.get().worker]
        if len(mine) < 2:
            mine.append(connection)
        if len(mine) == 2:
            break
    return _other(server, stack, chosen)


def _other(
    server: BalancerServer,
    stack: contextlib.ExitStack,
    chosen: dict[int, list[raw.RawConnection]],
) -> list[raw.RawConnection]:
    """One worker is full: what the other one answers fills it, what nobody answers is let go."""
    while min(map(len, chosen.values())) < 2:
        connection = stack.enter_context(raw.RawConnection(server.port))
        try:
            answer = connection.get(deadline=0.2)
        except TimeoutError:
            connection.close()
            continue
        chosen[answer.worker].append(connection)
    return [*chosen[1], *chosen[2]]


def _watch(server: BalancerServer) -> tuple[int, float]:
    """Refusals, and seconds of the master's CPU, in MEASURED seconds."""
    refused = server.status()["listeners"][0]["refused"]
    cpu = cpu_seconds(server.pid)
    time.sleep(MEASURED)  # not to wait for something, but to see nothing happen
    cpu = cpu_seconds(server.pid) - cpu
    return server.status()["listeners"][0]["refused"] - refused, cpu


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not on PATH")
def test_a_full_server_sends_no_hand_offs() -> None:
    with BalancerServer("--worker-connections", "1", workers=2) as server:
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(raw.RawConnection(server.port)) for _ in range(2)]
            assert {each.get().status for each in held} == {200}
            waiting = [stack.enter_context(ask(server.port)) for _ in range(5)]
            server.wait_for(lambda status: status["listeners"][0]["accepted"] >= 3)
            seen = _sendmsgs(server.pid, seconds=1.0)
            held[0].close()
            assert [each.receive_response().status for each in waiting] == [200] * 5
        assert seen == 0


def _sendmsgs(pid: int, seconds: float) -> int:
    command = ["strace", "-q", "-f", "-e", "trace=sendmsg", "-p", str(pid)]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with contextlib.suppress(subprocess.TimeoutExpired):
        strace.wait(seconds)
        assert strace.stderr is not None
        pytest.skip(f"strace can't be used here: {strace.stderr.read().strip()}")
    strace.terminate()
    _, said = strace.communicate(timeout=5)
    return said.count("sendmsg(")
