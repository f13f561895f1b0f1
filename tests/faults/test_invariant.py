"""No connection is touched by two workers, and none that nobody touched is lost.

The workers keep a ledger: a line before each ack leaves and one before each answer (see ``apps``).
The clients keep another: what became of each connection, and from which port it came.  Workers are
killed, stopped and continued at random moments, then the two are laid side by side.
"""

from __future__ import annotations

import random
import signal
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import trio

from tests.faults.apps import LEDGER
from tests.faults.lab import APPS, send
from tests.support import raw
from tests.support.server import BalancerServer, ready

if TYPE_CHECKING:
    from pathlib import Path

CLIENTS = 24
HUNG = 15.0
"""Seconds after which a client gives up; the longest stop is far shorter."""


@dataclass(slots=True)
class Account:
    """The clients' ledger, by the number of the connection."""

    total: int
    begun: int = 0
    answered: dict[int, int] = field(default_factory=dict)  # by worker
    broken: dict[int, str] = field(default_factory=dict)  # how
    peers: dict[int, tuple[str, int]] = field(default_factory=dict)

    async def client(self, port: int) -> None:
        while self.begun < self.total:
            self.begun += 1
            await self._connect(self.begun, port)

    async def _connect(self, number: int, port: int) -> None:
        with trio.socket.socket() as sock:
            # One address per few thousand connections, so that no port comes twice.
            await sock.bind((f"127.0.{1 + number // 8000}.1", 0))
            try:
                with trio.fail_after(HUNG):
                    await sock.connect(("127.0.0.1", port))
                    self.peers[number] = sock.getsockname()
                    await sock.send(raw.request(f"/{number}", close=True))
                    answer = await _receive_to_eof(sock)
            except trio.TooSlowError:
                self.broken[number] = "hung"
            except ConnectionRefusedError:
                self.broken[number] = "refused"
            except OSError:
                self.broken[number] = "reset"
            else:
                if answer:
                    self.answered[number] = raw.parse_response(answer).worker
                else:
                    self.broken[number] = "ended"


async def _receive_to_eof(sock: trio.socket.SocketType) -> bytes:
    data = b""
    while piece := await sock.recv(4096):
        data += piece
    return data


async def _torment(server: BalancerServer, account: Account, kills: list[int]) -> None:
    """Stop, continue and kill workers, at most one at a time, until the load has ended."""
    dice = random.Random(7)
    while account.begun < account.total:
        workers = await trio.to_thread.run_sync(lambda: ready(server.status()))
        if len(workers) < 2:
            await trio.sleep(0.01)
            continue
        victim = dice.choice(list(workers.values()))
        match dice.choice(("kill", "stop and kill", "stop")):
            case "kill":
                pass
            case "stop and kill":
                send(victim, signal.SIGSTOP)
                await trio.sleep(dice.choice((0, 0.001, 0.05, 0.15)))
            case _:
                send(victim, signal.SIGSTOP)
                await trio.sleep(dice.choice((0, 0.001, 0.05, 0.3)))
                send(victim, signal.SIGCONT)
                continue
        send(victim, signal.SIGKILL)
        kills.append(victim)
        await trio.sleep(dice.uniform(0, 0.1))


def _read(ledger: Path) -> tuple[dict[int, set[int]], set[tuple[str, int]]]:
    """Which workers touched each connection, and which peers' connections were acknowledged."""
    touched: dict[int, set[int]] = defaultdict(set)
    acknowledged = set()
    for line in ledger.read_text().splitlines():
        what, worker, *rest = line.split()
        if what == "touch":
            touched[int(rest[0][1:])].add(int(worker))
        else:
            acknowledged.add((rest[0], int(rest[1])))
    return touched, acknowledged


async def _hold(total: int, ledger: Path, *args: str) -> None:
    account = Account(total)
    kills: list[int] = []
    env = {LEDGER: str(ledger)}
    with BalancerServer(*args, workers=3, app=f"{APPS}accountable()", env=env) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_torment, server, account, kills)
            for _ in range(CLIENTS):
                nursery.start_soon(account.client, server.port)
    touched, acknowledged = _read(ledger)
    twice = {number: workers for number, workers in touched.items() if len(workers) > 1}
    untouched = {
        number: how
        for number, how in account.broken.items()
        if number not in touched and account.peers.get(number) not in acknowledged
    }
    summary = f"{total} connections, {len(kills)} kills, {len(account.broken)} lost"
    assert not twice, f"{summary}: touched by two {twice}"
    assert not untouched, f"{summary}: lost untouched {untouched}"
    assert len(account.answered) + len(account.broken) == total
    assert not {"hung", "refused"} & set(account.broken.values()), f"{summary}: {account.broken}"
    assert all(touched[number] == {by} for number, by in account.answered.items())
    assert kills
    print(summary)


@pytest.mark.parametrize("window", ["1", "8"])
async def test_nothing_is_touched_twice_or_lost_untouched(tmp_path: Path, window: str) -> None:
    await _hold(2500, tmp_path / "ledger", "--window", window)


@pytest.mark.soak
@pytest.mark.parametrize("window", ["1", "8"])
async def test_nothing_is_touched_twice_or_lost_untouched_for_long(
    tmp_path: Path, window: str
) -> None:
    await _hold(100_000, tmp_path / "ledger", "--window", window)
