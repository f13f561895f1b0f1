"""What master, fork server and workers say to each other, and how it is written down.

Connections don't travel here: they have a socket pair of their own per worker (``net.handoff``).

* master ↔ worker: a byte stream of frames, four bytes of length (big endian) and a message.
  A frame may be large, so it is a stream and not a packet socket.
* master ↔ fork server: one message per SEQPACKET packet, with file descriptors beside it.

Messages are msgpack with a tag that names the type.  Both ends may be of different versions after
a reload: unknown fields are ignored and missing ones have defaults, an unknown tag is a
``ProtocolError``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, final

import msgspec

from balancer.settings.logformat import DEFAULT_FORMAT
from balancer.settings.source import ConfigSource  # noqa: TC001 - msgspec reads it

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Begin",
    "BootFailed",
    "Configure",
    "Drain",
    "Drained",
    "Exited",
    "ForkServerMessage",
    "ForkServerRequest",
    "FrameDecoder",
    "Guard",
    "Leaving",
    "PacketDecoder",
    "PoolPlace",
    "PreloadFailed",
    "Program",
    "ProtocolError",
    "Quit",
    "Ready",
    "Reopen",
    "Resume",
    "Resumed",
    "SetLogLevel",
    "Spawn",
    "SpawnFailed",
    "Spawned",
    "Warm",
    "WorkerConfig",
    "WorkerMessage",
    "WorkerRequest",
    "encode_frame",
    "encode_packet",
]

MAX_FRAME = 16 * 1024 * 1024
LENGTH = 4


class ProtocolError(Exception):
    """The other end sent something that is no message."""


class _Message(msgspec.Struct, frozen=True, tag=True):
    pass


class PoolPlace(msgspec.Struct, frozen=True, kw_only=True):
    """What a pool is called: by people, and in the endpoints' table.

    ``upstreams`` has the number of each of the config's.
    """

    name: str = ""
    number: int = 0
    upstreams: tuple[int, ...] = ()


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """The program that a server was started from by way of the library.

    ``path`` is its ``sys.path``, ``argv`` its ``sys.argv``.  Its main module is a ``module`` (of
    ``python -m``), a ``script``, or neither (an interactive session).
    """

    path: tuple[str, ...]
    argv: tuple[str, ...]
    module: str | None = None
    script: str | None = None


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs of the settings; times in seconds, sizes in bytes."""

    app: str | None = None
    interface: str = "auto"
    engine: str = "trio"
    factory: bool = False
    app_dir: str = "."
    lifespan: str = "auto"
    root_path: str = ""
    forwarded_allow_ips: tuple[str, ...] = ()
    log_level: str = "info"
    access_logfile: str | None = None
    access_logformat: str = DEFAULT_FORMAT
    worker_connections: int = 1000
    config: ConfigSource | None = None  # the file with the workers' hooks
    master_pid: int = 0
    threads: int = 1
    shared_accept: bool = False  # the listeners it accepts from are every worker's
    max_requests: int = 0
    max_requests_jitter: int = 0
    graceful_timeout: float = 30.0
    keep_alive: float = 75.0
    keep_alive_requests: int = 1000
    header_timeout: float = 10.0
    body_timeout: float = 30.0
    send_timeout: float = 30.0
    request_timeout: float = 0.0
    limit_request_line: int = 8190
    limit_request_fields: int = 100
    limit_request_head: int = 32768
    limit_request_body: int = 0
    ws_max_size: int = 16 * 1024 * 1024
    ws_max_queue: int = 32
    ws_ping_interval: float = 20.0
    ws_ping_timeout: float = 20.0
    ws_per_message_deflate: bool = True
    upstreams: tuple[str, ...] = ()  # not empty: a proxy
    instance: str = ""  # no other server has the same
    upstream_policy: str = "round-robin"
    upstream_host: str | None = None
    sticky: str | None = None
    upstream_connect_timeout: float = 3.0
    upstream_response_timeout: float = 60.0
    upstream_idle: int = 32
    upstream_idle_timeout: float = 4.0
    upstream_queue: int = 1024
    upstream_queue_timeout: float = 5.0
    upstream_retries: int = 2
    retry_budget: int = 20
    eject_after: int = 5
    eject_time: float = 10.0
    max_ejected: int = 50
    panic: int = 50
    slow_start: float = 0.0
    tunnel_timeout: float = 3600.0
    upstream_ca: str | None = None
    upstream_verify: bool = True
    user: int | None = None
    group: int | None = None
    initgroups: bool = True
    umask: int | None = None
    pool: PoolPlace | None = None  # of a proxy
    edition: int = 1  # of the list of all upstreams
    services: tuple[WorkerConfig, ...] = ()  # several apps and pools; empty: the one above
    program: Program | None = None  # who uses the library, where an app may be found in it


# -- worker → master --------------------------------------------------------------------------


class Ready(_Message, frozen=True):
    """The app is loaded: the worker takes connections."""


class BootFailed(_Message, frozen=True):
    """The worker can't start; ``app`` says that the app's import is to blame."""

    text: str
    app: bool = False


class Leaving(_Message, frozen=True):
    """The worker wants to go, and takes connections until it is told to drain.

    ``replace_first`` says that it can wait until its successor is ready.
    """

    reason: str
    replace_first: bool = False


