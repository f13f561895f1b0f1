"""``balancer serve`` up to the master: flags to settings, errors to one line and a code."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from balancer import __version__
from balancer.cli import main
from balancer.errors import AppError, BootError, ExitCode, RunError
from balancer.settings import FdBind, Settings, TcpBind, UnixBind
from balancer.settings.policy import WORKER_NAMES
from balancer.settings.table import FOR_APPS_ONLY, SETTINGS, UPSTREAM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from balancer.hooks import Hooks

POLICIES = ", ".join(WORKER_NAMES)


class FakeMaster:
    """``balancer.master.run``, which notes the settings it gets."""

    def __init__(self) -> None:
        self.settings: list[Settings] = []
        self.result: Callable[[], int] = lambda: 0

    def run(self, settings: Settings, hooks: Hooks | None, read: object) -> int:
        assert callable(read)
        self.hooks = hooks
        self.settings.append(settings)
        return self.result()


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> FakeMaster:
    fake = FakeMaster()
    module = ModuleType("balancer.master.run")
    module.run = fake.run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "balancer.master.run", module)
    for variable in [name for name in os.environ if name.startswith("BALANCER_")]:
        monkeypatch.delenv(variable)
    for variable in ("PORT", "WEB_CONCURRENCY"):
        monkeypatch.delenv(variable, raising=False)
    return fake


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, args)


@pytest.mark.parametrize(
    ("args", "settings"),
    [
        ([], Settings()),
        (["-w3"], Settings(workers=3)),
        (["-w", "3", "--workers", "4"], Settings(workers=4)),
        (["--workers=4", "-w", "3"], Settings(workers=3)),
        (["-b", ":1", "--bind", "[::1]:2"],
         Settings(bind=(TcpBind("0.0.0.0", 1), TcpBind("::1", 2)))),
        (["--uds", "/run/x", "--fd", "3"], Settings(bind=(UnixBind("/run/x"), FdBind(3)))),
        (["--host", "::1", "--port", "9"], Settings(bind=(TcpBind("::1", 9),))),
        (["--preload"], Settings(preload=True)),
        (["--preload", "--no-preload"], Settings(preload=False)),
        (["--no-control"], Settings(no_control=True)),
        (["--recall", "off", "-t", "1m"], Settings(recall=None, timeout=60.0)),
        (["--max-connections", "5"], Settings(worker_connections=5)),
        (["--limit-concurrency", "5"], Settings(worker_connections=5)),
        (["--timeout-keep-alive", "5"], Settings(keep_alive=5.0)),
        (["--timeout-graceful-shutdown", "5"], Settings(graceful_timeout=5.0)),
        (["--limit-max-requests", "5"], Settings(max_requests=5)),
        (["native:main:app", "-n", "web"], Settings(app="native:main:app", name="web")),
        (["-p", "b.pid", "--log-level", "debug"], Settings(pid="b.pid", log_level="debug")),
    ],
)  # fmt: skip
def test_flags(master: FakeMaster, args: list[str], settings: Settings) -> None:
    result = invoke("serve", *args)
    assert (result.exit_code, result.output) == (0, "")
    assert master.settings == [settings]


OF_SERVE = {name for name, setting in SETTINGS.items() if setting.group != UPSTREAM}


@pytest.mark.usefixtures("master")
@pytest.mark.parametrize(
    ("command", "names"), [("serve", OF_SERVE), ("proxy", set(SETTINGS) - FOR_APPS_ONLY)]
)
def test_every_flag_of_the_table_is_an_option_and_explained(command: str, names: set[str]) -> None:
    shown = invoke(command, "--help").output
    assert set(SETTINGS) == OF_SERVE | (set(SETTINGS) - FOR_APPS_ONLY)
    for setting in [SETTINGS[name] for name in names]:
        for alias in setting.spellings:
            result = invoke(command, alias.flag, *(["?"] if alias.metavar else []))
            assert "No such option" not in result.output
        # words that the help's columns cut in two
        unbroken = re.sub(r"-\n\s+", "-", shown)
        said = [] if setting.positional else setting.variables
        for word in [*(alias.flag for alias in setting.spellings), *said]:
            assert word in unbroken


@pytest.mark.parametrize(
    ("command", "names"), [("serve", set(SETTINGS) - OF_SERVE), ("proxy", FOR_APPS_ONLY)]
)
def test_what_means_nothing_to_a_command_is_no_option_of_it(command: str, names: set[str]) -> None:
    shown = invoke(command, "--help").output
    for setting in [SETTINGS[name] for name in names if not SETTINGS[name].positional]:
        assert f"{setting.flag} " not in shown
        other = "proxy" if command == "serve" else "serve"
        said = invoke(command, setting.flag).output
        assert f"{setting.flag}: no such option; balancer {other} has it" in said


def test_a_proxy(master: FakeMaster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke("proxy", "a:1,weight=2", "b:2", "-w", "1").exit_code == 0
    monkeypatch.setenv("BALANCER_UPSTREAMS", "c:3,max=4 d:4")
    assert invoke("proxy").exit_code == 0
    upstreams = [settings.upstreams for settings in master.settings]
    assert upstreams == [("a:1,weight=2", "b:2"), ("c:3,max=4", "d:4")]
    result = invoke("serve")
    assert result.exit_code == 2
    assert "BALANCER_UPSTREAMS c:3,max=4 d:4: is for another command: balancer proxy" in (
        result.output
    )


@pytest.mark.usefixtures("master")
def test_a_proxy_needs_upstreams() -> None:
    result = invoke("proxy")
    assert result.exit_code == 2
    assert "UPSTREAM: name at least one server to stand in front of" in result.output


def test_file_environment_and_flag(
    master: FakeMaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "b.toml"
    file.write_text("workers = 2\nqueue = 2\nwindow = 2\n")
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    monkeypatch.setenv("BALANCER_QUEUE", "3")
    assert invoke("serve", "-c", str(file), "-w", "4").exit_code == 0
    (settings,) = master.settings
    assert (settings.workers, settings.queue, settings.window) == (4, 3, 2)
    assert settings.where("workers") == "-w"
    assert settings.where("window") == f"{file}:3: window"


TABLES = """\
workers = 2
[apps.site]
app = "shop:app"
[pools.api]
upstreams = ["a:1"]
[[listeners]]
bind = ":1"
app = "site"
[[listeners]]
bind = ":2"
pool = "api"
"""


def test_run_takes_everything_from_a_file(master: FakeMaster, tmp_path: Path) -> None:
    file = tmp_path / "b.toml"
    file.write_text(TABLES)
    assert invoke("run", "-c", str(file), "-w", "4").exit_code == 0
    file.write_text('app = "main:app"\n')
    assert invoke("run", "-c", str(file)).exit_code == 0
    file.write_text('upstreams = ["a:1"]\n')
    assert invoke("run", "-c", str(file), "--upstream-policy", "p2c").exit_code == 0
    (tmp_path / "b.py").write_text("workers = 3\ndef on_exit(server): ...\n")
    assert invoke("run", "-c", str(tmp_path / "b.py")).exit_code == 0
    tables, app, pool, python = master.settings
    assert (tables.workers, tables.service_of_bind) == (4, (0, 1))
    assert [each.name for each in tables.services] == ["site", "api"]
    assert (app.app, app.services) == ("main:app", ())
    assert (pool.upstreams, pool.upstream_policy) == (("a:1",), "p2c")
    assert python.workers == 3
    assert master.hooks is not None
    assert "on_exit" in master.hooks


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["run"], "run: name a file with -c, such as -c balancer.toml"),
        (["run", "-c", "b.toml", "main:app"],
         "Got unexpected extra argument (main:app)"),
        (["serve", "-c", "b.toml"],
         "-c: has tables (site, api), which are for another command: balancer run"),
        (["proxy", "-c", "b.toml"],
         "-c: has tables (site, api), which are for another command: balancer run"),
        (["serve", "main:app", "-c", "b.toml"],
         "APP main:app: can't stand beside b.toml:2: apps.site; give it a table too: [apps.NAME]"),
    ],
)  # fmt: skip
def test_whose_tables_are(
    master: FakeMaster,
    args: list[str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "b.toml").write_text(TABLES)
    monkeypatch.chdir(tmp_path)
    result = invoke(*args)
    assert (result.exit_code, master.settings) == (2, [])
    assert result.stderr.startswith(f"balancer: error: {problem}")


def test_a_variable_that_means_nothing_is_named(
    master: FakeMaster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BALANCER_WORKRS", "3")
    monkeypatch.setenv("BALANCER_WORKER_ID", "1")
    logger = logging.getLogger("balancer")
    monkeypatch.setattr("balancer.log.configure", lambda _level: None)
    monkeypatch.setattr(logger, "propagate", True)
    assert invoke("serve").exit_code == 0
    assert master.settings == [Settings()]
    assert caplog.messages == [
        "BALANCER_WORKRS: there is no such setting; did you mean BALANCER_WORKERS?"
    ]


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["-w", "0"], "-w 0: must be at least 1"),
        (["--workers", "0"], "--workers 0: must be at least 1"),
        (["-p", "8000"], "-p 8000: that is the pid file; did you mean -b :8000?"),
        (["--pid", "8000"], "--pid 8000: that is the pid file; did you mean -b :8000?"),
        (["--policy", "fair"],
         f"--policy fair: must be one of {POLICIES}, or module:Class for one of your own"),
        (["--uds", "x" * 200],
         f"--uds {'x' * 200}: the path has more than 107 bytes, which no socket can have"),
        (["--limit-concurrency", "x"], "--limit-concurrency x: not a whole number"),
        (["-b", "8000"], "-b 8000: a port needs a colon; did you mean :8000?"),
        (["-t", "-1"], "-t -1: not a duration; write 30, 30s, 250ms or 1h30m"),
        (["main.py"],
         ("APP main.py: names no attribute: write main:app, or whatever the app is called in it")),
        (["-c", "b.py"], "-c b.py: No such file or directory"),
        (["-c", "none.toml"], "-c none.toml: No such file or directory"),
    ],
)  # fmt: skip
def test_bad_flags(master: FakeMaster, args: list[str], problem: str) -> None:
    result = invoke("serve", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"balancer: error: {problem}\n"
    assert master.settings == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--worker", "3"], ["--worker", "Did you mean", "--workers"]),
        (["--certfile", "a"], ["--certfile: no such option; ", "TLS"]),
        (["--daemon"], ["--daemon: no such option; ", "systemd"]),
        (["-D"], ["-D: no such option; ", "systemd"]),
        (["-k", "gevent"], ["-k: no such option; ", "--engine uvicorn"]),
        (["native:a:b", "native:c:d"], ["unexpected extra argument", "native:c:d"]),
        (["-w"], ["'-w' requires an argument"]),
    ],
)
def test_flags_that_click_refuses(master: FakeMaster, args: list[str], words: list[str]) -> None:
    """The sentences are click's, and differ between its versions."""
    result = invoke("serve", *args)
    assert (result.exit_code, result.stdout, master.settings) == (2, "", [])
    assert result.stderr.startswith("balancer: error: ")
    assert result.stderr.count("\n") == 1
    assert all(word in result.stderr for word in words)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunError("-b :80: permission denied"), 1),
        (BootError("no worker became ready"), 3),
        (AppError("APP x: no module x"), 4),
    ],
)
def test_errors_of_the_master(master: FakeMaster, error: Exception, code: int) -> None:
    def fail() -> int:
        raise error

    master.result = fail
    result = invoke("serve")
    assert (result.exit_code, result.stderr) == (code, f"balancer: error: {error}\n")


