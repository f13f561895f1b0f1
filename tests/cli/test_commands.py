"""The commands, against real sockets and, for the cruel parts, real processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
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
    monkeypatch.setenv("TMPDIR", str(temporary))
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
DONE = Reply(ok=True, done=True)
OTHER_VERSION = (
    "the server speaks control protocol 2 and the command 1; "
    "use the same version of balancer for both"
)


def said(do: str, **fields: object) -> dict[str, object]:
    """A request as it is on the wire."""
    return {"do": do, "v": 1, **fields}


@pytest.mark.parametrize(
    ("args", "heard", "output"),
    [
        ("reload", said("reload", wait=False), "reloading"),
        ("reload --wait", said("reload", wait=True), "reloaded"),
        ("restart", said("restart", worker_id=None, wait=False), "restarting"),
        ("restart --wait", said("restart", worker_id=None, wait=True), "restarted"),
        ("restart 3", said("restart", worker_id=3, wait=False), "replacing worker 3"),
        ("restart 3 --wait", said("restart", worker_id=3, wait=True), "worker 3 is replaced"),
        ("scale 3", said("scale", workers=3, by=0, wait=False), "scaling to 4 workers"),
        ("scale --wait +1", said("scale", workers=None, by=1, wait=True), "scaled to 4 workers"),
        ("scale -2", said("scale", workers=None, by=-2, wait=False), "scaling to 4 workers"),
        ("drain 7", said("drain", worker_id=7, wait=False), "draining worker 7"),
        ("drain 7 --wait", said("drain", worker_id=7, wait=True), "worker 7 is drained"),
        ("drain a:80", said("drain-upstream", upstream="a:80", wait=False), "draining a:80"),
        ("drain [::1]:80 --wait", said("drain-upstream", upstream="[::1]:80", wait=True),
         "[::1]:80 is drained"),
        ("resume 7", said("resume", worker_id=7), "worker 7 is in service"),
        ("resume a:80", said("resume-upstream", upstream="a:80"), "a:80 is in service"),
        ("weight a:80 3", said("weight", upstream="a:80", weight=3), "a:80 has weight 3"),
        ("log-level debug", said("log-level", level="debug"), "the log level is debug"),
        ("reopen", said("reopen"), "reopening"),
        ("upgrade", said("upgrade", wait=False), "upgrading"),
        ("upgrade --wait", said("upgrade", wait=True), "upgraded"),
        ("stop", said("stop", quick=False, wait=False), "stopping"),
        ("stop --quick", said("stop", quick=True, wait=False), "stopping"),
    ],
)  # fmt: skip
def test_commands(home: Path, args: str, heard: dict[str, object], output: str) -> None:
    reply = Reply(ok=True, result=4 if "scale" in args else None, done="--wait" in args)
    with peer(home / "web.sock", reply) as server:
        result = invoke(*args.split())
        assert (result.exit_code, result.output) == (0, f"{output}\n")
        assert server.heard == [heard]


@pytest.mark.parametrize(
    ("args", "output"),
    [
        ("reload --wait", {"do": "reload", "done": True}),
        ("restart 3", {"do": "restart", "worker_id": 3, "done": False}),
        ("scale +2 --wait", {"do": "scale", "by": 2, "workers": 4, "done": True}),
        ("resume 7", {"do": "resume", "worker_id": 7}),
        ("weight a:80 3", {"do": "weight", "upstream": "a:80", "weight": 3}),
        ("stop --quick", {"do": "stop", "quick": True, "done": False}),
    ],
)
def test_json_says_what_was_done(home: Path, args: str, output: dict[str, object]) -> None:
    reply = Reply(ok=True, result=4 if "scale" in args else None, done="--wait" in args)
    with peer(home / "web.sock", reply):
        result = invoke(*args.split(), "--json")
        assert (result.exit_code, result.stderr) == (0, "")
        assert json.loads(result.stdout) == {"ok": True} | output


@pytest.mark.parametrize(
    ("args", "code", "error"),
    [
        ("drain 9", 1, "drain 9: no such worker"),
        ("scale", 2, "Missing argument 'N'."),
        ("drain 0", 2, "drain 0: must be at least 1"),
        ("status -n other", 3, "-n other: no such server is running; there are: web"),
    ],
)
def test_json_says_what_went_wrong(home: Path, args: str, code: int, error: str) -> None:
    with peer(home / "web.sock", Reply(ok=False, error="drain 9: no such worker")):
        result = invoke(*args.split(), "--json")
        assert (result.exit_code, result.stderr) == (code, "")
        assert json.loads(result.stdout) == {"ok": False, "error": error}


def test_a_server_that_is_too_old_to_wait(home: Path) -> None:
    with peer(home / "web.sock", OK):
        result = invoke("reload", "--wait")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == (
            "balancer: error: the server is older than this command line: it has begun, and can't "
            "say when it is done; leave --wait out\n"
        )


def test_status_has_colors_where_they_are_wanted(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def colors(*args: str, terminal: bool = False) -> bool:
        return "\x1b[" in CliRunner().invoke(main, ["status", *args], color=terminal).output

    monkeypatch.delenv("NO_COLOR", raising=False)
    with peer(home / "web.sock", Reply(ok=True, result=status("ready"))):
        assert not colors()
        assert colors("--color")
        assert colors(terminal=True)
        assert not colors("--no-color", terminal=True)
        monkeypatch.setenv("NO_COLOR", "1")
        assert not colors(terminal=True)
        assert colors("--color", terminal=True)


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
        (["scale", "-0"], "scale -0: changes nothing"),
        (["scale", "+x"], "scale +x: not a whole number"),
        (["scale", "+9999"], "scale +9999: must be at most 1024"),
        (["drain", "0"], "drain 0: must be at least 1"),
        (["drain", "-1"], "No such option '-1'."),
        (["restart", "x"], "restart x: not a whole number"),
        (["weight", "a:80"], "Missing argument 'N'."),
        (["weight", "a:80", "0"], "weight a:80 0: must be at least 1"),
        (["weight", "a:80", "999"], "weight a:80 999: must be at most 256"),
        (
            ["log-level", "loud"],
            "log-level loud: must be one of debug, info, warning, error, critical",
        ),
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


def test_what_was_waited_for_may_still_be_done(home: Path) -> None:
    path = home / "web.sock"
    with socket.socket(socket.AF_UNIX) as wedged:
        wedged.bind(str(path))
        wedged.listen(1)
        result = invoke("reload", "--wait", "--timeout", "50ms")
        assert result.exit_code == 4
        assert result.stderr == (
            f"balancer: error: the server at {path} hasn't said that it is done (waited 0.05 s); "
            "what was begun goes on, unless its master is stopped or overloaded\n"
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
    assert invoke("stop", "--wait").output == "stopped\n"
    assert real_server.poll() == 0
    assert find_servers(dict(os.environ), os.geteuid()) == []
    assert invoke("status").exit_code == 3


HEAVY = (
    "trio", "h11", "asyncio", "tomllib", "tempfile", "balancer.master", "balancer.settings.load",
    "balancer.settings.table",
)  # fmt: skip


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
