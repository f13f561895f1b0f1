"""The old master's side, with heirs of a few lines each."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from balancer.core.upgrade import Begun, Failed, Hello, Ready
from balancer.errors import RunError
from balancer.master import upgrade
from balancer.master.launch import Launch
from balancer.master.lineage import Lineage
from balancer.master.ports import Ports
from balancer.master.upgrade import Upgrade, find_obstacle
from balancer.settings import Settings, TcpBind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PRELUDE = """
import os, signal, socket, time
link = socket.socket(fileno=int(os.environ["BALANCER_UPGRADE"]))
def until_end():
    while link.recv(65536): pass
"""


def say(*messages: msgspec.Struct) -> str:
    return "\n".join(f"link.send({msgspec.msgpack.encode(each)!r})" for each in messages)


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ports]:
    monkeypatch.setattr(upgrade, "MARGIN", 0.4)
    monkeypatch.setattr(upgrade, "BEGIN", 0.2)
    monkeypatch.setattr(upgrade, "FAREWELL", 0.2)
    made = Ports(Settings(bind=(TcpBind("127.0.0.1", 0),)))
    yield made
    made.close_at_once()


def attempt(ports: Ports, script: str, lineage: Lineage | None = None) -> Upgrade:
    lineage = lineage or Lineage()
    argv = (sys.executable, "-IS", "-c", PRELUDE + script)
    lineage.launch = Launch(argv, "/", dict(os.environ))
    supervisor: Any = SimpleNamespace(slots=[1, 2], next_id=3)
    settings = Settings(bind=(TcpBind("127.0.0.1", 0),), boot_timeout=0.4)
    return Upgrade(settings, lineage, ports, supervisor)


HEIRS = {
    "exits": ("raise SystemExit(7)", "exited with 7 before it had taken over"),
    "exits well": ("raise SystemExit(0)", "exited with 0 before it had taken over"),
    "is killed": ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL before"),
    "hangs": ("time.sleep(60)", r"said nothing within 0.8 s \(see --boot-timeout\)"),
    "is stopped": ("os.kill(os.getpid(), signal.SIGSTOP)", "said nothing within"),
    "ignores TERM": (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)",
        "said nothing within",
    ),
    "hangs up": ("link.close()\ntime.sleep(60)", "hung up"),
    "babbles": (r"link.send(b'\xc1')" + "\nuntil_end()", "makes no sense"),
    "is of another time": (
        f"link.send({msgspec.msgpack.encode({'type': 'Hallo', 'v': 99})!r})\nuntil_end()",
        "can't take over: it speaks upgrade protocol 99",
    ),
    "can't": (say(Failed(reason="no room")) + "\nuntil_end()", "can't take over: no room"),
    "is out of turn": (say(Ready()) + "\nuntil_end()", "makes no sense: out of turn"),
    "babbles later": (say(Hello()) + "\nlink.send(b'x')\nuntil_end()", "makes no sense"),
    "isn't ready": (say(Hello()) + "\nuntil_end()", "wasn't ready within 0.8 s"),
    "can't after all": (say(Hello(), Failed(reason="app")), "can't take over: app"),
    "dies late": (say(Hello(), Ready(taken=(0,))), "exited with 0 before"),
    "doesn't begin": (say(Hello(), Ready(taken=(0,))) + "\nuntil_end()", "didn't begin within"),
    "stops late": (
        say(Hello(), Ready(taken=(0,))) + "\nos.kill(os.getpid(), signal.SIGSTOP)",
        "didn't begin within",
    ),
}


@pytest.mark.parametrize("name", HEIRS)
async def test_one_that_fails_changes_nothing(name: str, ports: Ports) -> None:
    script, why = HEIRS[name]
    tried = attempt(ports, script)
    with pytest.raises(RunError, match=why):
        await tried.run()
    assert not ports.lent
    assert tried._process.returncode is not None, "it is reaped"
    with pytest.raises(ProcessLookupError):
        os.kill(tried.pid, 0)


async def test_one_that_succeeds(ports: Ports) -> None:
    tried = attempt(ports, say(Hello(), Ready(taken=(0, 77)), Begun()) + "\nuntil_end()")
    await tried.run()
    assert ports.lent
    tried.bid_farewell()
    assert await tried._process.wait() == 0


async def test_what_it_does_not_take_stays(ports: Ports) -> None:
    tried = attempt(ports, say(Hello(), Ready(), Begun()) + "\nuntil_end()")
    await tried.run()
    assert not ports.lent
    tried.bid_farewell()
    await tried._process.wait()


async def test_others_and_who_is_told(ports: Ports) -> None:
    bind = TcpBind("127.0.0.1", 0)
    more = Ports(Settings(bind=(bind,)))
    told: list[int] = []
    lineage = Lineage(on_successor=told.append)
    lineage.others["admin"] = (bind, more.listeners)
    tried = attempt(ports, say(Hello(), Ready(taken=(1,)), Begun()) + "\nuntil_end()", lineage)
    await tried.run()
    assert (ports.lent, more.lent, told) == (False, True, [tried.pid])
    tried.bid_farewell()
    await tried._process.wait()
    more.close_at_once()
    failing = attempt(ports, say(Hello(), Ready()), lineage)
    lineage.others.clear()
    with pytest.raises(RunError):
        await failing.run()
    assert told[1:] == [failing.pid, os.getpid()]


async def test_the_server_is_told_to_stop_meanwhile(ports: Ports) -> None:
    tried = attempt(ports, say(Hello()) + "\nuntil_end()")
    tried.cancel()
    with pytest.raises(RunError, match="the server was told to stop"):
        await tried.run()
    assert tried._process.returncode is not None


async def test_a_pid_file_that_a_failed_heir_has_written(ports: Ports, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    lineage = Lineage()
    with lineage.pid_file(Settings(pid=str(path))):
        script = say(Hello(), Ready()) + f"\nopen({str(path)!r}, 'w').write(str(os.getpid()))"
        with pytest.raises(RunError):
            await attempt(ports, script, lineage).run()
        assert int(path.read_text()) == os.getpid()
    assert not path.exists()


async def test_a_command_that_is_gone(ports: Ports) -> None:
    tried = attempt(ports, "")
    tried._lineage.launch = Launch(("/nowhere/python",), "/", {})
    with pytest.raises(
        RunError, match=r"^the new master can't be started: No such file .* \(/nowhere/python\)$"
    ):
        await tried.run()


class TestObstacles:
    def test_none(self) -> None:
        assert find_obstacle(Lineage(Launch())) is None

    def test_a_program(self) -> None:
        assert "part of a program" in str(find_obstacle(Lineage()))

    def test_process_1(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "getpid", lambda: 1)
        assert "this server is process 1" in str(find_obstacle(Lineage(Launch())))

    def test_the_child_of_a_containers_init(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "getppid", lambda: 1)
        monkeypatch.setattr(upgrade, "_name_of_init", lambda: "tini")
        assert "tini would end the container" in str(find_obstacle(Lineage(Launch())))
        monkeypatch.setattr(upgrade, "_name_of_init", lambda: "systemd")
        assert find_obstacle(Lineage(Launch())) is None


class TestLaunch:
    def test_the_folder_that_a_link_leads_to_today(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "one").mkdir()
        (tmp_path / "current").symlink_to("one")
        monkeypatch.chdir(tmp_path / "current")
        monkeypatch.setenv("PWD", str(tmp_path / "current"))
        assert Launch.of_this_process().folder == str(tmp_path / "current")
        monkeypatch.setenv("PWD", "/")
        assert Launch.of_this_process().folder == str(tmp_path / "one")

    def test_the_same_command_and_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BALANCER_UPGRADE", "7")
        monkeypatch.setenv("COLOUR", "red")
        launch = Launch.of_this_process()
        assert launch.argv == (sys.executable, *sys.orig_argv[1:])
        assert launch.env["COLOUR"] == "red"
        assert "BALANCER_UPGRADE" not in launch.env

    @pytest.mark.parametrize("program", ["", "-"])
    def test_what_was_typed_cannot_be_run_again(
        self, program: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "argv", [program])
        monkeypatch.setattr(sys, "orig_argv", ["python"])
        assert "standard input" in str(Launch.of_this_process().obstacle)
        monkeypatch.setattr(sys, "executable", "")
        assert "interpreter" in str(Launch.of_this_process().obstacle)

    def test_what_systemd_passed_is_passed_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LISTEN_FDS", "2")
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        assert Launch.of_this_process().fds == (3, 4)
        monkeypatch.setenv("LISTEN_PID", "1")
        assert Launch.of_this_process().fds == ()
