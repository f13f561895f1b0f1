"""Where the control socket comes to be, who may use it, and which of several servers is meant."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from balancer.cli import main
from benchmarks.process import ServerProcess
from tests.support.server import BalancerServer
from tests.support.stranger import NOBODY, stranger

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROOT = os.geteuid() == 0
BALANCER = [sys.executable, "-m", "balancer"]
SERVE = [*BALANCER, "serve", "-w", "1", "-b", "127.0.0.1:0"]


PLACES = ("XDG_RUNTIME_DIR", "TMPDIR", "BALANCER_NAME", "BALANCER_CONTROL")
AS_USER = """
import difflib, os, sys
import balancer.cli.commands  # before: the interpreter may lie where the other user can't read
from balancer.cli import main
uid = int(sys.argv.pop(1))
os.setgid(uid)
os.setuid(uid)
main()
"""


def command(*args: str, env: dict[str, str], user: int | None = None) -> tuple[int, str, str]:
    """Exit code, output and errors of a command; in this process where that is its user's."""
    if user is None:
        whole: dict[str, str | None] = dict.fromkeys(PLACES) | env
        result = CliRunner(env=whole).invoke(main, args)
        return result.exit_code, result.stdout, result.stderr
    argv = [sys.executable, "-c", AS_USER, str(user), *args]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=15, check=False)
    return done.returncode, done.stdout, done.stderr


def serving(stack: ExitStack, argv: Sequence[str], log: Path, env: dict[str, str]) -> ServerProcess:
    """A server that is ready; it is told to stop in the end."""
    server = ServerProcess(list(argv), log=log, env=env)
    server.start()
    stack.callback(server.close)
    stack.callback(server.stop, signal.SIGTERM, deadline=10)
    server.wait_for_line(r"ready: 1 worker", deadline=15)
    return server


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment in which nobody else's servers are found."""
    run = tmp_path / "run"
    run.mkdir(0o700)
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {**kept, "XDG_RUNTIME_DIR": str(run), "TMPDIR": str(tmp_path)}


def test_of_two_servers_the_one_that_is_named(tmp_path: Path, env: dict[str, str]) -> None:
    with ExitStack() as stack:
        for name in ("blue", "green"):
            serving(stack, [*SERVE, "-n", name], tmp_path / name, env)
        for args in ("status", "drain 1", "stop"):
            code, _, error = command(*args.split(), env=env)
            assert code == 2, args
            assert "several servers are running, name one with -n: " in error
            assert {"blue", "green"} <= set(error.replace(",", "").split())
        assert command("stop", "--wait", "-n", "blue", env=env)[1] == "stopped\n"
        assert command("status", "-n", "blue", env=env)[0] == 3
        assert command("status", "-n", "green", env=env)[0] == 0
        taken = ServerProcess([*SERVE, "-n", "green"], log=tmp_path / "taken", env=env)
        stack.callback(taken.close)
        taken.start()
        taken.wait_for_line("no control socket, balancer status won't work: .*another server has")
        taken.wait_for_line("ready: 1 worker")
        taken.stop(signal.SIGTERM, deadline=10)
        assert command("status", "-n", "green", env=env)[0] == 0


def test_a_command_that_finds_none(env: dict[str, str]) -> None:
    for args in ("reload", "restart 1", "scale 2", "drain 1 --wait", "resume 1", "weight a:1 2",
                 "log-level info", "reopen", "upgrade", "stop --wait"):  # fmt: skip
        code, out, error = command(*args.split(), "-n", "none-of-this-name", env=env)
        assert (code, out) == (3, ""), args
        assert "-n none-of-this-name: no such server is running" in error


@pytest.mark.skipif(not ROOT, reason="needs root to become another user")
def test_a_user_without_anything_has_an_abstract_socket(env: dict[str, str]) -> None:
    """A random uid in a container: no HOME, no entry in passwd, nowhere to write."""
    uid, name = 1_000_680_000, f"abstract-{os.getpid()}"
    nothing = {"HOME": "/nonexistent", "TMPDIR": "/nonexistent"}
    env = {**{each: env[each] for each in env if each != "XDG_RUNTIME_DIR"}, **nothing}
    with ExitStack() as stack:
        server = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "tests.cli.server", "-n", name, str(uid)],
                env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        stack.callback(server.kill)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        assert command("scale", "2", "-n", name, env=env, user=uid)[2] == ""
        # of all others only root is heard
        assert command("status", "-n", name, env=env, user=NOBODY)[0] == 3
        assert command("status", "-n", name, env=env)[0] == 0
        asked = subprocess.run(
            stranger(f"balancer/{uid}/{name}"), stdout=subprocess.PIPE, text=True, timeout=10,
            check=False,
        )  # fmt: skip
        assert asked.stdout == "b''\n"
        assert command("stop", "-n", name, env=env)[1] == "stopping\n"
        assert server.communicate(timeout=10) == ("", "")


@pytest.mark.skipif(not ROOT, reason="needs root to become another user")
def test_another_user_is_told_so() -> None:
    with BalancerServer(workers=1) as server:
        server.folder.chmod(0o755)
        env = dict(os.environ)
        code, _, error = command("stop", "--control", str(server.control), env=env, user=NOBODY)
        assert code == 1
        assert error == f"balancer: error: {server.control}: Permission denied\n"


def _may_unshare() -> bool:
    if not ROOT or shutil.which("unshare") is None:
        return False
    tried = ["unshare", "--mount", "sh", "-c", "mount -o remount,ro,bind / && ! touch /x 2>&1"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


def test_a_read_only_root_is_no_reason_not_to_serve(tmp_path: Path, env: dict[str, str]) -> None:
    if not _may_unshare():
        pytest.skip("no mount namespaces here")
    name = f"readonly-{os.getpid()}"
    env = {each: env[each] for each in env if each not in {"XDG_RUNTIME_DIR", "TMPDIR"}}
    mount = 'mount -o remount,ro,bind / && ! touch /x 2>/dev/null && exec "$@"'
    argv = ["unshare", "--mount", "sh", "-c", mount, "sh", *SERVE, "-n", name]
    with ExitStack() as stack:
        server = serving(stack, argv, tmp_path / "log", env)
        assert not [line for line in server.log_lines() if "control" in line]
        assert command("stop", "--wait", "-n", name, env=env) == (0, "stopped\n", "")