def test_an_error_out_of_nurseries(master: FakeMaster) -> None:
    def fail() -> int:
        raise ExceptionGroup("outer", [ExceptionGroup("inner", [BootError("no worker")])])

    master.result = fail
    result = invoke("serve")
    assert (result.exit_code, result.stderr) == (3, "balancer: error: no worker\n")


def test_a_bug_beside_an_error_is_shown(master: FakeMaster) -> None:
    def fail() -> int:
        raise ExceptionGroup("both", [BootError("no worker"), KeyError("bug")])

    master.result = fail
    assert isinstance(invoke("serve").exception, ExceptionGroup)


def test_the_masters_code_is_ours(master: FakeMaster) -> None:
    master.result = lambda: ExitCode.BOOT
    assert invoke("serve").exit_code == 3


def test_an_error_is_one_line(master: FakeMaster) -> None:
    def fail() -> int:
        raise RunError("two\nlines")

    master.result = fail
    assert invoke("serve").stderr == "balancer: error: two lines\n"


def test_a_bug_is_no_user_error(master: FakeMaster) -> None:
    master.result = lambda: 1 // 0
    assert isinstance(invoke("serve").exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("args", "code", "output"),
    [
        (["--version"], 0, f"balancer {__version__}\n"),
        (["start"], 2, "balancer: error: No such command 'start'. Did you mean 'serve'?\n"),
        (["shutdown"], 2, "balancer: error: No such command 'shutdown'. Did you mean 'stop'?\n"),
        (["statu"], 2, "balancer: error: No such command 'statu'. Did you mean 'status'?\n"),
    ],
)
def test_the_group(args: list[str], code: int, output: str) -> None:
    result = invoke(*args)
    assert (result.exit_code, result.output) == (code, output)


def test_without_a_command_it_explains_itself() -> None:
    result = invoke()
    assert result.exit_code == 2
    assert re.search(r"^  serve .*^  stop ", result.output, re.MULTILINE | re.DOTALL)


def test_as_a_process() -> None:
    command = [sys.executable, "-m", "balancer", "serve", "-b", "8000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "balancer: error: -b 8000: a port needs a colon; did you mean :8000?\n"
