"""Who has an address: real sockets of another process, and tables as the kernel prints them."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from balancer.net.holder import holder_of_path, holder_of_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEEP = "import sys; print(flush=True); sys.stdin.read()"
V4, V6 = socket.AF_INET, socket.AF_INET6


@contextmanager
def another_process(sock: socket.socket) -> Iterator[int]:
    """One that alone has a socket; its pid."""
    with subprocess.Popen(
        [sys.executable, "-c", KEEP],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[sock.fileno()],
    ) as process:
        sock.close()
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        yield process.pid
        process.stdin.close()


@pytest.mark.parametrize(
    ("family", "bound", "wanted"),
    [
        (V4, "127.0.0.1", (V4, "127.0.0.1")),
        (V4, "127.0.0.1", (V4, "0.0.0.0")),
        (V4, "0.0.0.0", (V4, "127.0.0.1")),
        (V6, "::1", (V6, "::1")),
        (V6, "::", (V4, "127.0.0.1")),
        (V4, "127.0.0.1", (V6, "::")),
    ],
)
def test_a_port(family: int, bound: str, wanted: tuple[int, str]) -> None:
    sock = socket.socket(family)
    try:
        sock.bind((bound, 0))
    except OSError:
        sock.close()
        pytest.skip("no IPv6 here")
    sock.listen()
    port = sock.getsockname()[1]
    with another_process(sock) as pid:
        assert re.fullmatch(
            rf" by python\S* \(pid {pid}\)", holder_of_port(wanted[0], (wanted[1], port))
        )


def test_another_address_is_not_meant() -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        port = ours.getsockname()[1]
        assert holder_of_port(V4, ("127.0.0.2", port)) == ""
        assert holder_of_port(V6, ("::1", port)) == ""


def test_a_path(tmp_path: Path) -> None:
    path = tmp_path / "with a blank"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    with another_process(sock) as pid:
        assert re.fullmatch(rf" by python\S* \(pid {pid}\)", holder_of_path(str(path)))
    assert holder_of_path(str(tmp_path / "another")) == ""


def test_our_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        address = "127.0.0.1", ours.getsockname()[1]
        assert (
            holder_of_port(V4, address)
            == " by this process: is it given twice? (a reload can't widen an address)"
        )


@pytest.mark.skipif(sys.byteorder != "little", reason="the table is in the machine's byte order")
def test_nobody_is_named_without_permission(tmp_path: Path) -> None:
    table = tmp_path / "net" / "tcp"
    table.parent.mkdir()
    table.write_text(
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  ...\n"
        "   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        "
        "0 4242 1 0000000000000000 100 0 0 10 0\n"
    )
    assert holder_of_port(V4, ("127.0.0.1", 8000), str(tmp_path)) == ""
    fds = tmp_path / "7" / "fd"
    fds.mkdir(parents=True)
    (tmp_path / "7" / "comm").write_text("nginx\n")
    (fds / "3").symlink_to("socket:[4242]")
    assert holder_of_port(V4, ("127.0.0.1", 8000), str(tmp_path)) == " by nginx (pid 7)"
    os.unlink(fds / "3")
    assert holder_of_port(V4, ("127.0.0.1", 8000), str(tmp_path)) == ""


def test_without_proc() -> None:
    assert holder_of_port(V4, ("127.0.0.1", 8000), "/nonexistent") == ""
    assert holder_of_path("/x", "/nonexistent") == ""
