"""Units for a command line, as text; whether systemd likes them is asked in tests/e2e."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from balancer.cli import main
from balancer.cli.systemd import _program, _user

if TYPE_CHECKING:
    from pathlib import Path


def unit(*args: str) -> list[str]:
    result = CliRunner().invoke(main, ["systemd", *args])
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.splitlines()


def value(lines: list[str], key: str) -> str:
    [found] = [line for line in lines if line.startswith(f"{key}=")]
    return found.removeprefix(f"{key}=")


def test_the_command_line_is_quoted_as_systemd_reads_it() -> None:
    lines = unit("serve", "site:app", "-e", 'A=50% of "$HOME"', "-n", "web")
    assert lines[0].startswith("# /etc/systemd/system/balancer-web.service, by: balancer systemd ")
    program = " ".join(_program())
    control = "--control %t/balancer-web/control.sock"
    assert value(lines, "ExecStart") == (
        f'{program} serve site:app -e "A=50%% of \\"$$HOME\\"" -n web {control}'
    )
    assert value(lines, "ExecReload") == f"{program} reload --wait {control}"
    assert value(lines, "RuntimeDirectory") == "balancer-web"
    assert value(lines, "WorkingDirectory") == os.getcwd()


def test_deadlines_are_the_servers_own_and_some_more() -> None:
    lines = unit("serve", "--graceful-timeout", "5m", "--drain-delay", "20s", "--boot-timeout", "5")
    assert (value(lines, "TimeoutStartSec"), value(lines, "TimeoutStopSec")) == ("15", "330")


@pytest.mark.parametrize(
    ("args", "user", "capabilities"),
    [
        (("-b", ":8000"), True, ""),
        (("-b", ":80"), True, "CAP_NET_BIND_SERVICE"),
        (("-u", "nobody"), False, "CAP_SETUID CAP_SETGID CAP_KILL CAP_CHOWN CAP_DAC_OVERRIDE"),
    ],
)
def test_nothing_is_allowed_that_is_not_needed(
    args: tuple[str, ...], user: bool, capabilities: str
) -> None:
    lines = unit("serve", *args)
    assert value(lines, "CapabilityBoundingSet") == capabilities
    who = f"User={_user()}" if _user() else "DynamicUser=yes"
    assert (who in lines) is user


def test_what_is_written_to_is_let_through() -> None:
    lines = unit("serve", "--access-logfile", "/var/log/a b/x.log", "-b", "unix:/tmp/x.sock")
    assert 'ReadWritePaths="-/var/log/a b"' in lines
    assert "PrivateTmp=yes" not in lines  # its clients would not find the socket


def test_a_socket_unit_has_numbers() -> None:
    binds = ("-b", ":80", "-b", "[::1]:81", "-b", "unix:x.sock", "-b", "localhost:82")
    lines = unit("--socket", "proxy", "127.0.0.1:9000", *binds, "-m", "007", "--backlog", "9")
    listens = [line.partition("=")[2] for line in lines if line.startswith("ListenStream=")]
    assert listens[:3] == ["0.0.0.0:80", "[::1]:81", os.path.abspath("x.sock")]
    assert "127.0.0.1:82" in listens[3:]
    assert (value(lines, "SocketMode"), value(lines, "Backlog")) == ("0770", "9")


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "balancer.toml"
    file.write_text('app = "site:app"\nbind = ":81"\nname = "shop"\n')
    lines = unit("run", "-c", str(file))
    assert value(lines, "Description") == "balancer: site:app"
    assert value(lines, "AmbientCapabilities") == "CAP_NET_BIND_SERVICE"
    assert value(lines, "RuntimeDirectory") == "balancer-shop"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["stop"], "systemd stop: serves nothing; write balancer systemd serve …"),
        (["run"], "systemd run: name a file with -c, such as -c balancer.toml"),
        (["serve", "-w", "0"], "-w 0: must be at least 1"),
        (["serve", "--sockett"], "No such option"),
        (["--socket", "serve", "--fd", "3"],
         "-b fd://3: a socket unit opens addresses, not descriptors"),
        (["--socket", "serve", "-b", "no.such.host.invalid:80"],
         "-b no.such.host.invalid:80: a socket unit needs a number, and this has none"),
    ],
)  # fmt: skip
def test_mistakes_are_found_now(args: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["systemd", *args])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"balancer: error: {message}")


def test_both_families_on_one_port_are_two_sockets() -> None:
    assert "BindIPv6Only=ipv6-only" in unit("--socket", "serve", "-b", ":80", "-b", "[::]:80")
    assert not any("BindIPv6Only" in line for line in unit("--socket", "serve", "-b", "[::]:80"))


def test_a_socket_unit_needs_a_port() -> None:
    result = CliRunner().invoke(main, ["systemd", "--socket", "serve", "-b", ":0"])
    assert result.exit_code == 2
    assert result.stderr == (
        "balancer: error: -b 0.0.0.0:0: a socket unit needs a port; name one\n"
    )


def test_a_tmp_of_its_own_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("balancer.cli.systemd._user", lambda: "")
    lines = unit("serve", "-b", "unix:/tmp/x.sock")
    assert lines[lines.index("DynamicUser=yes") + 1].startswith("# which has a /tmp of its own")
    assert not [line for line in unit("serve") if "of its own: what" in line]
