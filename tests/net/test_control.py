"""Where control sockets are made and found, with real sockets in a folder of the test's."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.errors import RunError
from balancer.net.control import (
    Address,
    ControlSocket,
    connect,
    find_servers,
    open_control,
    peer_uid,
    safe_name,
)
from balancer.settings import Settings, TcpBind, UnixBind
from balancer.settings.load import flag_given, load

if TYPE_CHECKING:
    from collections.abc import Iterator

UID = os.geteuid()


@dataclass(frozen=True, slots=True)
class Home:
    """The folders that servers and commands of this test see."""

    runtime: Path
    temporary: Path

    @property
    def env(self) -> dict[str, str]:
        return {"XDG_RUNTIME_DIR": str(self.runtime), "TMPDIR": str(self.temporary)}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    made = Home(tmp_path / "run", tmp_path / "tmp")
    made.runtime.mkdir(0o700)
    made.temporary.mkdir(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(made.runtime))
    monkeypatch.setenv("TMPDIR", str(made.temporary))
    # real servers of whoever runs the tests are none of theirs
    monkeypatch.setattr("balancer.net.control.TEMPORARY", str(tmp_path / "other"))
    return made


@pytest.fixture
def opened() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def serve(
    stack: contextlib.ExitStack, settings: Settings, bound: str | None = None
) -> ControlSocket:
    control = open_control(settings, bound=bound)
    stack.callback(control.close)
    return control


def found(home: Home, uid: int = UID) -> list[Address]:
    """The servers of this test: other tests may run abstract ones at the same time."""
    return [
        one
        for one in find_servers(home.env, uid)
        if one.abstract or one.path.startswith(str(home.runtime.parent))
    ]


@pytest.mark.parametrize(
    ("settings", "bound", "name"),
    [
        (Settings(), None, "127.0.0.1:8000"),
        (Settings(bind=(TcpBind("127.0.0.1", 0),)), "127.0.0.1:41234", "127.0.0.1:41234"),
        (Settings(name="web"), "127.0.0.1:8000", "web"),
        (Settings(bind=(TcpBind("::1", 80),)), None, "[::1]:80"),
        (Settings(bind=(UnixBind("/run/x"),)), None, safe_name("unix:/run/x")),
    ],
)
def test_the_name(
    home: Home, opened: contextlib.ExitStack, settings: Settings, bound: str | None, name: str
) -> None:
    control = serve(opened, settings, bound)
    assert control.address == Address(name, str(home.runtime / "balancer" / f"{name}.sock"))
    assert found(home) == [control.address]


@given(st.text(min_size=1))
def test_a_safe_name_is_a_file_name(name: str) -> None:
    safe = safe_name(name)
    assert 0 < len(safe) <= 60
    assert "/" not in safe
    assert not safe.startswith(".")
    assert safe_name(safe) == safe


@given(st.text(min_size=1), st.text(min_size=1))
def test_different_names_stay_different(one: str, other: str) -> None:
    assert (safe_name(one) == safe_name(other)) is (one == other)


def test_nobody_else_can_get_at_it(home: Home, opened: contextlib.ExitStack) -> None:
    control = serve(opened, Settings())
    folder = home.runtime / "balancer"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(control.address.path).stat().st_mode) == 0o600
    assert not os.get_inheritable(control.socket.fileno())


def test_closing_removes_it(home: Home) -> None:
    control = open_control(Settings())
    control.close()
    assert list((home.runtime / "balancer").iterdir()) == []


def test_closing_leaves_the_next_servers(home: Home, opened: contextlib.ExitStack) -> None:
    control = open_control(Settings(name="x"))
    os.unlink(control.address.path)
    serve(opened, Settings(name="x"))
    control.close()
    assert [one.name for one in found(home)] == ["x"]


def test_a_stale_socket_is_replaced(home: Home, opened: contextlib.ExitStack) -> None:
    first = open_control(Settings())
    first.socket.close()
    assert found(home) == []
    second = serve(opened, Settings())
    assert second.address == first.address
    assert found(home) == [second.address]


def test_a_live_socket_is_not_stolen(home: Home, opened: contextlib.ExitStack) -> None:
    control = serve(opened, Settings())
    with pytest.raises(RunError) as caught:
        open_control(Settings())
    assert str(caught.value) == f"{control.address}: another server has this control socket"
    assert found(home) == [control.address]


def test_nor_when_its_backlog_is_full(home: Home, opened: contextlib.ExitStack) -> None:
    control = serve(opened, Settings())
    with contextlib.suppress(BlockingIOError):
        while True:
            opened.enter_context(connect(control.address, timeout=0))
    with pytest.raises(RunError, match="another server has this control socket"):
        open_control(Settings())
    assert found(home) == [control.address]


def test_a_file_that_is_no_socket_is_left_alone(home: Home) -> None:
    path = home.temporary / "precious"
    path.write_text("data")
    settings = load([flag_given("control", "--control", str(path), str(path))])
    with pytest.raises(RunError) as caught:
        open_control(settings)
    assert str(caught.value) == f"--control {path}: there is a file that is no socket"
    assert path.read_text() == "data"


@pytest.mark.parametrize(
    ("path", "reason"),
    [("none/x.sock", "No such file or directory"), ("file/x.sock", "Not a directory")],
)
def test_a_control_path_that_cannot_be(home: Home, path: str, reason: str) -> None:
    (home.temporary / "file").touch()
    whole = str(home.temporary / path)
    with pytest.raises(RunError) as caught:
        open_control(Settings(control=whole))
    assert str(caught.value) == f"--control {whole}: {reason}"


def test_a_path_longer_than_a_socket_address(home: Home, opened: contextlib.ExitStack) -> None:
    folder = home.temporary / ("x" * 120)
    folder.mkdir()
    control = serve(opened, Settings(control=str(folder / "c.sock")))
    with connect(control.address, timeout=1) as client:
        assert peer_uid(client) == UID
    control.close()
    assert list(folder.iterdir()) == []


def test_without_a_runtime_folder(
    home: Home, opened: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    control = serve(opened, Settings())
    folder = home.temporary / f"balancer-{UID}"
    assert Path(control.address.path).parent == folder
    # a command that has a runtime folder finds it all the same
    assert found(home) == [control.address]


def test_a_server_without_the_temporary_folder_of_the_command(
    home: Home, opened: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit file and a shell may see different environments."""
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.delenv("TMPDIR")
    (home.temporary.parent / "other").mkdir()
    control = serve(opened, Settings())
    assert Path(control.address.path).parent == home.temporary.parent / "other" / f"balancer-{UID}"
    assert found(home) == [control.address]


