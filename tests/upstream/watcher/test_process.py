"""The process itself: what it writes into the table, what it says, and when it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
import trio

from balancer.net.endpoints import EndpointTable
from balancer.net.endpoints.address import show_address
from balancer.upstream.watcher.config import WatcherConfig
from tests.support.wait import until
from tests.upstream.watcher.lab import closed_port, config_for, filled_table, local, watching
from tests.upstream.watcher.nameserver import name_server

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_the_config_travels() -> None:
    config = config_for("a:80", "unix:/ö", upstream_ca="/ca", user=7, probe="http:/x")
    assert WatcherConfig.decode(config.encode()) == config
    assert config.encode().count(b"\n") == 1


async def test_who_refuses_goes_down_and_comes_back() -> None:
    port = closed_port()
    with socket.create_server(("127.0.0.1", 0)) as good:
        texts = (f"127.0.0.1:{good.getsockname()[1]}", f"127.0.0.1:{port}")
        table = filled_table(local(good.getsockname()[1]), local(port), upstreams=texts)
        async with watching(config_for(*texts), table) as watcher:
            await until(lambda: watcher.row(1).down)
            line = await watcher.said("is down")
            assert line.endswith(
                f"[WARNING] upstream 127.0.0.1:{port} is down: 3 probes in a row failed: can't "
                "connect: Connection refused"
            )
            assert f"[{watcher.process.pid}]" in line
            with socket.create_server(("127.0.0.1", port)):
                await until(lambda: not watcher.row(1).down)
            assert "[INFO]" in await watcher.said(f"upstream 127.0.0.1:{port} is up")
            assert not watcher.row(0).down
            assert watcher.row(0).probed_at


async def test_a_worker_sees_it_at_once() -> None:
    """From the answer that makes a server bad to the table: an instant, not an interval."""
    answered: list[float] = []

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
        answered.append(trio.current_time())
        await stream.aclose()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    text = f"127.0.0.1:{port}"
    config = config_for(text, probe="http:/health", probe_interval=0.5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        table = filled_table(local(port), upstreams=(text,))
        async with watching(config, table) as watcher:
            version = table.heads.version
            await until(lambda: table.heads.version != version)
            seen = trio.current_time()
            assert watcher.row().down
            assert len(answered) == 3
            assert seen - answered[-1] < config.pools[0].probe_interval
            await watcher.said("it answers 500")
        nursery.cancel_scope.cancel()


async def test_names_are_followed(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    with socket.create_server(("127.0.0.1", 0)) as good:
        port = good.getsockname()[1]
        text = f"web.example:{port}"
        async with name_server() as server:
            server.zone["web.example"] = ["1 A 127.0.0.1", "1 A 127.0.0.2"]
            config = config_for(
                text,
                hosts=str(tmp_path / "hosts"),
                resolv_conf=str(tmp_path / "resolv.conf"),
                dns_port=server.port,
            )
            table = filled_table(local(port), upstreams=(text,))
            placed = table.heads.states()[0].placed
            async with watching(config, table) as watcher:
                await until(lambda: len(table.heads.states()) == 2)
                await until(lambda: watcher.row(1).down)  # where nobody listens
                await watcher.said(f"upstream 127.0.0.2:{port} of {text} is down")
                server.zone["web.example"] = ["1 A 127.0.0.1"]
                await until(lambda: len(table.heads.states()) == 1)
                (row,) = table.heads.states()
                assert show_address(row.address) == f"127.0.0.1:{port}"
                assert row.placed == placed
                await watcher.said(f"upstream {text} has other addresses: - 127.0.0.2:{port}")


async def test_without_probes_nothing_is_found() -> None:
    port = closed_port()
    text = f"127.0.0.1:{port}"
    table = filled_table(local(port), upstreams=(text,))
    async with watching(config_for(text, probe="off"), table) as watcher:
        assert watcher.row().probed_at == 0.0
        for number in (signal.SIGINT, signal.SIGTERM):  # it goes when the master does
            watcher.process.send_signal(number)
        beat = table.helper_beat
        await until(lambda: table.helper_beat > beat)
        assert watcher.row().probed_at == 0.0


@pytest.fixture
def for_all() -> Iterator[Path]:
    """A name server's address, not in tmp_path: that is below folders which are its user's only."""
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        file = Path(folder) / "resolv.conf"
        file.write_text("nameserver 127.0.0.1\n")
        yield file


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_it_is_who_the_workers_are(for_all: Path) -> None:
    async with name_server() as server:
        server.zone["web.example"] = ["1 A 127.0.0.1", "1 A 127.0.0.2"]
        config = config_for(
            "web.example:9",
            user=65534,
            dns_port=server.port,
            hosts="/nowhere",
            resolv_conf=str(for_all),
        )
        table = filled_table(local(9), upstreams=("web.example:9",))
        async with watching(config, table) as watcher:
            status = await trio.Path(f"/proc/{watcher.process.pid}/status").read_text()
            assert "\nUid:\t65534\t65534\t65534\t65534\n" in status
            assert "\nGid:\t65534\t65534\t65534\t65534\n" in status
            await until(lambda: len(table.heads.states()) == 2)


def run_watcher(line: bytes) -> subprocess.CompletedProcess[bytes]:
    """One that ends by itself."""
    table = EndpointTable.create(rows=1)
    command = [sys.executable, "-m", "balancer.upstream.watcher", str(table.fd)]
    try:
        return subprocess.run(
            command, input=line, capture_output=True, pass_fds=[table.fd], check=False, timeout=30
        )
    finally:
        table.close()


def test_what_cant_be_done_is_one_line() -> None:
    config = config_for("https://127.0.0.1:9", probe="http:/", upstream_ca="/nowhere/ca.pem")
    done = run_watcher(config.encode())
    assert done.returncode == 1
    assert done.stderr.startswith(b"the upstreams can't be watched: ")
    assert done.stderr.count(b"\n") == 1


def test_a_master_that_has_died_already() -> None:
    done = run_watcher(b'{"pools":')
    assert (done.returncode, done.stderr) == (0, b"")
