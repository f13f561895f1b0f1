"""A watcher process, and servers for it to watch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from typing import TYPE_CHECKING, final

import trio

from balancer.net.endpoints import EndpointTable
from balancer.settings.upstream import parse_upstream
from balancer.upstream.placement import place_all
from balancer.upstream.watcher.config import PoolConfig, WatcherConfig
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from balancer.net.endpoints import Address, EndpointRow

__all__ = ["Process", "closed_port", "config_for", "filled_table", "is_alive", "watching"]

OF_PROCESS = {field.name for field in fields(WatcherConfig)} - {"pools"}


def closed_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def local(port: int) -> Address:
    return int(socket.AF_INET), ("127.0.0.1", port)


def config_for(*upstreams: str, **more: object) -> WatcherConfig:
    """A quick one, for one pool; what is more is its pool's, or its own."""
    own = {name: more.pop(name) for name in OF_PROCESS & more.keys()}
    quick = PoolConfig(upstreams=upstreams, probe_interval=0.1, probe_timeout=0.5)
    pool = replace(quick, **more)  # type: ignore[arg-type]
    return WatcherConfig(pools=(pool,), **own)  # type: ignore[arg-type]


def filled_table(*addresses: Address, upstreams: tuple[str, ...]) -> EndpointTable:
    """One address per upstream."""
    table = EndpointTable.create(rows=4)
    pool = dict(enumerate(map(parse_upstream, upstreams)))
    place_all(table, pool, {number: [each] for number, each in enumerate(addresses)})
    return table


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and not only what is left of it."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False


@final
class Process:
    """A watcher that the test has started."""

    def __init__(self, process: trio.Process, table: EndpointTable) -> None:
        self.process = process
        self.table = table
        self.log = ""

    def row(self, index: int = 0) -> EndpointRow:
        found = self.table.heads.row(index)
        assert found is not None
        return found

    async def listen(self) -> None:
        assert self.process.stderr is not None
        async for data in self.process.stderr:
            self.log += data.decode()

    async def said(self, text: str) -> str:
        """The line with this text in it, once it is there."""
        await until(lambda: text in self.log and self.log.endswith("\n"))
        return next(line for line in self.log.splitlines() if text in line)


@asynccontextmanager
async def watching(config: WatcherConfig, table: EndpointTable) -> AsyncIterator[Process]:
    """A watcher that is ready; closes its input at the end, and the table."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-X", "dev", "-m", "balancer.upstream.watcher", str(table.fd)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[table.fd],
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    assert process.stdin is not None
    assert process.stderr is not None
    found = Process(process, table)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(found.listen)
            await process.stdin.send_all(config.encode())
            await until(lambda: table.helper_beat)
            yield found
            await process.stdin.aclose()
            with trio.fail_after(10):
                assert await process.wait() == 0, found.log
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        await process.stdin.aclose()
        await process.stderr.aclose()
        table.close()
    assert "Traceback" not in found.log
