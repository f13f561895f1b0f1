"""Node's cluster module, with either of its schedulings, and plain `node:http` workers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, final

from benchmarks.peers.base import Peer, found, port_in

if TYPE_CHECKING:
    from benchmarks.process import ServerProcess

_SCRIPT = Path(__file__).with_name("node_cluster.js")


@final
class Node(Peer):
    """Round robin, Node's default, or `shared`: its SCHED_NONE, all workers on one listener."""

    ready_line = r"^worker \d+ ready"

    def __init__(
        self, hello: str = "", *, shared: bool = False, backlog: int = 511, keep_alive: float = 5.0
    ) -> None:
        """`hello` is what `GET /` answers; empty: the demo's words, with the worker's pid.

        `backlog` and `keep_alive` (seconds) are Node's own unless told otherwise.
        """
        self.name = "node cluster none" if shared else "node cluster"
        self.hands_over = not shared
        self._hello = hello
        self._environment = {
            "NODE_CLUSTER_SCHED_POLICY": "none" if shared else "rr",
            "BACKLOG": str(backlog),
            "KEEP_ALIVE_MS": f"{keep_alive * 1000:.0f}",
        }

    def environment(self) -> dict[str, str]:
        return self._environment

    def command(self, workers: int, folder: Path) -> list[str]:  # noqa: ARG002 - it needs no file
        return [found("node"), str(_SCRIPT), str(workers), self._hello]

    def wait_started(self, process: ServerProcess) -> int:
        line = process.wait_for_line(r"^listening on \d+ with \d+ workers", deadline=20.0)
        return port_in(r"listening on (\d+)", line.text)
