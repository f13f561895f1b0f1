"""A reload reads the file again: what has changed is taken up, and no request notices."""

from __future__ import annotations

import os
import re
import signal
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import pytest

from tests.faults.lab import pass_attempts, until
from tests.support import raw
from tests.support.client import InThread, Plan
from tests.support.server import BalancerServer, ready

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.server import Status

POLICIES = ("round-robin", "shared", "reuseport")


class Site:
    """A server that has everything but its control socket from a file."""

    def __init__(self, folder: Path, text: str, *args: str, name: str = "site.toml") -> None:
        self.file = folder / name
        self.file.write_text(text)
        self.server = BalancerServer(
            "-c", str(self.file), *args, workers=None, binds=(), cwd=folder
        )

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.__exit__(*error)  # type: ignore[arg-type]  # what we got

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def reload(self, text: str | None = None) -> Status:
        """Have the file read again, and wait until that is over."""
        if text is not None:
            self.write(text)
        before = len(self.server.log_lines())
        self.server.signal(signal.SIGHUP)
        self.server.wait_for_line(r"reload: done|the running workers stay", after=before)
        return self.server.wait_for(lambda status: status["master"]["state"] == "running")

    @property
    def addresses(self) -> list[str]:
        return [each["address"] for each in self.server.status()["listeners"]]

    @property
    def ports(self) -> list[int]:
        return [int(address.rpartition(":")[2]) for address in self.addresses]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, as far as anybody can know."""
    with ExitStack() as stack:
        socks = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in socks]


def loads(stack: ExitStack, port: int) -> list[InThread]:
    """New connections, and kept ones, from now on."""
    plans = [
        Plan(port=port, rate=150, duration=60),
        Plan(port=port, concurrency=4, keep_alive=True, pause=0.01, duration=60),
    ]
    return [stack.enter_context(InThread(plan)) for plan in plans]


def nothing_failed(running: list[InThread]) -> None:
    for load in running:
        pass_attempts(load, 20)
        report = load.stop()
        assert report.failed == 0, report.summary()


def binds(*ports: int) -> str:
    return "bind = [" + ", ".join(f'"127.0.0.1:{port}"' for port in ports) + "]\n"


@pytest.mark.parametrize("policy", POLICIES)
def test_listeners_come_and_go_under_load(policy: str, tmp_path: Path) -> None:
    stays, goes, comes = free_ports(3)
    head = f'workers = 2\npolicy = "{policy}"\n'
    with Site(tmp_path, head + binds(goes, stays)) as site, ExitStack() as stack:
        running = loads(stack, stays)
        leaving = stack.enter_context(InThread(Plan(port=goes, rate=300, duration=60)))
        pass_attempts(leaving, 30)
        site.reload(head + binds(stays, comes))
        report = leaving.stop()
        assert set(report.outcomes) <= {"ok", "refused"}, report.summary()
        assert site.ports == [stays, comes]
        assert raw.get(comes).status == 200
        with pytest.raises(ConnectionRefusedError):
            raw.get(goes)
        running += loads(stack, comes)
        status = site.reload(head + binds(comes, stays, goes))
        assert site.ports == [comes, stays, goes]
        assert status["master"].get("reload_error") is None
        assert raw.get(goes).status == 200
        nothing_failed(running)


def test_a_unix_socket_goes_and_a_port_comes_under_load(tmp_path: Path) -> None:
    [port] = free_ports(1)
    path = tmp_path / "s"
    both = f'bind = ["unix:{path}", "127.0.0.1:{port}"]\nworkers = 1\n'
    with Site(tmp_path, both) as site, ExitStack() as stack:
        running = loads(stack, port)
        site.reload(f'bind = "127.0.0.1:{port}"\nworkers = 1\n')
        assert not path.exists()
        site.reload(both)
        assert path.is_socket()
        nothing_failed(running)


APP = "async def app(exchange):\n    await exchange.respond(200, [], b'%s')\n"


def test_other_apps_workers_and_limits_are_taken_up_under_load(tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text(APP % "one")
    (tmp_path / "second.py").write_text(APP % "two")
    with (
        Site(tmp_path, 'app = "native:first:app"\nworkers = 1\nbind = "127.0.0.1:0"\n') as site,
        ExitStack() as stack,
    ):
        [port] = site.ports
        running = loads(stack, port)
        assert raw.get(port).body == b"one"
        status = site.reload(
            'app = "native:second:app"\nworkers = 3\nbind = "127.0.0.1:0"\nqueue = 10\n'
            'recall = "off"\nwindow = 2\nbacklog = 100\nlimit_request_line = 100\n'
            'log_level = "debug"\n'
        )
        assert raw.get(port).body == b"two"
        assert raw.get(port, "/" + "x" * 200).status == 414
        assert len(site.server.wait_ready(3)) == 3
        assert site.ports == [port]
        assert "reload_error" not in status["master"]
        site.server.wait_for_line(
            r"reload: changed: app \(native:first:app → native:second:app\), backlog \(2048 → 100\)"
            r", workers \(1 → 3\), window \(1 → 2\), recall \(100ms → off\), queue \(1024 → 10\), "
            r"limit_request_line \(8190 → 100\), log_level \(info → debug\)$"
        )
        site.reload('app = "native:first:app"\nworkers = 1\nbind = "127.0.0.1:0"\n')
        site.server.wait_for(lambda status: len(status["workers"]) == 1)
        assert raw.get(port).body == b"one"
        nothing_failed(running)


def test_the_number_of_workers_is_reset_only_where_the_file_has_changed(tmp_path: Path) -> None:
    with Site(tmp_path, 'workers = 1\nbind = "127.0.0.1:0"\n') as site:
        assert site.server.command("scale", "3").returncode == 0
        site.server.wait_ready(3)
        site.reload()
        assert len(site.server.wait_ready(3)) == 3
        site.reload('workers = 2\nbind = "127.0.0.1:0"\n')
        site.server.wait_for(lambda status: len(status["workers"]) == 2)


def test_what_cannot_be_changed_is_said(tmp_path: Path) -> None:
    with Site(tmp_path, 'workers = 1\nbind = "127.0.0.1:0"\n') as site:
        for _ in range(2):
            before = len(site.server.log_lines())
            site.reload('workers = 1\nbind = "127.0.0.1:0"\npolicy = "p2c"\nname = "x"\n')
            for line in (
                r"reload: .*site.toml:3: policy p2c: can't .* and stays round-robin; restart it",
                r"reload: .*site.toml:4: name x: can't .* and stays none; restart",
            ):
                site.server.wait_for_line(line, after=before)
        assert site.server.status()["master"]["policy"] == "round-robin"


GOOD = 'workers = 2\nbind = "127.0.0.1:0"\n'
NO_WORKER = "no new worker became ready in slot 1: it failed to start: "
BAD = {
    "syntax": (GOOD + "x = \n", r"FILE:3: not TOML: Invalid value \(column 5\)"),
    "key": (GOOD + "workres = 1\n", r"FILE:3: workres: unknown key; did you mean workers\?"),
    "value": ("workers = 0\n", r"FILE:1: workers = 0: must be at least 1"),
    "app": (
        GOOD + 'app = "native:nothing:app"\n',
        f"{NO_WORKER}app native:nothing:app: can't import nothing: .*",
    ),
    "preload": (
        GOOD + 'app = "native:nothing:app"\npreload = true\n',
        "app native:nothing:app: can't import nothing: .*",
    ),
    "boot": (
        GOOD + 'app = "native:slow:app"\nboot_timeout = 2\n',
        rf"({NO_WORKER}|the new fork server )wasn't ready within 2 s( \(FILE:4: boot_timeout\))?",
    ),
    "port": (
        'workers = 2\nbind = ["127.0.0.1:0", "127.0.0.1:PORT"]\n',
        "FILE:2: bind 127.0.0.1:PORT: address already in use.*",
    ),
    "host": (
        'workers = 2\nbind = ["127.0.0.1:0", "no.such.host.invalid:80"]\n',
        "FILE:2: bind no.such.host.invalid:80: .*",
    ),
    "folder": (GOOD + 'chdir = "none"\n', "FILE:3: chdir none: No such file or directory"),
    "log": (GOOD + 'access_logfile = "none/log"\n', "FILE:3: access_logfile .*none/log: .*"),
    "descriptors": (
        GOOD + "queue = 2000000000\n",
        "FILE:3: queue 2000000000: needs [0-9]+ file descriptors and the limit is [0-9]+; .*",
    ),
    "proxy": (
        GOOD + 'upstreams = ["127.0.0.1:9"]\n',
        "FILE:3: upstreams 127.0.0.1:9: is for another command: balancer proxy",
    ),
}


def test_a_bad_file_changes_nothing_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)\n")
    with Site(tmp_path, GOOD) as site, socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        before, fds = site.server.status(), len(site.server.master_fds())
        for name, (text, message) in BAD.items():
            wanted = message.replace("FILE", str(site.file)).replace("PORT", port)
            lines = len(site.server.log_lines())
            status = site.reload(text.replace("PORT", port))
            error = status["master"].pop("reload_error")
            assert re.fullmatch(wanted, error), (name, error)
            site.server.wait_for_line(
                f"reload: {re.escape(error)}; the running workers stay$", after=lines
            )
            assert ready(status) == ready(before), name
            assert site.addresses == [each["address"] for each in before["listeners"]], name
            assert raw.get(site.ports[0]).status == 200
        status = site.reload(GOOD)
        assert "reload_error" not in status["master"]
        assert not set(ready(status)) & set(ready(before))
        site.reload()  # the one before is overheard, because its predecessor has failed
        until(lambda: len(site.server.master_fds()) <= fds)


def test_a_file_that_was_bad_leaves_no_trace_in_who_comes_after(tmp_path: Path) -> None:
    """A worker that dies after a reload was given up gets the successor that it would have had."""
    (tmp_path / "app.py").write_text(APP % "one")
    with Site(tmp_path, 'app = "native:app:app"\n' + GOOD + 'raw_env = ["A=1"]\n') as site:
        (tmp_path / "app.py").write_text("nonsense(")
        site.reload(GOOD + 'app = "native:app:app"\nraw_env = ["A=2"]\nkeep_alive = 1\n')
        assert "no new worker" in site.server.status()["master"]["reload_error"]
        (tmp_path / "app.py").write_text(APP % "one")
        site.server.kill(1)
        site.server.wait_ready(2)
        assert raw.get(site.ports[0]).body == b"one"


CONFIG = """
import os
workers = 1
bind = "127.0.0.1:0"
raw_env = ["GREETING=%(greeting)s"]
def on_reload(server):
    server.log.info("on_reload says %(greeting)s, with %%d", server.cfg.workers)
