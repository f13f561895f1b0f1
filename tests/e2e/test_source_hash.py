"""``--policy source-hash``: every client meets its own worker, as long as that one is well."""

from __future__ import annotations

import os
import signal
import socket
from time import monotonic
from typing import TYPE_CHECKING

from tests.support import raw
from tests.support.server import BalancerServer, ready

if TYPE_CHECKING:
    from tests.support.server import Status

HOSTS = [f"127.0.0.{number}" for number in range(1, 41)]
DEADLINE = 5.0


def ask(server: BalancerServer, host: str) -> int:
    """The id of the worker that answers a client with this address."""
    address = ("127.0.0.1", server.port)
    with socket.create_connection(address, DEADLINE, source_address=(host, 0)) as client:
        client.sendall(raw.request("/", close=True))
        reply = b""
        while received := client.recv(4096):
            reply += received
    head, _, body = reply.partition(b"\r\n\r\n")
    return raw.Response(int(head.split()[1]), head, body).worker


def ask_all(server: BalancerServer) -> dict[str, int]:
    return {host: ask(server, host) for host in HOSTS}


def slots(status: Status) -> dict[int, int]:
    """slot → id of the worker that is ready in it."""
    return {w["slot"]: w["id"] for w in status["workers"] if w["state"] == "ready"}


def test_a_client_meets_its_worker_and_the_one_that_replaces_it() -> None:
    with BalancerServer("--policy", "source-hash", workers=4) as server:
        before = ask_all(server)
        assert set(before.values()) == set(server.workers)
        assert ask_all(server) == before

        victim = before[HOSTS[0]]
        places = {worker: slot for slot, worker in slots(server.status()).items()}
        server.kill(victim)
        for host in (host for host in HOSTS if before[host] != victim):
            assert ask(server, host) == before[host]
        after = slots(server.wait_for(lambda s: victim not in ready(s) and len(ready(s)) == 4))
        assert ask_all(server) == {host: after[places[before[host]]] for host in HOSTS}


def test_a_stopped_workers_clients_are_served_by_the_others_and_come_back_to_it() -> None:
    with BalancerServer("--policy", "source-hash", workers=4) as server:
        before = ask_all(server)
        victim = before[HOSTS[0]]
        pid = server.kill(victim, signal.SIGSTOP)
        spread = set()
        for host in HOSTS:
            began = monotonic()
            worker = ask(server, host)
            assert monotonic() - began < 5  # it is never going to answer
            assert worker != victim
            assert before[host] in {worker, victim}
            if before[host] == victim:
                spread.add(worker)
        assert len(spread) > 1  # they don't all go to the same
        os.kill(pid, signal.SIGCONT)
        server.wait_for(lambda _: ask(server, HOSTS[0]) == victim)  # its heart beats again
        assert ask_all(server) == before
