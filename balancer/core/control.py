"""The control protocol: what ``balancer status`` and its kin say to a running server.

One JSON object per line in each direction, over a stream.  A request names its command in ``do``
and its protocol in ``v``; each gets one ``Reply``.  The server's answer to anything else is a
``Reply`` that says what was wrong: ``decode_request`` raises nothing but ``ControlError``.

    {"do":"scale","v":1,"workers":3}  →  {"ok":true,"error":null,"result":3,"done":false,"v":1}

A request that can ``wait`` is answered when the thing is begun, or if it asks for that when it is
``done``: then however long it takes nothing is said, and who hangs up stops waiting, and nothing
else.

Unknown fields are ignored in both directions, so that a command can talk to a server that is a
little older or newer; what can't be understood at all gets another ``v``.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from balancer import __version__

__all__ = [
    "LOG_LEVELS", "MAX_LINE", "MAX_WORKERS", "PROTOCOL", "ControlError", "Drain", "DrainUpstream",
    "Failure",
    "ForkServerStatus", "GetStatus", "ListenerStatus", "LogLevel", "MasterStatus", "Reload",
    "Reopen", "Reply", "Request", "Restart", "Resume", "ResumeUpstream", "Scale", "Status", "Stop",
    "Upgrade", "UpstreamStatus", "Weigh", "WorkerStatus", "decode_reply", "decode_request",
    "encode", "is_degraded", "to_status",
]  # fmt: skip

PROTOCOL = 1
# longer requests are garbage; a reply grows with the number of workers (~200 bytes each)
MAX_LINE = 64 * 1024
MAX_REPLY = 16 * 1024 * 1024
MAX_WORKERS = 1024
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


class ControlError(Exception):
    """A line that is no message of this protocol; the text goes to the other side."""


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="do"):
    v: int = PROTOCOL


class GetStatus(_Message, frozen=True, tag="status"):
    """Ask for a ``Status``."""


class Reload(_Message, frozen=True, tag="reload"):
    """Read the configuration again and roll the workers.

    Here and elsewhere ``wait`` asks for the reply when the thing is done, not when it is begun.
    """

    wait: bool = False


class Restart(_Message, frozen=True, tag="restart"):
    """Roll the workers, or one of them, with the configuration as it is."""

    worker_id: int | None = None
    wait: bool = False


class Upgrade(_Message, frozen=True, tag="upgrade"):
    """Start another master, perhaps of another version, and leave when it serves."""

    wait: bool = False


class Reopen(_Message, frozen=True, tag="reopen"):
    """Open the log files anew, after they were renamed."""


class Scale(_Message, frozen=True, tag="scale"):
    """Have that many workers, or so many more or less than there are."""

    workers: int | None = None
    by: int = 0
    wait: bool = False


class Drain(_Message, frozen=True, tag="drain"):
    """Take one worker out of service, by its id: it finishes what it has and stays, idle."""

    worker_id: int
    wait: bool = False


class Resume(_Message, frozen=True, tag="resume"):
    """Put a worker that was drained back into service."""

    worker_id: int


class DrainUpstream(_Message, frozen=True, tag="drain-upstream"):
    """Give an upstream no new requests; those in progress finish."""

    upstream: str
    wait: bool = False


class ResumeUpstream(_Message, frozen=True, tag="resume-upstream"):
    """Give an upstream that was drained requests again."""

    upstream: str


class Weigh(_Message, frozen=True, tag="weight"):
    """Give an upstream another share."""

    upstream: str
    weight: int


class LogLevel(_Message, frozen=True, tag="log-level"):
    """Log more, or less: master and workers."""

    level: str


class Stop(_Message, frozen=True, tag="stop"):
    """Stop the server; ``quick`` doesn't wait for requests."""

    quick: bool = False
    wait: bool = False


Request = (
    GetStatus
    | Reload
    | Restart
    | Upgrade
    | Reopen
    | Scale
    | Drain
    | Resume
    | DrainUpstream
    | ResumeUpstream
    | Weigh
    | LogLevel
    | Stop
)


class Reply(msgspec.Struct, frozen=True):
    """The answer to one request: ``result`` when ok, ``error`` (a sentence) when not.

    ``done`` says that what was to be waited for is over: a server that is too old to wait doesn't.
    """

    ok: bool
    error: str | None = None
    result: Any = None
    done: bool = False
    v: int = PROTOCOL


class MasterStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """``state`` is starting, running, reloading, upgrading, leaving or stopping.

    ``reload_error`` says why the last reload was given up; absent when it wasn't.  ``admin`` is
    where health checks are answered, where they are.  ``leaving`` are the pids of the masters that
    this one took over from and that still drain.
    """

    pid: int
    version: str
    uptime_s: float
    policy: str
    state: str
    reload_error: str | None = None
    admin: list[str] = []
    leaving: list[int] = []


class Failure(msgspec.Struct, frozen=True):
    """How a worker died that should not have.

    ``cause`` is a sentence without a subject (exited with 1, was killed by SIGSEGV …), ``stderr``
    the last lines that it printed: nothing for the first that dies in a slot, nobody listened.
    """

    worker: int
    pid: int | None
    ago_s: float
    cause: str
    stderr: str = ""


class WorkerStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """One worker; ``pid`` and the two measurements are None while its slot is in backoff.

    ``last_failure`` is its slot's, absent when there was none.

    ``state`` is starting, ready, stalled, draining, drained (by hand: it stays), stopping or
    backoff: a plain string, because a newer server may know others.
    """

    id: int
    slot: int
    pid: int | None
    state: str
    active: int
    accepted: int
    requests: int
    restarts: int
    heartbeat_age_s: float | None
    rss_bytes: int | None
    last_failure: Failure | None = None


class ListenerStatus(msgspec.Struct, frozen=True):
    """One listener: connections waiting for a worker now, and what happened to those before."""

    address: str
    queued: int
    accepted: int
    refused: int
    recalled: int


class UpstreamStatus(msgspec.Struct, frozen=True):
    """One address of a server that is stood in front of.

    ``state`` is ready, down (by probes), ejected (by failed requests) or drained; ``name`` is what
    was written on the command line, or in the table of the ``pool`` of that name.  The numbers are
    all workers', since the address is known.
    """

    address: str
    name: str
    state: str
    backup: bool
    weight: int
    max: int
    active: int
    requests: int
    failures: int
    retries: int
    pool: str = ""


class ForkServerStatus(msgspec.Struct, frozen=True):
    """The process that workers are forked from."""

    pid: int | None
    rss_bytes: int | None = None
    pss_bytes: int | None = None


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """What ``balancer status --json`` prints; a proxy has ``upstreams`` and requests that wait."""

    master: MasterStatus
    workers: list[WorkerStatus]
    listeners: list[ListenerStatus]
    forkserver: ForkServerStatus | None
    upstreams: list[UpstreamStatus] = []
    waiting: int = 0


class _Version(msgspec.Struct):
    v: int = PROTOCOL


class _Command(msgspec.Struct):
    do: str = ""


# msgspec raises UnicodeDecodeError, no DecodeError, for bad UTF-8 in a string it has to read
_GARBAGE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_requests = msgspec.json.Decoder(Request)
_replies = msgspec.json.Decoder(Reply)
_versions = msgspec.json.Decoder(_Version)
_commands = msgspec.json.Decoder(_Command)
_known = {each.__struct_config__.tag for each in get_args(Request)}
_encoder = msgspec.json.Encoder()


def encode(message: Request | Reply) -> bytes:
    """One line, with its newline.

    Paths and errors may hold what is no UTF-8 (PEP 383); it comes out as an escape.
    """
    try:
        return _encoder.encode(message) + b"\n"
    except UnicodeEncodeError:
        return _encoder.encode(_printable(msgspec.to_builtins(message))) + b"\n"


def _printable(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_printable(key): _printable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(inner) for inner in value]
    return value


def decode_request(line: bytes) -> Request:
    """The request in a line.

    Raises:
        ControlError: not JSON, another protocol, no such command, or an argument out of range.
    """
    _check_version(line, "server", "command")
    try:
        request: Request = _requests.decode(line)
    except _GARBAGE as error:
        raise ControlError(_explain(line, error)) from None
    if isinstance(request, Scale):
        _check_scale(request)
    return request


def _explain(line: bytes, error: Exception) -> str:
    """Why a line is no request: that of a newer command line is no garbage."""
    try:
        command = _commands.decode(line).do
    except _GARBAGE:
        command = ""
    if not command or command in _known:
        return f"not a request of this server (balancer {__version__}): {error}"
    return (
        f"the server is older (balancer {__version__}) than this command line, and doesn't know "
        f"{command[:40]!r}: stop it, and start the version that you want"
    )


def _check_scale(request: Scale) -> None:
    if request.workers is None:
        if not request.by:
            raise ControlError("scale: say how many workers, or how many more or less")
    elif not 1 <= request.workers <= MAX_WORKERS:
        raise ControlError(f"scale {request.workers}: must be from 1 to {MAX_WORKERS} workers")


def decode_reply(line: bytes) -> Reply:
    """The reply in a line.

    Raises:
        ControlError: it is none, or of another protocol.
    """
    _check_version(line, "command", "server")
    try:
        return _replies.decode(line)
    except _GARBAGE:
        raise ControlError("the server's answer is not a reply of this protocol") from None


def _check_version(line: bytes, ours: str, theirs: str) -> None:
    try:
        version = _versions.decode(line).v
    except _GARBAGE:
        raise ControlError("not a message of balancer's control protocol") from None
    if version != PROTOCOL:
        raise ControlError(
            f"the {theirs} speaks control protocol {version} and the {ours} {PROTOCOL}; "
            "use the same version of balancer for both"
        )


def to_status(result: object) -> Status:
    """The ``Status`` in a reply's result.

    Raises:
        ControlError: it holds none.
    """
    try:
        return msgspec.convert(result, Status)
    except msgspec.ValidationError as error:
        raise ControlError(f"the server's status can't be read: {error}") from None


def is_degraded(status: Status) -> bool:
    """Whether capacity is missing that should be there.

    A draining, drained or stopping worker is not missing: somebody wanted it so, and who leaves has
    a replacement that is ready before.  Of a pool's upstreams one that is ready is enough.
    """
    states = {worker.state for worker in status.workers}
    ready = {each.pool for each in status.upstreams if each.state == "ready"}
    if {each.pool for each in status.upstreams} - ready:
        return True
    return "ready" not in states or bool(states & {"starting", "stalled", "backoff"})
