"""Units for systemd, as text: what a server that runs under it needs, and nothing more.

Source: systemd.service(5), systemd.exec(5), systemd.socket(5).  Nothing here is younger than
systemd 249, which Ubuntu 22.04 has.
"""

from __future__ import annotations

import os
import re
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

from balancer.errors import UsageError
from balancer.settings import FdBind, TcpBind, UnixBind
from balancer.settings.hostport import join_host_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from balancer.settings import Bind, Settings

__all__ = ["service_unit", "socket_unit", "unit_name"]

LAST = 10
"""Seconds beyond its own deadlines that a server may need to stop, or to start."""
WELL_KNOWN = 1024
"""Ports below are root's."""
_PLAIN = re.compile(r"[A-Za-z0-9_./:@,=+~-]+", re.ASCII).fullmatch
# For the master that starts workers as somebody else; it signals them and gives them files.
_TO_DROP = "CAP_SETUID CAP_SETGID CAP_KILL CAP_CHOWN CAP_DAC_OVERRIDE"


def unit_name(settings: Settings) -> str:
    """What to call the units, and the folder below /run."""
    name = settings.name or ""
    return f"balancer-{re.sub(r'[^A-Za-z0-9_.-]', '-', name)}" if name else "balancer"


def service_unit(
    settings: Settings, program: Sequence[str], command: Sequence[str], folder: str, user: str
) -> str:
    """The service.

    Args:
        settings: What the command line says.
        program: How ``balancer`` is started.
        command: Its arguments.
        folder: Where it runs.
        user: Who runs it; empty is a user that systemd makes up.
    """
    name = unit_name(settings)
    start = [*program, *command]
    reload = "/bin/kill -HUP $MAINPID"
    if not settings.no_control:
        control = settings.control or f"%t/{name}/control.sock"
        if settings.control is None:
            start += ["--control", control]
        # not a signal: this waits, and says what was wrong with the new configuration
        reload = _join([*program, "reload", "--wait", "--control", control])
    lines = [
        "[Unit]",
        f"Description=balancer: {_what(settings)}",
        "After=network-online.target",
        "Wants=network-online.target",
        "",
        "[Service]",
        "# ready when all workers are",
        "Type=notify",
        f"ExecStart={_join(start)}",
        f"ExecReload={reload}",
        f"WorkingDirectory={_escape(folder)}",
        *_identity(settings, user),
        f"RuntimeDirectory={name}",
        "RuntimeDirectoryMode=0755" if settings.user else "RuntimeDirectoryMode=0700",
        "",
        "# the master tells the workers, which are in other sessions; who is left is killed",
        "KillMode=mixed",
        f"TimeoutStartSec={round(settings.boot_timeout) + LAST}",
        f"TimeoutStopSec={round(settings.drain_delay + settings.graceful_timeout) + LAST}",
        "WatchdogSec=30",
        "Restart=on-failure",
        "# a usage error, and an app that can't be imported, stay as they are",
        "RestartPreventExitStatus=2 4",
        "# a worker that ran out of memory is replaced: that is no reason to stop the others",
        "OOMPolicy=continue",
        "LimitNOFILE=65536",
        "",
        "# not MemoryDenyWriteExecute: ctypes, cffi and what compiles at run time need such memory",
        *_hardening(settings, folder),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines)


def socket_unit(settings: Settings) -> str:
    """The sockets, for systemd to open: before the service starts, and across its restarts.

    Raises:
        UsageError: a bind is a descriptor, or leaves its port to the kernel.
    """
    ports = [bind for bind in settings.bind if isinstance(bind, TcpBind)]
    for bind in ports:
        if not bind.port:
            raise UsageError(
                f"{settings.where('bind')} {bind}: a socket unit needs a port; name one"
            )
    lines = [
        "[Unit]",
        f"Description=balancer: the sockets of {_what(settings)}",
        "",
        "[Socket]",
        *(f"ListenStream={_escape(address)}" for bind in settings.bind for address in _at(bind)),
        f"Backlog={settings.backlog}",
        "NoDelay=true",
    ]
    six = {bind.port for bind in ports if ":" in bind.host}
    if six & {bind.port for bind in ports if ":" not in bind.host}:
        lines.append("BindIPv6Only=ipv6-only")  # else [::]:80 would take IPv4's 80, too
    if any(isinstance(bind, UnixBind) for bind in settings.bind) and settings.umask is not None:
        lines.append(f"SocketMode={0o777 & ~settings.umask:04o}")
    return "\n".join([*lines, "", "[Install]", "WantedBy=sockets.target"])


