"""The commands, against real sockets and, for the cruel parts, real processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from balancer.cli import main
from balancer.core.control import Reply, encode
from balancer.net.control import find_servers
from tests.core.test_control import status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime folder that the commands look into, and nothing else."""
    run, temporary = tmp_path / "run", tmp_path / "tmp"
    (run / "balancer").mkdir(parents=True, mode=0o700)
    temporary.mkdir()
    for variable in [name for name in os.environ if name.startswith("BALANCER_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(run))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    # real servers of whoever runs the tests are none of theirs
    monkeypatch.setattr("balancer.net.control._read_unix_table", lambda: "")
    monkeypatch.setattr("balancer.net.control._visible_folders", lambda *_: [run / "balancer"])
    return run / "balancer"


class Peer(threading.Thread):
    """Accepts one connection at a time, notes what it says and sends a canned answer."""

    def __init__(self, path: Path, answer: bytes) -> None:
        super().__init__(daemon=True)
        self.heard: list[dict[str, object]] = []
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()

    def run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                data = client.makefile("rb").readline()
                if data:
                    self.heard.append(json.loads(data))
                    client.sendall(self._answer)

    def close(self) -> None:
        # close() alone doesn't wake an accept()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.join()


@contextlib.contextmanager
def peer(path: Path, answer: Reply | bytes) -> Iterator[Peer]:
    made = Peer(path, answer if isinstance(answer, bytes) else encode(answer))
    made.start()
    try:
        yield made
    finally:
        made.close()


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, args)


OK = Reply(ok=True)
OTHER_VERSION = (
    "the server speaks control protocol 2 and the command 1; "
    "use the same version of balancer for both"
)


@pytest.mark.parametrize(
    ("args", "heard", "output"),
    [
        (["reload"], {"do": "reload", "v": 1, "wait": False}, "reloading\n"),
        (["reopen"], {"do": "reopen", "v": 1}, "reopening\n"),
        (
            ["scale", "3"],
            {"do": "scale", "v": 1, "workers": 3, "by": 0, "wait": False},
            "scaling to 3 workers\n",
        ),
        (
            ["scale", "1"],
            {"do": "scale", "v": 1, "workers": 1, "by": 0, "wait": False},
            "scaling to 1 worker\n",
        ),
        (
            ["drain", "7"],
            {"do": "drain", "v": 1, "worker_id": 7, "wait": False},
            "draining worker 7\n",
        ),
        (["stop"], {"do": "stop", "v": 1, "quick": False, "wait": False}, "stopping\n"),
        (["stop", "--quick"], {"do": "stop", "v": 1, "quick": True, "wait": False}, "stopping\n"),
    ],
)
def test_commands(home: Path, args: list[str], heard: dict[str, object], output: str) -> None:
    with peer(home / "web.sock", OK) as server:
        result = invoke(*args)
        assert (result.exit_code, result.output) == (0, output)
        assert server.heard == [heard]


@pytest.mark.parametrize(
    ("states", "code"), [(["ready", "draining"], 0), (["ready", "backoff"], 1)]
)
def test_status(home: Path, states: list[str], code: int) -> None:
    with peer(home / "web.sock", Reply(ok=True, result=status(*states))):
        result = invoke("status")
        assert result.exit_code == code
        first = result.output.splitlines()[0]
        assert first == "balancer 0.1.0 · running · pid 99 · up 12s · round-robin"
        as_json = invoke("status", "--json")
        assert as_json.exit_code == code
        assert [one["state"] for one in json.loads(as_json.output)["workers"]] == states


def test_the_json_keeps_what_a_newer_server_says(home: Path) -> None:
    result = json.loads(encode(Reply(ok=True, result=status("ready"))))["result"] | {"new": [1]}
    with peer(home / "web.sock", Reply(ok=True, result=result)):
        assert json.loads(invoke("status", "--json").output) == result


def test_a_refusal(home: Path) -> None:
    with peer(home / "web.sock", Reply(ok=False, error="drain 9: no such worker")):
        result = invoke("drain", "9")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == "balancer: error: drain 9: no such worker\n"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "the server closed the connection without an answer"),
        (b'{"ok":tr', "the server closed the connection without an answer"),
        (b"hello\n", "not a message of balancer's control protocol"),
        (b'{"v":2}\n', OTHER_VERSION),
        (b'{"v":1}\n', "the server's answer is not a reply of this protocol"),
    ],
)
def test_answers_that_are_none(home: Path, answer: bytes, problem: str) -> None:
    path = home / "web.sock"
    with peer(path, answer):
        result = invoke("reload")
        assert (result.exit_code, result.stderr) == (1, f"balancer: error: {path}: {problem}\n")