"""
ENVIRON = """
import os
async def app(exchange):
    await exchange.respond(200, [], os.environ["GREETING"].encode())
"""


@pytest.mark.parametrize("name", ["conf.py", "python:conf"])
def test_a_python_file_is_executed_anew_with_its_hooks(tmp_path: Path, name: str) -> None:
    (tmp_path / "main.py").write_text(ENVIRON)
    (tmp_path / "conf.py").write_text(CONFIG % {"greeting": "hello"})
    server = BalancerServer(
        "-c", name, workers=None, binds=(), app="native:main:app", cwd=tmp_path,
        env={"PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    with server:
        port = int(server.status()["listeners"][0]["address"].rpartition(":")[2])
        assert raw.get(port).body == b"hello"
        for bad in ("raise RuntimeError('not today')", "workers = 'many'", "on_reload = 3"):
            (tmp_path / "conf.py").write_text(bad)
            before = len(server.log_lines())
            server.signal(signal.SIGHUP)
            server.wait_for_line(r"reload: .*conf.*; the running workers stay", after=before)
        (tmp_path / "conf.py").write_text(CONFIG % {"greeting": "goodbye"})
        before = len(server.log_lines())
        server.signal(signal.SIGHUP)
        server.wait_for_line("on_reload says goodbye, with 1", after=before)
        server.wait_for_line("reload: done", after=before)
        assert raw.get(port).body == b"goodbye"


def test_a_storm_of_signals_is_two_rolls_at_most(tmp_path: Path) -> None:
    with Site(tmp_path, GOOD) as site, ExitStack() as stack:
        running = loads(stack, site.ports[0])
        for _ in range(20):
            site.server.signal(signal.SIGHUP)
        site.server.wait_for_line("reload: done")
        site.server.wait_for(lambda status: status["master"]["state"] == "running")
        rolls = [line for line in site.server.log_lines() if "reload: done" in line]
        assert 1 <= len(rolls) <= 2
        nothing_failed(running)


def test_scaled_and_killed_while_it_rolls(tmp_path: Path) -> None:
    with Site(tmp_path, GOOD) as site, ExitStack() as stack:
        running = [stack.enter_context(InThread(Plan(port=site.ports[0], rate=100, duration=60)))]
        pass_attempts(running[0], 20)
        before = len(site.server.log_lines())
        site.write(GOOD + "keep_alive = 3\n")
        site.server.signal(signal.SIGHUP)
        site.server.wait_for_line("SIGHUP", after=before)
        site.server.signal(signal.SIGTTIN)
        site.server.kill(2)
        site.server.signal(signal.SIGTTIN)
        site.server.signal(signal.SIGTTOU)
        site.server.wait_for_line("reload: done", after=before)
        assert len(site.server.wait_ready(3)) == 3
        assert not {1, 2} & set(site.server.workers)
        for load in running:
            pass_attempts(load, 20)
            report = load.stop()
            assert set(report.outcomes) <= {"ok", "reset", "eof"}, report.summary()
            assert report.failed <= 1, report.summary()  # what was in progress on who was killed


def test_who_is_replaced_twice_in_one_roll_goes_all_the_same(tmp_path: Path) -> None:
    first = f'workers = 1\nrecall = "off"\n{binds(0, 0)}'
    with Site(tmp_path, first) as site, ExitStack() as stack:
        port = site.ports[1]
        pid = site.server.kill(1, signal.SIGSTOP)
        for _ in range(2):  # the roll waits for those that only worker 1 can serve
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        site.server.wait_for(lambda status: status["listeners"][1]["queued"])
        site.write(f'workers = 1\nrecall = "off"\n{binds(0)}')
        site.server.signal(signal.SIGHUP)
        site.server.wait_for_line("reload: changed")
        site.server.command("restart", "2", "--wait")
        os.kill(pid, signal.SIGCONT)
        site.server.wait_for_line("reload: done")
        site.server.wait_for(lambda status: [each["id"] for each in status["workers"]] == [3])
