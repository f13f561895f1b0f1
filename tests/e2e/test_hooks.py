"""``-c FILE.py`` with every hook there is: which process runs which, and in what order."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab import ask, until
from tests.support import raw
from tests.support.server import BalancerServer, ready

if TYPE_CHECKING:
    from pathlib import Path

ALL = """
import os

HERE = os.path.dirname(__file__)

def _note(*words):
    who = "worker" if "BALANCER_WORKER_ID" in os.environ else "master"
    with open(f"{HERE}/notes", "a") as file:
        print(who, *words, file=file)

raw_env = ["FROM_FILE=yes"]
def on_starting(server): _note("on_starting", server.cfg.workers)
def nworkers_changed(server, new, old): _note("nworkers_changed", new, old)
def when_ready(server): _note("when_ready", server.pid == os.getpid())
def on_reload(server): _note("on_reload")
def pre_fork(server, worker): _note("pre_fork", worker.id, worker.pid)
def child_exit(server, worker): _note("child_exit", worker.id, worker.exit_code)
def on_exit(server): _note("on_exit")
def post_fork(server, worker):
    _note("post_fork", worker.id, os.environ["FROM_FILE"], worker.pid == os.getpid())
def post_worker_init(worker): _note("post_worker_init", worker.id)
def worker_int(worker): _note("worker_int", worker.id)
def worker_abort(worker): _note("worker_abort", worker.id)
def worker_exit(server, worker): _note("worker_exit", worker.id, server.pid != os.getpid())
def pre_request(worker, req): _note("pre_request", worker.id, req.method, req.uri)
def post_request(worker, req, environ, resp): _note("post_request", worker.id, resp.status_code)
"""


class Notes:
    """What the hooks have written down."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "conf.py"
        self.config.write_text(ALL)
        self._file = folder / "notes"
        self._read = 0

    def until(self, last: str) -> list[str]:
        """What is new, once that line is there."""
        until(lambda: last in self._new(), what=last)
        new = self._new()
        self._read += len(new)
        return new

    def rest(self) -> list[str]:
        return self._new()

    def _new(self) -> list[str]:
        return self._file.read_text().splitlines()[self._read :] if self._file.exists() else []


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)


def started(worker: int) -> list[str]:
    return [
        f"master pre_fork {worker} None",
        f"worker post_fork {worker} yes True",
        f"worker post_worker_init {worker}",
    ]


@pytest.mark.parametrize("args", [(), ("--preload",)])
def test_the_whole_life_of_a_server(notes: Notes, args: tuple[str, ...]) -> None:
    with BalancerServer("-c", str(notes.config), *args, workers=1) as server:
        assert notes.until("master when_ready True") == [
            "master on_starting 1",
            "master nworkers_changed 1 None",
            *started(1),
            "master when_ready True",
        ]
        assert raw.get(server.port, "/x?y").status == 404
        assert notes.until("worker post_request 1 404") == [
            "worker pre_request 1 GET /x?y",
            "worker post_request 1 404",
        ]
        server.signal(signal.SIGHUP)
        assert notes.until("master child_exit 1 0") == [
            "master on_reload",
            *started(2),
            "worker worker_exit 1 True",
            "master child_exit 1 0",
        ]
        server.signal(signal.SIGTTIN)
        server.wait_ready(2)
        assert notes.until("worker post_worker_init 3") == [
            "master nworkers_changed 2 1",
            *started(3),
        ]
        server.kill(3)
        server.wait_for(lambda status: set(ready(status)) == {2, 4})
        # one task forks the next while another waits for the exit code of the last
        death = notes.until("worker post_worker_init 4")
        if len(death) < 4:
            death += notes.until("master child_exit 3 -9")
        assert [line for line in death if "child_exit" not in line] == started(4)
        assert [line for line in death if "child_exit" in line] == ["master child_exit 3 -9"]
        server.signal(signal.SIGTTOU)
        assert notes.until("master child_exit 4 0") == [
            "master nworkers_changed 1 2",
            "worker worker_exit 4 True",
            "master child_exit 4 0",
        ]
    assert notes.rest() == [
        "worker worker_exit 2 True",
        "master child_exit 2 0",
        "master on_exit",
    ]


def test_a_quick_stop_interrupts_the_workers(notes: Notes) -> None:
    with BalancerServer("-c", str(notes.config), workers=1) as server:
        notes.until("master when_ready True")
        server.signal(signal.SIGINT)
        assert server.process.wait(5) == 0
    assert notes.rest() == [
        "worker worker_int 1",
        "worker worker_exit 1 True",
        "master child_exit 1 0",
        "master on_exit",
    ]


def test_a_worker_that_hangs_is_told_before_it_is_killed(notes: Notes) -> None:
    with BalancerServer("-c", str(notes.config), "-t", "1", workers=1) as server:
        notes.until("master when_ready True")
        with ask(server.port, "/block/60"):
            notes.until("worker pre_request 1 GET /block/60")
            server.wait_for(lambda status: set(ready(status)) == {2})
            gone = notes.until("worker post_worker_init 2")
            if "master child_exit 1 -6" not in gone:
                gone += notes.until("master child_exit 1 -6")
        assert gone[0] == "worker worker_abort 1"
        assert sorted(gone[1:]) == sorted([*started(2), "master child_exit 1 -6"])
        server.wait_for_line("File .*demo.py")  # the stacks are in the log all the same


