"""``balancer status`` for people: the master, its workers, its listeners, as aligned text.

There are colours in it; who prints it leaves them out where it goes to no terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from balancer.core.tail import telling
from balancer.settings.units import show_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balancer.core.control import (
        Failure,
        ForkServerStatus,
        ListenerStatus,
        Status,
        UpstreamStatus,
        WorkerStatus,
    )

__all__ = ["show_status"]


def show_status(status: Status) -> str:
    """Several lines, without a newline at the end."""
    master = status.master
    uptime = show_duration(float(int(master.uptime_s)))
    about = [
        f"balancer {master.version}", _colored(master.state), f"pid {master.pid}", f"up {uptime}",
        master.policy,
    ]  # fmt: skip
    lines = [" · ".join(about)]
    if master.reload_error is not None:
        text = f"the last reload was given up: {master.reload_error}"
        lines.append(click.style(text, fg="red"))
    if master.admin:
        lines.append(f"health checks: {', '.join(master.admin)}")
    if master.leaving:
        pids = ", ".join(map(str, master.leaving))
        lines.append(f"was upgraded; the master before it still drains: pid {pids}")
    lines += [
        "",
        *_table(_WORKERS, [_worker(worker) for worker in status.workers]),
        *_failures(status.workers),
        "",
        *_table(_LISTENERS, [_listener(listener) for listener in status.listeners]),
    ]
    if status.upstreams:
        lines += ["", *_table(_UPSTREAMS, [_upstream(each) for each in status.upstreams])]
        if status.waiting:
            lines += ["", f"waiting for an upstream: {status.waiting}"]
    if status.forkserver is not None:
        lines += ["", _fork_server(status.forkserver)]
    return "\n".join(lines)


_WORKERS = [
    "WORKER", "SLOT", "STATE", "PID", "ACTIVE", "ACCEPTED", "REQUESTS", "RESTARTS", "HEARTBEAT",
    "RSS",
]  # fmt: skip
FAILURES = 5
_LISTENERS = ["LISTENER", "QUEUED", "ACCEPTED", "REFUSED", "RECALLED"]
_UPSTREAMS = [
    "UPSTREAM", "STATE", "WEIGHT", "ACTIVE", "MAX", "REQUESTS", "FAILURES", "RETRIES", "NAME",
]  # fmt: skip
# these columns hold words, all others numbers
_LEFT = {"STATE", "LISTENER", "UPSTREAM", "NAME"}


def _worker(worker: WorkerStatus) -> list[str]:
    age = worker.heartbeat_age_s
    return [
        str(worker.id),
        str(worker.slot),
        worker.state,
        "-" if worker.pid is None else str(worker.pid),
        str(worker.active),
        str(worker.accepted),
        str(worker.requests),
        str(worker.restarts),
        "-" if age is None else f"{age:.1f}s",
        _megabytes(worker.rss_bytes),
    ]


def _failures(workers: Sequence[WorkerStatus]) -> list[str]:
    """What slots have lost workers by, the latest first; ``--json`` has it all."""
    last = {each.slot: each.last_failure for each in workers if each.last_failure is not None}
    latest = sorted(last.items(), key=lambda item: item[1].ago_s)[:FAILURES]
    return ["", *(_failure(slot, failure) for slot, failure in latest)] if latest else []


def _failure(slot: int, failure: Failure) -> str:
    ago = show_duration(float(int(failure.ago_s)))
    said = telling(failure.stderr)
    who = f"worker {failure.worker} (pid {failure.pid})"
    return f"slot {slot}, {ago} ago: {who} {failure.cause}{f': {said}' if said else ''}"


def _listener(listener: ListenerStatus) -> list[str]:
    counts = (listener.queued, listener.accepted, listener.refused, listener.recalled)
    return [listener.address, *map(str, counts)]


def _upstream(upstream: UpstreamStatus) -> list[str]:
    return [
        upstream.address,
        f"{upstream.state}{' (backup)' if upstream.backup else ''}",
        str(upstream.weight),
        str(upstream.active),
        str(upstream.max or "-"),
        str(upstream.requests),
        str(upstream.failures),
        str(upstream.retries),
        # as commands take it
        f"{upstream.pool}/{upstream.name}" if upstream.pool else upstream.name,
    ]


def _fork_server(server: ForkServerStatus) -> str:
    pid = "not running" if server.pid is None else f"pid {server.pid}"
    memory = [
        f"{name} {_megabytes(size)}"
        for name, size in (("RSS", server.rss_bytes), ("PSS", server.pss_bytes))
        if size is not None
    ]
    return " · ".join(["fork server", pid, *memory])


def _megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / (1 << 20):.1f}M"


_COLORS = {
    "ready": "green", "running": "green",
    "starting": "yellow", "reloading": "yellow", "stalled": "yellow", "draining": "yellow",
    "drained": "yellow", "stopping": "yellow", "ejected": "yellow",
    "backoff": "red", "down": "red",
}  # fmt: skip


def _colored(state: str) -> str:
    """A state in its colour, perhaps padded and with a remark; as it is when nobody knows it."""
    color = _COLORS.get(state.split(" ", 1)[0])
    return click.style(state, fg=color) if color else state


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell; numbers to the right."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    head = click.style(_line(titles, titles, widths), bold=True)
    return [head, *(_line(titles, row, widths) for row in rows)]


def _line(titles: Sequence[str], cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.ljust(width) if title in _LEFT else cell.rjust(width)
        for title, cell, width in zip(titles, cells, widths, strict=True)
    ]
    return "  ".join(
        _colored(cell) if title == "STATE" and cells is not titles else cell
        for title, cell in zip(titles, padded, strict=True)
    ).rstrip()