def test_a_status_that_cannot_be_read(home: Path) -> None:
    with peer(home / "web.sock", Reply(ok=True, result=[])):
        result = invoke("status")
        assert result.exit_code == 1
        assert result.stderr.startswith("balancer: error: the server's status can't be read: ")


def test_not_running(home: Path) -> None:
    nothing = "no server of yours is running (one with --no-control can't be seen)"
    path = home / "stale.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    for args, problem in [
        (["status"], nothing),
        (["status", "-n", "web"], "-n web: no such server is running"),
        (["status", "--control", str(path)], f"no server is running at {path}"),
        (["status", "--control", f"{path}x"], f"no server is running at {path}x"),
    ]:
        result = invoke(*args)
        assert (result.exit_code, result.stderr) == (3, f"balancer: error: {problem}\n")


def test_several_servers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with peer(home / "a.sock", OK) as first, peer(home / "b.sock", OK) as second:
        result = invoke("reload")
        assert result.exit_code == 2
        assert result.stderr == (
            "balancer: error: several servers are running, name one with -n: a, b\n"
        )
        assert invoke("reload", "-n", "b").exit_code == 0
        assert invoke("reload", "--control", str(home / "b.sock")).exit_code == 0
        monkeypatch.setenv("BALANCER_NAME", "b")
        assert invoke("reload").exit_code == 0
        assert (first.heard, len(second.heard)) == ([], 3)
        assert invoke("reload", "-n", "a").exit_code == 0
        assert len(first.heard) == 1
        monkeypatch.setenv("BALANCER_CONTROL", str(home / "a.sock"))
        monkeypatch.delenv("BALANCER_NAME")
        assert invoke("reload").exit_code == 0
        assert len(first.heard) == 2
        result = invoke("reload", "-n", "c")
        assert (result.exit_code, result.stderr) == (
            3, "balancer: error: -n c: no such server is running; there are: a, b\n",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["scale", "0"], "scale 0: must be at least 1"),
        (["scale", "9999"], "scale 9999: must be at most 1024"),
        (["scale", "x"], "scale x: not a whole number"),
        (["scale"], "Missing argument 'N'."),
        (["drain", "0"], "drain 0: must be at least 1"),
        (["status", "--timeout", "0"], "--timeout 0: must be more than 0"),
        (["status", "--timeout", "99999d"], "--timeout 99999d: longer than a hundred years"),
    ],
)
def test_bad_arguments(home: Path, args: list[str], problem: str) -> None:
    with peer(home / "web.sock", OK) as server:
        result = invoke(*args)
        assert (result.exit_code, result.stderr) == (2, f"balancer: error: {problem}\n")
        assert server.heard == []


def test_a_wedged_server(home: Path) -> None:
    path = home / "web.sock"
    with socket.socket(socket.AF_UNIX) as wedged:
        wedged.bind(str(path))
        wedged.listen(1)
        # first it only doesn't answer, then its backlog is full too
        for _ in range(4):
            result = invoke("status", "--timeout", "50ms")
            assert (result.exit_code, result.stdout) == (4, "")
            assert result.stderr == (
                f"balancer: error: the server at {path} doesn't answer (waited 0.05 s); "
                "its master may be stopped or overloaded, and may still obey when it goes on\n"
            )


@pytest.fixture
def real_server(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A control server in a process of its own."""
    command = [sys.executable, "-m", "tests.cli.server", str(home / "real.sock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield server
        server.kill()


def test_a_real_server_stopped_and_continued(real_server: subprocess.Popen[str]) -> None:
    assert invoke("status").exit_code == 0
    real_server.send_signal(signal.SIGSTOP)
    assert invoke("status", "--timeout", "0.1").exit_code == 4
    real_server.send_signal(signal.SIGCONT)
    assert invoke("drain", "2").stderr == "balancer: error: drain 2: no such worker\n"
    assert invoke("stop").output == "stopping\n"
    assert real_server.wait(10) == 0
    assert find_servers(dict(os.environ), os.geteuid()) == []
    assert invoke("status").exit_code == 3


HEAVY = ("trio", "h11", "asyncio", "tomllib", "balancer.master", "balancer.settings.load")


def test_commands_start_light(home: Path) -> None:
    """``balancer status`` is what monitors call every few seconds."""
    script = (
        "import sys; from balancer.cli import main\n"
        "try: main(['status', '--control', sys.argv[1]])\n"
        "finally: print(*[name for name in sys.argv[2:] if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(home / "none.sock"), *HEAVY],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (3, "\n")
