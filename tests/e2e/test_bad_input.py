"""What can't work is refused in one sentence that names the flag or key, and the value."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.server import BalancerServer

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROOT = Path(__file__).resolve().parents[2]


def _refused(
    *args: str, launcher: Sequence[str] = (), env: dict[str, str] | None = None
) -> tuple[int, str]:
    """The exit code and the only line on stderr."""
    done = subprocess.run(
        [*launcher, sys.executable, "-m", "balancer", "serve", "--no-control", *args],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
        cwd=_ROOT,
        env={**os.environ, **(env or {})},
    )
    lines = [line for line in done.stderr.splitlines() if "[INFO]" not in line]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    return done.returncode, lines[0]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--policy", "random-robin"), r"--policy random-robin: must be one of .*module:Class"),
        (("--policy", "no_such:Mine"), r"--policy no_such:Mine: there is no module no_such"),
        (("--policy", "json:JSONDecoder"), r"JSONDecoder is no policy: it has no offer\(\)"),
        (("--worker-weights", "3,1"), r"--worker-weights 3,1: has no effect with --policy round"),
        (("-b", "127.0.0.1:http"), r"-b.*127\.0\.0\.1:http"),
        (("-b", ""), r"-b"),
        (("-b", "[::1"), r"-b.*\[::1"),
        (("-w", "0"), r"-w.*0"),
        (("-w", "many"), r"-w.*many"),
        (("--window", "257"), r"--window.*257"),
        (("--recall", "soon"), r"--recall.*soon"),
        (("-p", "8000"), r"-p.*8000.*did you mean -b :8000"),
        (("--workerz", "3"), r"--workerz"),
        (("--app-dir", "/no/such"), r"--app-dir /no/such: no such folder"),
        (("ftp:django:app",), r"APP ftp:django:app: ftp: is no interface"),
    ],
)
def test_a_bad_flag_is_a_usage_error(args: tuple[str, ...], says: str) -> None:
    code, line = _refused(*args)
    assert code == 2
    assert re.search(says, line), line


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("worker = 3\n", r"worker\b.*did you mean.*workers"),
        ('workers = "three"\n', r"workers.*three"),
        ("bind = 8000\n", r"bind.*8000"),
        ("workers = \n", r"site\.toml"),
    ],
)
def test_a_bad_key_names_the_file(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text)
    code, line = _refused("-c", str(path))
    assert code == 2
    assert "site.toml" in line
    assert re.search(says, line), line


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    code, line = _refused("-c", str(tmp_path / "none.toml"))
    assert code == 2
    assert "none.toml" in line


def test_a_bad_variable_is_named() -> None:
    code, line = _refused(env={"BALANCER_WORKERS": "zero"})
    assert code == 2
    assert re.search(r"BALANCER_WORKERS.*zero", line), line


@pytest.mark.parametrize("policy", ["round-robin", "reuseport"])
def test_a_second_server_on_the_same_port(policy: str) -> None:
    with BalancerServer("--policy", policy, workers=1) as server:
        address = f"127.0.0.1:{server.port}"
        code, line = _refused("-b", address, "--policy", policy)
    assert code == 1
    assert re.search(rf"-b {address}: address already in use by \S+ \(pid {server.pid}\)$", line)


@pytest.mark.parametrize(
    ("bind", "says"),
    [
        ("unix:/no/such/folder/x.sock", r"unix:/no/such/folder/x\.sock"),
        ("unix:/tmp", r"unix:/tmp"),
        ("unix:/tmp/" + "x" * 120, r"unix:/tmp/x{120}"),
        ("203.0.113.1:8000", r"203\.0\.113\.1:8000"),
        ("no.such.host.invalid:8000", r"no\.such\.host\.invalid:8000"),
        ("fd://97", r"fd://97"),
    ],
)
def test_an_address_that_cannot_be_bound(bind: str, says: str) -> None:
    code, line = _refused("-b", bind)
    assert code in {1, 2}
    assert re.search(rf"-b {says}: \w", line), line


def test_a_socket_that_somebody_else_serves(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        code, line = _refused("-b", f"unix:{path}")
    assert code == 1
    whose = rf"by \S+ \(pid {os.getpid()}\)$"
    assert re.search(rf"-b unix:{path}: address already in use {whose}", line), line
    assert path.exists()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--worker-connections", "1000000"), r"--worker-connections 1000000: needs \d+ file desc"),
        (("-w", "500"), r"-w 500: needs \d+ file descriptors"),
        (("--window", "256", "-w", "16"), r"--window 256: needs \d+ file descriptors"),
    ],
)
def test_more_descriptors_than_the_limit_allows(args: tuple[str, ...], says: str) -> None:
    code, line = _refused("-b", "127.0.0.1:0", *args, launcher=["prlimit", "--nofile=1024:1024"])
    assert code == 2
    assert re.search(says, line), line
