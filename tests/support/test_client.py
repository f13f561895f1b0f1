"""Loads in the background: progress, stop, and the account across a process boundary."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.client import InProcess, InThread, Outcome, Plan, main
from tests.support.tiny import HELLO, read_request, tiny_server

if TYPE_CHECKING:
    import socket


def _hello(sock: socket.socket, number: int) -> None:  # noqa: ARG001 - the server's signature
    while read_request(sock):
        sock.sendall(HELLO)


def test_a_load_in_a_thread_can_be_watched_and_stopped() -> None:
    with tiny_server(_hello) as port, InThread(Plan(port=port, rate=200, duration=60)) as load:
        load.wait_for_attempts(10)
        report = load.stop()
    assert report.ok == report.attempts >= 10


def test_a_load_in_a_process_reports_the_same() -> None:
    with (
        tiny_server(_hello) as port,
        InProcess(Plan(port=port, keep_alive=True, count=30, concurrency=3)) as load,
    ):
        report = load.wait()
    assert report.outcomes == {Outcome.OK: 30}
    assert report.by_worker == {1: 30}
    assert len(report.records) == 30
    assert report.records[0].pid == 4321


def test_a_load_in_a_process_can_be_stopped() -> None:
    with tiny_server(_hello) as port, InProcess(Plan(port=port, rate=100, duration=60)) as load:
        report = load.stop()
    assert report.failed == 0
    assert report.seconds < 30


def test_waiting_for_attempts_that_never_come_fails() -> None:
    with (
        tiny_server(_hello) as port,
        InThread(Plan(port=port, count=3)) as load,
        pytest.raises(AssertionError, match="no 10 attempts"),
    ):
        load.wait_for_attempts(10)


def test_the_command_line_prints_the_account(capsys: pytest.CaptureFixture[str]) -> None:
    with tiny_server(_hello) as port:
        assert main([str(port), "--count", "5"]) == 0
    assert json.loads(capsys.readouterr().out)["outcomes"] == {"ok": 5}
