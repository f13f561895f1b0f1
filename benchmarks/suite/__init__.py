"""The benchmarks, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.suite.handoff import Handoff
from benchmarks.suite.keepalive import KeepAlive
from benchmarks.suite.memory import Memory
from benchmarks.suite.respawn import Respawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.runner import Benchmark

BENCHMARKS: dict[str, Callable[[], Benchmark]] = {
    "handoff": Handoff,
    "keepalive": KeepAlive,
    "memory": Memory,
    "respawn": Respawn,
}