class Drained(_Message, frozen=True):
    """A worker that was told to drain and stay has nothing left to do."""


class Resumed(_Message, frozen=True):
    """A worker that had been told to drain and stay takes connections again."""


# -- master → worker --------------------------------------------------------------------------


class Drain(_Message, frozen=True):
    """Finish what you have; nothing new comes.  ``leave``: exit then.

    ``seconds`` is how long requests may take; what is left then is cut.  ``closing`` says that the
    server stops: who waits on a listener that the worker accepts from is not for others to serve.
    """

    seconds: float
    leave: bool = True
    closing: bool = False


class Quit(_Message, frozen=True):
    """End now: requests in progress are cut."""


class Resume(_Message, frozen=True):
    """Take connections again, after a ``Drain`` that didn't ask to leave."""


class SetLogLevel(_Message, frozen=True):
    """Log more, or less."""

    level: str


class Begin(_Message, frozen=True):
    """Accept from inherited listeners, after a ``Spawn`` with ``held``."""


class Reopen(_Message, frozen=True):
    """Open the log files anew: those that were open have been renamed."""


# -- master → fork server ---------------------------------------------------------------------


class Configure(_Message, frozen=True):
    """The first message: what every worker gets, and what to import before forking."""

    config: WorkerConfig
    entry: str
    graceful_timeout: float
    preload_app: bool = False


class Spawn(_Message, frozen=True):
    """Fork a worker.

    With it come: its end of the hand-off pair, its end of the control channel, the shared memory
    of the slots, the ``extras``, and the listeners that it accepts from by itself, if any.
    """

    worker: int
    slot: int
    row: int
    families: tuple[int, ...]  # the address family of each lane
    servers: tuple[int, ...] = ()  # the config's service for each lane; empty: all the same
    addresses: tuple[str, ...] = ()  # what each lane listens on
    inherited: tuple[int, ...] = ()  # the lane of each listener that comes with it
    extras: tuple[str, ...] = ()  # what else comes with it: mailbox, stdout, stderr
    env: dict[str, str] = {}  # what to set in its environment
    worker_connections: int = 0  # its own limit; 0: the config's
    log_level: str = ""  # what was asked for since; empty: the config's
    held: bool = False  # it accepts from them only when it is told to ``Begin``


class Guard(_Message, frozen=True):
    """With it come pidfds of workers of a dead fork server: they must not outlive the master."""


# -- fork server → master ---------------------------------------------------------------------


class Warm(_Message, frozen=True):
    """Everything is imported: the next fork is quick."""


class PreloadFailed(_Message, frozen=True):
    """``--preload``: the app can't be imported."""

    text: str


class Spawned(_Message, frozen=True):
    """A worker was forked; its pidfd comes with it."""

    worker: int
    pid: int


class SpawnFailed(_Message, frozen=True):
    """A worker could not be forked."""

    worker: int
    text: str


class Exited(_Message, frozen=True):
    """A worker has been reaped; ``code`` is negative for a signal, as in ``subprocess``."""

    worker: int
    pid: int
    code: int


WorkerMessage = Ready | BootFailed | Leaving | Drained | Resumed
WorkerRequest = Begin | Drain | Resume | Quit | Reopen | SetLogLevel
ForkServerRequest = Configure | Spawn | Guard
ForkServerMessage = Warm | PreloadFailed | Spawned | SpawnFailed | Exited

_T = TypeVar("_T")
_encoder = msgspec.msgpack.Encoder()
# what msgspec raises for bad UTF-8 and for nesting without end is no MsgspecError
_GARBAGE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def encode_packet(message: _Message) -> bytes:
    """One message, for a socket that keeps packets apart."""
    return _encoder.encode(message)


def encode_frame(message: _Message) -> bytes:
    """One message, for a byte stream."""
    payload = _encoder.encode(message)
    return len(payload).to_bytes(LENGTH, "big") + payload


@final
class PacketDecoder(Generic[_T]):
    """Reads packets of one of the unions above; ProtocolError when a packet is none of them."""

    def __init__(self, union: object) -> None:
        self._decode: Callable[[bytes], _T] = msgspec.msgpack.Decoder(union).decode

    def __call__(self, packet: bytes) -> _T:
        try:
            return self._decode(packet)
        except _GARBAGE as error:
            raise ProtocolError(str(error)) from error


@final
class FrameDecoder(Generic[_T]):
    """Cuts a byte stream into messages of one of the unions above, however it arrives."""

    def __init__(self, union: object) -> None:
        self._packet: PacketDecoder[_T] = PacketDecoder(union)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[_T]:
        """The messages that are complete now; ProtocolError for a frame that is none."""
        buffer = self._buffer
        buffer += data
        messages = []
        while len(buffer) >= LENGTH:
            length = int.from_bytes(buffer[:LENGTH], "big")
            if length > MAX_FRAME:
                raise ProtocolError(f"a frame of {length} bytes; {MAX_FRAME} are allowed")
            if len(buffer) < LENGTH + length:
                break
            messages.append(self._packet(bytes(buffer[LENGTH : LENGTH + length])))
            del buffer[: LENGTH + length]
        return messages
