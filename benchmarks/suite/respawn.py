"""SIGKILL of the only worker: how long until the next one is ready, and until a client is served.

One worker, so that there is no survivor to answer: `answer` is the time from the kill to the first
byte for a client that connects at once; where the port refuses it tries again every millisecond,
and where the connection hangs (Node's primary forgets the one it had handed to the dead) every
second.
`ready` is the time until the server's log says that the new worker is ready, for servers that say
so. Kills are spaced out: a supervisor may rightly slow down a worker that dies five times a second.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from statistics import median
from typing import TYPE_CHECKING, final

from benchmarks.loadgen import Outcome, Plan, run
from benchmarks.loads import LoadError
from benchmarks.measure import command_line
from benchmarks.process import ProcessError
from benchmarks.runner import Metric

if TYPE_CHECKING:
    from benchmarks.peers import RunningPeer
    from benchmarks.runner import Options, Sample

_KILLS = 6  # per sample: five rounds make thirty
_SPACING = 0.4  # seconds
_DEADLINE = 10.0
_PATIENCE = 1.0  # of the client with one connection


@final
class Respawn:
    name = "respawn"
    metrics = (
        Metric("ready", "kill → ready ms", 1, 1e3, higher_is_better=False),
        Metric("answer", "kill → answer ms", 1, 1e3, higher_is_better=False),
        Metric("refused", "refused", higher_is_better=False, is_count=True),
        Metric("hung", "hung", higher_is_better=False, is_count=True),
    )

    def workers(self, options: Options) -> int:  # noqa: ARG002 - always one
        return 1

    def warm_up(self, peer: RunningPeer, options: Options) -> None:  # noqa: ARG002 - a fixed count
        run(Plan(port=peer.port, count=50, keep_records=False))

    def sample(self, peer: RunningPeer, options: Options) -> Sample:  # noqa: ARG002 - a fixed count
        kills = [_kill_once(peer) for _ in range(_KILLS)]
        times = {
            key: median(found)
            for key in ("ready", "answer")
            if (found := [kill[key] for kill in kills if key in kill])
        }
        return times | {key: sum(kill[key] for kill in kills) for key in ("refused", "hung")}


def _kill_once(peer: RunningPeer) -> Sample:
    time.sleep(_SPACING)
    (worker,) = peer.workers()
    lines_before = len(peer.process.log())
    killed = time.monotonic()
    try:
        os.kill(worker, signal.SIGKILL)
    except ProcessLookupError as error:
        raise LoadError(f"the worker was gone: {command_line(worker)}") from error
    sample = _first_answer(peer.port, worker, killed)
    if peer.ready_line:
        try:
            line = peer.process.wait_for_line(peer.ready_line, after=lines_before)
        except ProcessError as error:
            raise LoadError(str(error)) from error
        sample["ready"] = line.at - killed
    return sample


def _first_answer(port: int, dead: int, killed: float) -> Sample:
    """Connect until somebody else than the dead worker answers."""
    lost: Counter[str] = Counter()
    while time.monotonic() - killed < _DEADLINE:
        (record,) = run(Plan(port=port, count=1, timeout=_PATIENCE)).records
        if record.outcome == Outcome.OK and record.pid != dead:
            return {
                "answer": record.start + record.first_byte - killed,
                "refused": float(lost[Outcome.REFUSED]),
                "hung": float(lost[Outcome.TIMEOUT]),
            }
        lost[record.outcome] += 1
        time.sleep(0.001)
    raise LoadError(f"nobody answered within {_DEADLINE:g} s of the kill")
