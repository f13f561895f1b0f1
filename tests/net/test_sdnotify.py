"""Datagrams to systemd, which a socket of the test stands in for."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from balancer.net.sdnotify import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def systemd(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address.replace("@", "\0"))
        sock.settimeout(5)
        yield sock


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    abstract = f"@balancer-test-{os.getpid()}"
    return str(tmp_path / "notify") if request.param == "path" else abstract


def test_a_message_is_one_datagram(address: str) -> None:
    with systemd(address) as sock:
        notifier = Notifier(address)
        assert notifier.active
        notifier.notify("READY=1\nSTATUS=fine \u2713")
        assert sock.recv(1000).decode() == "READY=1\nSTATUS=fine \u2713"
        notifier.close()
        notifier.notify("STATUS=never")
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)


def test_another_socket_at_the_same_path_is_found(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    notifier = Notifier(path)
    for text in ("READY=1", "STOPPING=1"):
        with systemd(path) as sock:
            notifier.notify(text)
            assert sock.recv(100) == text.encode()
        os.unlink(path)
    notifier.close()


@pytest.mark.parametrize("address", ["/nonexistent/notify", "vsock:2:1", "/" + "x" * 200])
def test_what_can_not_be_sent_is_said_once(address: str, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier(address)
    with caplog.at_level(logging.WARNING, "balancer"):
        notifier.notify("READY=1")
        notifier.notify("STOPPING=1")
    notifier.close()
    assert len(caplog.records) == 1
    assert caplog.messages[0].startswith(f"NOTIFY_SOCKET={address}: systemd can't be told how")


def test_a_reader_that_sleeps_holds_nobody_up(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with systemd(path) as sock:
        notifier = Notifier(path)
        while notifier.notify("STATUS=x"):
            pass
        sock.recv(100)
        assert notifier.notify("READY=1")
        notifier.close()


def test_without_systemd_nothing_happens() -> None:
    notifier = Notifier.from_environ({}, 1)
    assert not notifier.active
    notifier.notify("READY=1")
    assert notifier.variables() == {}


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("30000000", "7", 30.0),
        ("500000", "", 0.5),  # whoever reads it
        ("30000000", "8", None),  # somebody else is watched
        ("0", "7", None),
        ("x", "7", None),
        ("", "", None),
    ],
)
def test_the_variables_are_read_and_go(usec: str, pid: str, seconds: float | None) -> None:
    environ = {"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid, "HOME": "/"}
    notifier = Notifier.from_environ(environ, 7)
    assert notifier.watchdog == seconds
    assert environ == {"HOME": "/"}
    # what the next master is started with
    passed_on = notifier.variables()
    assert passed_on.pop("NOTIFY_SOCKET") == "@n"
    assert passed_on == ({} if seconds is None else {"WATCHDOG_USEC": usec})


def test_a_watchdog_without_a_socket_is_none() -> None:
    assert Notifier.from_environ({"WATCHDOG_USEC": "1"}, 7).watchdog is None
