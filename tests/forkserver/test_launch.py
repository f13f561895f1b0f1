"""A fork server that is started by way of precaution: when it is taken, and when it is not."""

from __future__ import annotations

import os
import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from balancer.forkserver.launch import WORKER_ENTRY, Launched, forget, launch, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VARIABLE = "BALANCER_TEST_VARIABLE"


@contextmanager
def launched(entry: str = WORKER_ENTRY) -> Iterator[Launched]:
    found = launch(entry)
    try:
        yield found
    finally:
        found.close()
        forget()


def prepared(folder: str = ".", **variables: str) -> int:
    """The pid of one that is prepared."""
    prepare(folder, variables)
    from balancer.forkserver.launch import _prepared

    assert _prepared is not None
    return _prepared.process.pid


def test_it_is_taken_once() -> None:
    pid = prepared()
    with launched() as first, launched() as second:
        assert first.process.pid == pid
        assert second.process.pid != pid


def test_it_has_the_folder_and_the_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/for-the-master-only")
    pid = prepared(str(tmp_path), **{VARIABLE: "x"})
    assert os.readlink(f"/proc/{pid}/cwd") == str(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "x")
    monkeypatch.delenv("NOTIFY_SOCKET")
    with launched() as found:
        assert found.process.pid == pid


@pytest.mark.parametrize("change", ["variable", "folder", "limit", "entry", "death"])
def test_it_is_not_taken_when_something_has_changed(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = prepared()
    entry = "tests.forkserver.entry" if change == "entry" else WORKER_ENTRY
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if change == "variable":
        monkeypatch.setenv(VARIABLE, "y")
    elif change == "folder":
        monkeypatch.chdir(tmp_path)
    elif change == "limit":
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    elif change == "death":
        os.kill(pid, 9)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    try:
        with launched(entry) as found:
            assert found.process.pid != pid
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not os.path.exists(f"/proc/{pid}")


def test_it_is_gone_when_it_is_forgotten() -> None:
    pid = prepared()
    forget()
    assert not os.path.exists(f"/proc/{pid}")
    forget()


def test_a_folder_that_is_not_there_is_somebody_elses_error() -> None:
    prepare("/nonexistent", {})
    with launched() as found:
        assert found.process.poll() is None


def test_one_can_be_started_in_a_folder_that_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").mkdir()
    os.chdir("gone")
    (tmp_path / "gone").rmdir()
    with launched() as found:
        assert found.process.poll() is None