def test_a_reload_reads_the_workers_hooks_again(notes: Notes) -> None:
    config = notes.config
    with BalancerServer("-c", str(config), workers=1) as server:
        notes.until("master when_ready True")
        config.write_text("def post_fork(server, worker:\n")
        server.signal(signal.SIGHUP)
        server.wait_for_line(r"reload: -c .*conf\.py: SyntaxError: .*; the running workers stay$")
        server.wait_for_line(r"^    def post_fork\(server, worker:")
        assert list(server.workers) == [1]
        assert server.status()["master"]["reload_error"].startswith(f"-c {config}: SyntaxError")
        config.write_text(ALL.replace('_note("post_worker_init"', '_note("another one"'))
        server.signal(signal.SIGHUP)
        notes.until("worker another one 2")
        server.wait_for(lambda status: set(ready(status)) == {2})


def _fails(config: Path, text: str) -> tuple[int, list[str]]:
    config.write_text(text)
    server = BalancerServer("-c", str(config), workers=1)
    with server.process as process:
        code = process.wait(15)
        assert not process.survivors(deadline=1.0)
        return code, [line for line in process.log_lines() if "[INFO]" not in line]


def test_on_starting_that_fails_is_the_end(tmp_path: Path) -> None:
    config = tmp_path / "conf.py"
    code, said = _fails(config, "def on_starting(server):\n    raise OSError('no space')\n")
    assert code == 1
    assert said == [
        "balancer: error: hook on_starting failed: OSError: no space",
        "Traceback (most recent call last):",
        f'  File "{config}", line 2, in on_starting',
        "    raise OSError('no space')",
        "OSError: no space",
    ]


@pytest.mark.parametrize("hook", ["post_fork(server, worker)", "post_worker_init(worker)"])
def test_a_worker_whose_set_up_fails_does_not_start(hook: str, tmp_path: Path) -> None:
    code, said = _fails(tmp_path / "conf.py", f"def {hook}:\n    raise OSError('no space')\n")
    assert code == 3
    name = hook.partition("(")[0]
    assert re.search(rf"failed to start: hook {name} failed: OSError: no space; next one", said[0])
    assert said[1] == "Traceback (most recent call last):"
    assert said[-1] == (
        "balancer: error: no worker became ready: the last one failed to start: "
        f"hook {name} failed: OSError: no space"
    )


def test_other_hooks_may_fail(tmp_path: Path) -> None:
    config = tmp_path / "conf.py"
    config.write_text(
        "def fail(*_):\n    raise OSError('no space')\n"
        "when_ready = pre_fork = child_exit = worker_exit = on_exit = on_reload = fail\n"
        "pre_request = post_request = nworkers_changed = fail\n"
    )
    with BalancerServer("-c", str(config), workers=1) as server:
        assert raw.get(server.port).status == 200
        server.signal(signal.SIGHUP)
        server.wait_for_line("reload: done")
        server.wait_for(lambda status: set(ready(status)) == {2})
    log = "\n".join(server.log_lines())
    failed = set(re.findall(r"\[ERROR\] hook (\w+) failed: OSError: no space", log))
    assert failed == {
        "when_ready", "pre_fork", "child_exit", "worker_exit", "on_exit", "on_reload",
        "pre_request", "post_request", "nworkers_changed",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("workers = [1]", r"^balancer: error: -?.*conf\.py:1: workers = \[1\]: must be a number$"),
        ("1 / 0", r"^balancer: error: -c .*conf\.py: ZeroDivisionError: division by zero$"),
    ],
)
def test_a_bad_file_is_a_usage_error(text: str, says: str, tmp_path: Path) -> None:
    code, said = _fails(tmp_path / "conf.py", text)
    assert code == 2
    assert re.search(says, said[0])
    assert (len(said) == 1) == ("workers" in text)


def test_settings_of_a_file_and_what_has_no_effect(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("workers = 7\n")  # which nobody has named
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text(
        "import os\n"
        "async def app(exchange):\n"
        "    await exchange.respond(200, [], f\"{os.getcwd()} {os.environ['A']}\".encode())\n"
    )
    (tmp_path / "conf.py").write_text(
        f"chdir = {str(tmp_path / 'app')!r}\nraw_env = ['A=b=c']\nwsgi_app = 'native:main:app'\n"
        "workers = 7\ndaemon = True\nsyslog = True\n"
    )
    with BalancerServer("-c", "python:conf", workers=2, cwd=tmp_path) as server:
        assert len(server.workers) == 2  # -w of the command line is stronger
        assert raw.get(server.port).body.decode() == f"{tmp_path / 'app'} b=c"
        [line] = [line for line in server.log_lines() if "[WARNING]" in line]
        assert line.endswith("-c python:conf: no effect here: daemon, syslog")


def test_help_says_where_hooks_come_from() -> None:
    command = [sys.executable, "-m", "balancer", "serve", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    assert "python:MODULE" in done.stdout
