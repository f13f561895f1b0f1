"""Node's cluster module, default scheduling (round robin), plain `node:http` workers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, final

from benchmarks.peers.base import Peer, found, port_in

if TYPE_CHECKING:
    from benchmarks.process import ServerProcess

_SCRIPT = Path(__file__).with_name("node_cluster.js")


@final
class Node(Peer):
    name = "node cluster"
    ready_line = r"^worker \d+ ready"

    def __init__(self, hello: str = "") -> None:
        """`hello` is what `GET /` answers; empty: the demo's words, with the worker's pid."""
        self._hello = hello

    def command(self, workers: int, folder: Path) -> list[str]:  # noqa: ARG002 - it needs no file
        return [found("node"), str(_SCRIPT), str(workers), self._hello]

    def wait_started(self, process: ServerProcess) -> int:
        line = process.wait_for_line(r"^listening on \d+ with \d+ workers", deadline=20.0)
        return port_in(r"listening on (\d+)", line.text)
