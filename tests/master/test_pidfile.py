"""The pid file: stale or not, written whole, and removed only by its owner."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from balancer.errors import RunError
from balancer.master.pidfile import pid_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OURS = f"{os.getpid()}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "b.pid"


@pytest.fixture
def other() -> Iterator[int]:
    """A live process of somebody else."""
    with subprocess.Popen(
        [sys.executable, "-IS", "-c", "input()"], stdin=subprocess.PIPE
    ) as process:
        yield process.pid
        assert process.stdin is not None
        process.stdin.close()
        process.kill()


def test_it_is_there_while_the_server_is(path: Path) -> None:
    with pid_file(str(path)):
        assert path.read_text() == OURS
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        assert os.listdir(path.parent) == ["b.pid"]
    assert os.listdir(path.parent) == []


def test_no_pid_file() -> None:
    with pid_file(None):
        pass


def test_it_goes_when_the_server_fails(path: Path) -> None:
    with pytest.raises(KeyError), pid_file(str(path)):
        raise KeyError
    assert not path.exists()


@pytest.mark.parametrize(
    "text", ["", OURS, "999999999\n", "4194305"], ids=["empty", "ours", "no pid", "nobody"]
)
def test_a_stale_file_is_replaced(path: Path, text: str) -> None:
    path.write_text(text)
    with pid_file(str(path)):
        assert path.read_text() == OURS


def test_a_live_servers_file_is_refused(path: Path, other: int) -> None:
    path.write_text(f"{other}\n")
    with pytest.raises(RunError) as caught, pid_file(str(path), "BALANCER_PID"):
        pass
    problem = f"process {other}, which is alive, has this pid file"
    assert str(caught.value) == f"BALANCER_PID {path}: {problem}"
    assert path.read_text() == f"{other}\n"
    assert os.listdir(path.parent) == ["b.pid"]


def test_a_reused_pid_is_stale(path: Path, other: int) -> None:
    path.write_text(f"{other}\n")
    yesterday = time.time() - 86400
    os.utime(path, (yesterday, yesterday))
    with pid_file(str(path)):
        assert path.read_text() == OURS


@pytest.mark.parametrize("text", ["root:x:0:0\n", "12 13\n", "-1\n", "0\n", "\0"])
def test_a_file_of_another_kind_is_refused(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(RunError) as caught, pid_file(str(path)):
        pass
    assert str(caught.value) == f"-p {path}: there is a file that holds no pid"
    assert path.read_text() == text


def test_the_next_masters_file_stays(path: Path) -> None:
    with pid_file(str(path)):
        path.write_text("12345\n")
    assert path.read_text() == "12345\n"


def test_a_file_that_went_missing_is_no_error(path: Path) -> None:
    with pid_file(str(path)):
        path.unlink()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("none/b.pid", "No such file or directory"), ("", "Is a directory")],
)
def test_a_file_that_cannot_be(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(RunError) as caught, pid_file(str(tmp_path / name)):
        pass
    assert str(caught.value) == f"-p {tmp_path / name}: {reason}"


def test_a_process_that_has_ended_is_stale_also_while_nobody_has_reaped_it(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        path.write_text(f"{zombie.pid}\n")
        with pid_file(str(path)):
            assert path.read_text() == f"{os.getpid()}\n"


def test_the_predecessors_file_is_written_when_the_server_is_ours(path: Path, other: int) -> None:
    path.write_text(f"{other}\n")
    with pid_file(str(path), predecessor=other) as file:
        assert path.read_text() == f"{other}\n"
        file.write()
        assert path.read_text() == OURS
    assert not path.exists()


def test_an_heir_that_fails_leaves_the_predecessors_file(path: Path, other: int) -> None:
    path.write_text(f"{other}\n")
    with pid_file(str(path), predecessor=other):
        pass
    assert path.read_text() == f"{other}\n"
    with pytest.raises(RunError, match=f"process {other}"), pid_file(str(path), predecessor=1):
        pass
