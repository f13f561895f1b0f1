"""Workers that root starts as somebody else, looked at from outside and from within."""

from __future__ import annotations

import os
import pwd
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab import until
from tests.support import raw
from tests.support.server import BalancerServer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

APP = "tests.e2e.environment_app:app"
NOBODY = pwd.getpwnam("nobody")
SOMEBODY = ("-u", "nobody")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that is root's and that everybody can read; pytest's own are root's alone."""
    with tempfile.TemporaryDirectory(prefix="balancer-test-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


def status_of(server: BalancerServer) -> dict[str, str]:
    found = raw.get(server.port, "/status").json
    assert isinstance(found, dict)
    return found


def test_there_is_no_way_back() -> None:
    with BalancerServer(*SOMEBODY, "-m", "027", app=APP, workers=1) as server:
        status = status_of(server)
    # real, effective, saved, and of the file system
    assert status["Uid"].split() == [str(NOBODY.pw_uid)] * 4
    assert status["Gid"].split() == [str(NOBODY.pw_gid)] * 4
    assert status["Groups"].split() == [str(NOBODY.pw_gid)]
    assert {int(status[f"Cap{kind}"], 16) for kind in ("Prm", "Eff", "Inh", "Amb")} == {0}
    assert status["Umask"] == "0027"


@pytest.mark.parametrize(
    ("flag", "all_of_them"), [("--initgroups", True), ("--no-initgroups", False)]
)
def test_the_groups_of_a_user(flag: str, all_of_them: bool) -> None:
    """Whoever has the most of them on this machine."""
    user = max(pwd.getpwall(), key=lambda one: len(os.getgrouplist(one.pw_name, one.pw_gid)))
    groups = os.getgrouplist(user.pw_name, user.pw_gid) if all_of_them else [user.pw_gid]
    with BalancerServer("-u", user.pw_name, flag, app=APP, workers=1) as server:
        assert set(map(int, status_of(server)["Groups"].split())) == set(groups)


def test_an_app_is_not_imported_as_root() -> None:
    argv = [sys.executable, "-m", "balancer", "serve", "--preload", *SOMEBODY, "-b", "127.0.0.1:0"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "balancer: error: --preload: the app would be imported as root, and only workers are "
        f"-u {NOBODY.pw_uid}; leave one of them out\n"
    )


def test_the_access_log_is_the_workers_also_after_a_rotation(shared: Path) -> None:
    log = shared / "access.log"
    flags = (*SOMEBODY, "-m", "027", "--access-logfile", str(log))
    with BalancerServer(*flags, workers=1) as server:
        raw.get(server.port, "/first")
        until(lambda: "/first" in log.read_text())
        assert_owned(log, 0o640)
        log.rename(shared / "access.log.1")
        server.signal(signal.SIGUSR1)
        until(log.exists)

        def in_the_new_one() -> bool:
            raw.get(server.port, "/second")
            return "/second" in log.read_text()

        until(in_the_new_one)
        assert_owned(log, 0o640)
        assert not [line for line in server.log_lines() if "can't be reopened" in line]


def test_a_log_that_is_there_stays_whose_it_is(shared: Path) -> None:
    log, other = shared / "access.log", shared / "other"
    other.touch()
    log.symlink_to(other)
    with BalancerServer(*SOMEBODY, "--access-logfile", str(log), workers=1):
        assert other.stat().st_uid == 0


def test_clients_of_a_unix_socket_are_chosen_by_the_mask(shared: Path) -> None:
    path = shared / "x.sock"
    binds = ("127.0.0.1:0", f"unix:{path}")
    with BalancerServer(*SOMEBODY, "-g", "www-data", "-m", "007", binds=binds, workers=1):
        about = path.stat()
        assert stat.S_IMODE(about.st_mode) == 0o770
        assert (about.st_uid, about.st_gid) == (NOBODY.pw_uid, pwd.getpwnam("www-data").pw_gid)


def assert_owned(path: Path, mode: int) -> None:
    about = path.stat()
    assert (about.st_uid, about.st_gid) == (NOBODY.pw_uid, NOBODY.pw_gid)
    assert stat.S_IMODE(about.st_mode) == mode