def _what(settings: Settings) -> str:
    names = ", ".join(each.name for each in settings.services)
    return _escape(names or settings.app or " ".join(settings.upstreams) or "the demo app")


def _identity(settings: Settings, user: str) -> Iterator[str]:
    low = any(isinstance(bind, TcpBind) and 0 < bind.port < WELL_KNOWN for bind in settings.bind)
    bind = "CAP_NET_BIND_SERVICE" if low else ""
    if settings.user or settings.group:
        yield "# the master stays root, to start workers as somebody else"
        yield f"CapabilityBoundingSet={_TO_DROP} {bind}".rstrip()
        return
    yield f"User={user}" if user else "DynamicUser=yes"
    if not user and _in_tmp(settings):
        yield "# which has a /tmp of its own: what is bound or written there, nobody else sees"
    if low:
        yield f"AmbientCapabilities={bind}"
    yield f"CapabilityBoundingSet={bind}"


def _in_tmp(settings: Settings) -> bool:
    return any(path.startswith(("/tmp/", "/var/tmp/")) for path in _files(settings))


def _hardening(settings: Settings, folder: str) -> Iterator[str]:
    yield from (
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=read-only",
        "# what the app writes to besides goes here",
    )
    written = [folder, *map(os.path.dirname, _files(settings))]
    for path in dict.fromkeys(os.path.join(folder, each) for each in written):
        yield f"ReadWritePaths={_quote(f'-{path}')}"
    if not _in_tmp(settings):
        yield "PrivateTmp=yes"
    yield from (
        "PrivateDevices=yes",
        "ProtectClock=yes",
        "ProtectControlGroups=yes",
        "ProtectHostname=yes",
        "ProtectKernelLogs=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelTunables=yes",
        "LockPersonality=yes",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
    )


def _files(settings: Settings) -> Iterator[str]:
    """The files that a server makes, or is asked to write to."""
    for path in (settings.pid, settings.control, settings.access_logfile):
        if path not in {None, "-"}:
            yield str(path)
    for bind in (*settings.bind, settings.admin):
        if isinstance(bind, UnixBind):
            yield bind.path


def _at(bind: Bind) -> list[str]:
    """systemd takes numbers, and no names."""
    if isinstance(bind, FdBind):
        raise UsageError(f"-b {bind}: a socket unit opens addresses, not descriptors")
    if isinstance(bind, UnixBind):
        return [os.path.abspath(bind.path)]
    try:
        ip_address(bind.host.partition("%")[0])
    except ValueError:
        return [join_host_port(host, str(bind.port)) for host in _look_up(bind)]
    return [str(bind)]


def _look_up(bind: TcpBind) -> list[str]:
    try:
        found = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise UsageError(f"-b {bind}: a socket unit needs a number, and this has none") from None
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _join(words: Sequence[str]) -> str:
    return " ".join(map(_quote, words))


def _quote(word: str) -> str:
    """A word of a command: what systemd would expand is meant as it stands."""
    if word.startswith("%t/"):  # ours: the folder of what runs
        return word
    text = _escape(word).replace("$", "$$")
    if _PLAIN(text.replace("%%", "").replace("$$", "") or "x") and word:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _escape(text: str) -> str:
    """A text in which ``%`` is a percent sign, and no newline begins another line."""
    return text.replace("%", "%%").replace("\n", " ")
