"""Lines into files, pipes and sockets: whole, in order, and never waiting."""

from __future__ import annotations

import logging
import os
import select
import socket
import time
from typing import TYPE_CHECKING

import pytest

from balancer.errors import RunError
from balancer.net import logfile
from balancer.net.logfile import ROOM, LogFile, check_log_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PIPE = 65536
"""What a pipe holds (pipe(7))."""
LINE = b"x" * 99 + b"\n"
BATCH = LINE * 100


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A named pipe, and its reading end."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path, reader
    os.close(reader)


def read_all(reader: int) -> bytes:
    found = b""
    try:
        while data := os.read(reader, PIPE):
            found += data
    except BlockingIOError:
        pass
    return found


def test_a_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"old\n")
    ours, theirs = LogFile(str(path)), LogFile(str(path))
    for number in range(4):
        (ours if number % 2 else theirs).write(b"%d\n" % number * 2)
    ours.close()
    ours.close()
    theirs.close()
    assert path.read_bytes() == b"old\n0\n0\n1\n1\n2\n2\n3\n3\n"
    assert path.stat().st_mode & 0o777 == 0o644


def test_one_write_per_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    original = os.write

    def write(fd: int, data: bytes) -> int:
        writes.append(len(data))
        return original(fd, data)

    file = LogFile(str(tmp_path / "log"))
    monkeypatch.setattr(os, "write", write)
    file.write(BATCH)
    file.close()
    assert writes == [len(BATCH)]


def test_reopen_goes_on_in_a_new_file(tmp_path: Path) -> None:
    path, old = tmp_path / "log", tmp_path / "log.1"
    file = LogFile(str(path))
    file.write(b"1\n")
    path.rename(old)
    file.write(b"2\n")
    file.reopen()
    file.write(b"3\n")
    file.close()
    assert old.read_bytes() == b"1\n2\n"
    assert path.read_bytes() == b"3\n"


def test_reopen_keeps_the_old_file_when_there_is_no_new_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    file = LogFile(str(folder / "log"))
    folder.rename(tmp_path / "moved")
    file.reopen()
    file.write(b"1\n")
    file.close()
    assert (tmp_path / "moved" / "log").read_bytes() == b"1\n"
    assert "can't be reopened (No such file or directory)" in caplog.text


def test_a_pipe_gets_whole_lines_in_atomic_pieces(
    fifo: tuple[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, reader = fifo
    pieces: list[bytes] = []
    original = os.write

    def write(fd: int, data: bytes) -> int:
        pieces.append(data)
        return original(fd, data)

    file = LogFile(str(path))
    monkeypatch.setattr(os, "write", write)
    long = b"y" * 5000 + b"\n"
    file.write(BATCH + long + LINE)
    assert read_all(reader) == BATCH + long + LINE
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert [len(piece) for piece in pieces if len(piece) > select.PIPE_BUF] == [5001]
    file.close()


def test_a_slow_reader_costs_lines_but_no_time(
    fifo: tuple[Path, int], caplog: pytest.LogCaptureFixture
) -> None:
    path, reader = fifo
    file = LogFile(str(path))
    sent = 0
    start = time.monotonic()
    while not caplog.records:
        file.write(BATCH)
        sent += 100
        assert sent < 100_000
    for _ in range(5):
        file.write(BATCH)
    assert time.monotonic() - start < 5
    assert caplog.messages == [
        f"access log {path}: its reader is too slow; lines are lost from now on"
    ]
    found = b""
    while data := read_all(reader):
        found += data
        file.retry()
    assert found == LINE * sent  # in order, none twice, and those that were kept are all there
    assert ROOM < len(found) < PIPE + ROOM + 2 * len(BATCH)
    assert caplog.messages[1:] == [f"access log {path}: 500 line(s) were lost"]
    file.write(b"on\n")
    assert read_all(reader) == b"on\n"
    file.close()
    assert len(caplog.messages) == 2


def test_what_nobody_reads_is_counted_at_the_end(
    fifo: tuple[Path, int], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = fifo
    monkeypatch.setattr(logfile, "LAST_PATIENCE", 0.05)
    file = LogFile(str(path))
    lines = 2 * PIPE // len(LINE)
    file.write(LINE * lines)
    file.close()
    taken = PIPE // 4096 * (4096 // len(LINE))
    assert caplog.messages == [f"access log {path}: {lines - taken} line(s) were lost"]


def test_a_reader_that_has_gone_is_no_exception(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = LogFile(str(path))
    os.close(reader)
    file.write(BATCH)
    file.retry()
    file.close()
    assert caplog.messages == [f"access log {path}: 100 line(s) were lost"]


def test_a_full_disk_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    file = LogFile(str(path))
    original = os.write
    room = 150

    def write(fd: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, os.strerror(28))
        taken = original(fd, data[:room])
        room -= taken
        return taken

    monkeypatch.setattr(os, "write", write)
    file.write(BATCH)
    file.write(b"more\n")
    assert path.read_bytes() == BATCH[:150]
    room = 1 << 20
    file.retry()
    assert path.read_bytes() == BATCH + b"more\n"
    assert not caplog.messages
    file.close()


def test_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    file = LogFile("-")
    file.write(b"one\n")
    file.reopen()
    file.write(b"two\n")
    file.close()
    assert capfd.readouterr().out == "one\ntwo\n"


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_standard_output_that_is_full_stays_blocking(kind: str) -> None:
    """O_NONBLOCK belongs to all who have that pipe or socket, the app's own output among them."""
    if kind == "pipe":
        reader, writer = os.pipe()
    else:
        ours, theirs = socket.socketpair()
        reader, writer = ours.detach(), theirs.detach()
    os.set_blocking(reader, False)
    saved = os.dup(1)
    os.dup2(writer, 1)
    try:
        file = LogFile("-")
        for _ in range(50):
            file.write(BATCH)
        assert os.get_blocking(1)
        found = b""
        while data := read_all(reader):
            found += data
            file.retry()
        file.close()
        assert found == BATCH * 50
    finally:
        os.dup2(saved, 1)
        for fd in (saved, reader, writer):
            os.close(fd)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing/log", "No such file or directory"),
        (".", "Is a directory"),
        ("fifo", "nobody reads from it"),
    ],
)
def test_what_can_not_be_written(tmp_path: Path, path: str, reason: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    full = str(tmp_path / path)
    with pytest.raises(RunError) as caught:
        check_log_file(full, "--access-logfile")
    assert str(caught.value) == f"--access-logfile {full}: {reason}"


def test_a_closed_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.__stdout__", None)
    with pytest.raises(RunError, match="standard output is closed"):
        check_log_file("-", "--access-logfile")


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the log says, also after a test that has configured it."""
    monkeypatch.setattr(logging.getLogger("balancer"), "propagate", True)
    caplog.set_level(logging.INFO, "balancer")
