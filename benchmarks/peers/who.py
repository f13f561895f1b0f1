"""Which processes serve: by what they answer, and by the process table where one never does.

A study stops one of the workers, makes one of them slow and counts what each has got, so it must
know them all. The answer to `/block/SECONDS` says its pid. Who has a listener in common with the
others may never be woken as long as somebody else is idle, so the questions keep those busy whom
they have found, and come one after the other: who wakes up takes all that wait.
"""

from __future__ import annotations

import re
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks.process import ProcessError

if TYPE_CHECKING:
    from benchmarks.peers.base import RunningPeer

_BUSY = 0.02
_APART = 0.002
_TIMES = 10
_PID = re.compile(rb"^HTTP/1\.\d 200 .* in pid (\d+)\n", re.DOTALL)


def serving(running: RunningPeer, workers: int, *, times: int = _TIMES) -> list[int]:
    """The pids of the workers, sorted; asks so many times for as long as one is unknown.

    ProcessError: somebody else answers, or there are not as many as were asked for.
    """
    known: set[int] = set()
    for _ in range(times):
        known |= _ask(running.port, 2 * workers)
        if len(known) >= workers:
            break
    else:
        known |= running.workers()
    if len(known) != workers:
        raise ProcessError(f"{len(known)} processes serve where {workers} workers were started")
    return sorted(known)


def _ask(port: int, count: int) -> set[int]:
    """Who answers so many questions, each on a connection of its own, all within a moment."""
    question = f"GET /block/{_BUSY} HTTP/1.1\r\nHost: peers\r\nConnection: close\r\n\r\n".encode()
    with ExitStack() as stack:
        asked = []
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10.0))
            sock.sendall(question)
            asked.append(sock)
            time.sleep(_APART)
        return {_answered_by(sock) for sock in asked}


def _answered_by(sock: socket.socket) -> int:
    answer = b""
    try:
        while piece := sock.recv(65536):
            answer += piece
    except OSError as error:
        raise ProcessError(f"no answer to the question who serves: {error}") from error
    match = _PID.match(answer)
    if match is None:
        raise ProcessError(f"the question who serves was answered with {answer[:200]!r}")
    return int(match[1])
