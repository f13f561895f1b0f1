"""``--reload``: changed code answers, broken code does no harm, and a first mistake is no end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.lab import until
from tests.support import raw
from tests.support.server import BalancerServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# else two versions of one second and one size would be the same to the import system
ENV = {"PYTHONDONTWRITEBYTECODE": "1"}


def _write(folder: Path, answer: str) -> None:
    (folder / "part.py").write_text(f"ANSWER = {answer}\n")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text(
        "from part import ANSWER\n"
        "async def app(exchange):\n"
        "    await exchange.respond(200, [], ANSWER)\n"
    )
    _write(tmp_path, "b'one'")
    return tmp_path


@pytest.fixture
def server(project: Path) -> Iterator[BalancerServer]:
    made = BalancerServer("--reload", workers=1, app="native:main:app", cwd=project, env=ENV)
    with made as server:
        server.wait_for_line("watching .* for changes")
        yield server


def _answers(server: BalancerServer, body: bytes) -> bool:
    return raw.get(server.port).body == body


def test_new_code_answers_and_broken_code_does_not(server: BalancerServer, project: Path) -> None:
    assert _answers(server, b"one")
    _write(project, "b'two'")
    until(lambda: _answers(server, b"two"))
    server.wait_for_line("part.py changed: reloading")
    before = len(server.log_lines())
    _write(project, "b'three' +")
    server.wait_for_line("the running workers stay", after=before)
    server.wait_for_line(r"SyntaxError: .*part\.py", after=before)
    assert _answers(server, b"two")
    _write(project, "b'four'")
    until(lambda: _answers(server, b"four"))
    (project / "notes.txt").write_text("which nobody watches")
    assert sum("changed: reloading" in line for line in server.log_lines()) == 3


@pytest.mark.parametrize("args", [(), ("--preload",)])
def test_a_first_mistake_is_mended_while_it_waits(args: tuple[str, ...], project: Path) -> None:
    _write(project, "b'one' +")
    server = BalancerServer(
        "--reload", *args, workers=2, app="native:main:app", cwd=project, env=ENV
    )
    with server.process as process:
        process.wait_for_lines(r"failed to start: app .*; the next change of a file", 2)
        process.wait_for_line("watching .* for changes")
        before = len(process.log_lines())
        _write(project, "b'two' +")
        process.wait_for_line("the running workers stay|reload: app", after=before)
        assert server.status()["master"]["state"] == "starting"
        assert process.returncode is None
        _write(project, "b'three'")
        server.wait_started()
        server.wait_ready(2)
        assert _answers(server, b"three")
        server.finish()