@pytest.fixture
def nowhere(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """No runtime folder, and somebody was quicker to make ours in the temporary one."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/dev/null")
    trap = home.temporary / f"balancer-{UID}"
    trap.mkdir()
    trap.chmod(0o755)
    return home


def test_a_folder_that_others_can_write_is_refused(
    nowhere: Home, opened: contextlib.ExitStack
) -> None:
    name = f"test-{os.getpid()}"
    control = serve(opened, Settings(name=name))
    assert control.address == Address(name, f"\0balancer/{UID}/{name}")
    assert control.address in found(nowhere)
    assert list((nowhere.temporary / f"balancer-{UID}").iterdir()) == []


def test_a_folder_that_is_a_link_is_refused(home: Home, opened: contextlib.ExitStack) -> None:
    (home.temporary / "elsewhere").mkdir(0o700)
    (home.runtime / "balancer").symlink_to(home.temporary / "elsewhere")
    control = serve(opened, Settings())
    assert Path(control.address.path).parent == home.temporary / f"balancer-{UID}"


def test_an_abstract_socket_is_not_stolen_either(
    nowhere: Home, opened: contextlib.ExitStack
) -> None:
    settings = Settings(name=f"test-{os.getpid()}")
    control = serve(opened, settings)
    with pytest.raises(RunError, match=rf"^{control.address}: another server has this"):
        open_control(settings)
    control.close()
    assert control.address not in found(nowhere)


def test_several_servers_are_all_found(home: Home, opened: contextlib.ExitStack) -> None:
    for name in ("b", "a", "c"):
        serve(opened, Settings(name=name))
    dead = home.runtime / "balancer" / "dead.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(dead))
    (home.runtime / "balancer" / "file.sock").touch()
    assert [one.name for one in found(home)] == ["a", "b", "c"]


@pytest.mark.skipif(UID != 0, reason="root alone looks at other users' folders")
def test_root_sees_other_users_servers(home: Home, opened: contextlib.ExitStack) -> None:
    for name, seen in [("balancer-12345", True), ("balancer-test", False)]:
        folder = home.temporary / name
        folder.mkdir(0o700)
        control = serve(opened, Settings(control=str(folder / "c.sock")))
        assert (control.address in found(home)) is seen


OTHER_USER = """
import os, socket, sys
os.setuid(65534)
with socket.socket(socket.AF_UNIX) as s:
    s.bind(chr(0) + sys.argv[1])
    s.listen()
    print(flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(UID != 0, reason="needs root to become another user")
def test_another_users_socket_is_nobodys(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"balancer/12345/trap-{os.getpid()}"
    with subprocess.Popen(
        [sys.executable, "-IS", "-c", OTHER_USER, name],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as trap:  # fmt: skip
        assert trap.stdout is not None
        trap.stdout.readline()
        address = Address(name.rpartition("/")[2], f"\0{name}")
        # root may look at everybody's
        assert address in found(home)
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        assert address not in found(home, 12345)
        with pytest.raises(PermissionError, match="belongs to another user"):
            connect(address, timeout=1)
        assert trap.stdin is not None
        trap.stdin.close()
