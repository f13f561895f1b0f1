"""Every setting, once.

A field of ``Settings`` *is* the definition: its name is the key in a TOML file, ``--name`` with
dashes is the flag and ``BALANCER_NAME`` the variable; the rest stands in its one entry.  The
command line, the file's schema, the environment and ``--help`` are all read from here, so that
adding a setting is adding a field.

Names are gunicorn's where gunicorn has the setting; uvicorn's spellings are aliases.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from balancer.settings.app import Interface
from balancer.settings.binds import DEFAULT_BIND, Bind
from balancer.settings.cpus import usable_cpus
from balancer.settings.kinds import (
    ADMIN,
    APP,
    BINDS,
    FILE,
    FOLDER,
    FOLDERS,
    GROUP,
    HOST,
    LOG_FILE,
    LOG_FORMAT,
    NAME,
    PATH,
    PATTERNS,
    PEERS,
    PID_FILE,
    POLICY,
    PROBE,
    RECALL,
    ROOT_PATH,
    SWITCH,
    TOKEN,
    UMASK,
    UPSTREAMS,
    USER,
    VARIABLES,
    WEIGHTS,
    WORKER_POLICY,
    WORKERS,
    choice,
    count,
    duration,
    percent,
    size,
)
from balancer.settings.logformat import DEFAULT_FORMAT
from balancer.settings.taken import Taken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balancer.settings.kinds import Kind
    from balancer.settings.origin import Origin
    from balancer.settings.source import ConfigSource

__all__ = [
    "FOR_APPS_ONLY", "OF_APPS", "OF_POOLS", "SETTINGS", "UPSTREAM", "Alias", "Service", "Setting",
    "Settings",
]  # fmt: skip

APPS = "App"
LISTEN = "Listening"
WORK = "Workers"
HANDOFF = "Hand-off"
TIME = "Clocks"
HTTP = "HTTP limits"
WEBSOCKET = "WebSocket"
MANAGE = "Running"
UPSTREAM = "Upstreams"

OF_APPS = "apps"
OF_POOLS = "pools"
# what a file may also say of one app or one pool alone; a setting may differ from its group
TABLES = {
    APPS: (OF_APPS,), HTTP: (OF_APPS, OF_POOLS), WEBSOCKET: (OF_APPS,), UPSTREAM: (OF_POOLS,),
}  # fmt: skip

# a deadline of 0 would fail every connection
INSTANT = 0.001


@dataclass(frozen=True, slots=True)
class Alias:
    """Another spelling of a flag, whose value may have to be completed.

    Attributes:
        flag: ``--uds``.
        metavar: What stands for its value in ``--help``.
        text: The setting's text, with ``{}`` for the value; a switch has no ``{}``.
    """

    flag: str
    metavar: str
    text: str


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: what the command line, the file and the environment need to know of it.

    Attributes:
        name: The field, and the key in a file.
        kind: Its type.
        group: Its heading in ``--help``.
        help: One line for ``--help``.
        default: What it is when nobody says anything, as text.
        short: A flag of one letter.
        aliases: Other spellings.
        env: Variables that other programs named, beside ``BALANCER_…``.
        positional: It is an argument and has no flag.
        tables: The tables of a file that it may stand in, for one app (``apps``) or one pool of
            upstreams (``pools``); empty: it holds for the whole server.
        taken: When a server that runs takes another value up.
    """

    name: str
    kind: Kind
    group: str
    help: str
    default: str
    short: str
    aliases: tuple[Alias, ...]
    env: tuple[str, ...]
    positional: bool
    tables: tuple[str, ...]
    taken: Taken = Taken.BY_WORKERS

    @property
    def flag(self) -> str:
        """The long flag, or the word for a positional argument."""
        return self.kind.metavar if self.positional else f"--{self.name.replace('_', '-')}"

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables, the strongest first."""
        return (f"BALANCER_{self.name.upper()}", *self.env)

    @property
    def spellings(self) -> tuple[Alias, ...]:
        """Every flag: the short one, the long one, the aliases."""
        if self.positional:
            return ()
        own = [flag for flag in (self.short, self.flag) if flag]
        text = "{}" if self.kind.metavar else "true"
        return (*(Alias(flag, self.kind.metavar, text) for flag in own), *self.aliases)


def _setting(
    default: object,
    kind: Kind,
    group: str,
    help: str,  # noqa: A002 - it is the word of every option parser
    *,
    short: str = "",
    aliases: tuple[str | Alias, ...] = (),
    env: tuple[str, ...] = (),
    default_text: str | None = None,
    positional: bool = False,
    tables: tuple[str, ...] | None = None,
) -> Any:  # noqa: ANN401 - as dataclasses.field(), it stands for a value of the field's type
    """A dataclass field that carries its ``Setting``; a callable default is called."""
    spellings = tuple(
        Alias(alias, kind.metavar, "{}") if isinstance(alias, str) else alias for alias in aliases
    )
    if default_text is None:
        default_text = "" if default is None or default is False else kind.show(default)
    # the name is the field's, which the dataclass knows only later: see SETTINGS
    entry = Setting(
        "", kind, group, help, default_text, short, spellings, env, positional,
        TABLES.get(group, ()) if tables is None else tables,
    )  # fmt: skip
    if callable(default):
        return dataclasses.field(default_factory=default, metadata={"setting": entry})
    return dataclasses.field(default=default, metadata={"setting": entry})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a server was told. Durations are seconds, sizes bytes."""

    app: str | None = _setting(
        None, APP, APPS, "what to serve: module:attr or module:factory(), with asgi:, wsgi: or "
        "stream: in front where it can't be told", default_text="the demo app", positional=True,
    )  # fmt: skip
    interface: str = _setting(
        "auto", choice("auto", *(each.value for each in Interface)), APPS,
        "how the app is called: asgi, wsgi, stream (a trio stream per connection) or native; auto "
        "looks at it",
    )  # fmt: skip
    engine: str = _setting(
        "trio", choice("trio", "uvicorn"), APPS,
        "what serves the app: trio, or uvicorn's protocols on asyncio for ASGI apps that need it "
        "(pip install balancer[uvicorn])", tables=(),  # a worker has one event loop
    )  # fmt: skip
    factory: bool = _setting(False, SWITCH, APPS, "APP is called, without arguments, for the app")
    # sys.path is a worker's, whatever it serves
    app_dir: str = _setting(
        ".", FOLDER, APPS, "look for the app's module in this folder first", tables=()
    )
    lifespan: str = _setting(
        "auto", choice("auto", "on", "off"), APPS,
        "start-up and shutdown events of ASGI apps: on needs them, auto does without if need be",
        aliases=("--asgi-lifespan",),
    )  # fmt: skip
    root_path: str = _setting("", ROOT_PATH, APPS, "path that a proxy in front has cut off")
    forwarded_allow_ips: tuple[str, ...] = _setting(
        ("127.0.0.1", "::1", "unix:"), PEERS, LISTEN,
        "peers whose X-Forwarded-For, X-Forwarded-Proto and Forwarded are believed: addresses, "
        "networks, unix:, * or none", aliases=(Alias("--no-proxy-headers", "", "none"),),
        env=("FORWARDED_ALLOW_IPS",), default_text="127.0.0.1,::1,unix:",
    )  # fmt: skip
    bind: tuple[Bind, ...] = _setting(
        (DEFAULT_BIND,), BINDS, LISTEN,
        "where to listen: HOST:PORT, :PORT, HOST, [IPV6]:PORT, unix:PATH or fd://N; repeatable",
        short="-b", default_text=f"{DEFAULT_BIND}, or 0.0.0.0:$PORT",
        aliases=(
            Alias("--host", "HOST", "{}"), Alias("--port", "PORT", "{}"),
            Alias("--uds", "PATH", "unix:{}"), Alias("--fd", "N", "fd://{}"),
        ),
    )  # fmt: skip
    backlog: int = _setting(
        2048, count(1), LISTEN, "connections that the kernel may keep waiting per listener"
    )
    workers: int = _setting(
        usable_cpus, WORKERS, WORK, "number of worker processes; auto is the number of usable CPUs",
        short="-w", env=("WEB_CONCURRENCY",), default_text="auto",
    )  # fmt: skip
    worker_connections: int = _setting(
        1000, count(1), WORK, "connections that a worker may hold",
        aliases=("--max-connections", "--limit-concurrency"),
    )  # fmt: skip
    threads: int = _setting(
        1, count(1, 4096), WORK,
        "requests of a WSGI app that a worker runs at once, each in a thread; 1, as in gunicorn, "
        "suits every app: one that waits for databases and is thread-safe wants more",
        tables=(OF_APPS,),
    )  # fmt: skip
    max_requests: int = _setting(
        0, count(off=True), WORK, "replace a worker after so many requests; 0 is never",
        aliases=("--limit-max-requests",),
    )  # fmt: skip
    max_requests_jitter: int = _setting(
        0, count(), WORK, "add up to so many, at random, so that workers don't go together",
        aliases=("--limit-max-requests-jitter",),
    )  # fmt: skip
    workers_lifetime: float = _setting(
        0.0, duration(1.0, off=True), WORK,
        "replace a worker that has been ready for so long, or up to 10 % longer, at random",
        default_text="off",
    )  # fmt: skip
    workers_max_rss: int = _setting(
        0, size(1 << 20, off=True), WORK,
        "replace a worker that has so much memory, or up to 10 % less, at random",
        default_text="off",
    )  # fmt: skip
    user: int | None = _setting(
        None, USER, WORK, "the user that workers run as: the master, as root, can bind port 80",
        short="-u",
    )  # fmt: skip
    group: int | None = _setting(
        None, GROUP, WORK, "the group that workers run as", short="-g", default_text="the user's"
    )
    initgroups: bool = _setting(
        True, SWITCH, WORK, "workers have all groups of their user, not only its own",
        aliases=(Alias("--no-initgroups", "", "false"),),
    )  # fmt: skip
    umask: int | None = _setting(
        None, UMASK, WORK,
        "which permissions files don't get that workers make, and UNIX sockets: octal, as in 022",
        short="-m", default_text="the master's",
    )  # fmt: skip
    preload: bool = _setting(
        False, SWITCH, WORK, "import the app once, before the workers are forked",
        aliases=(Alias("--no-preload", "", "false"),),
    )  # fmt: skip
    policy: str = _setting(
        "round-robin", WORKER_POLICY, HANDOFF,
        "who gets a connection: round-robin, least-connections, p2c, updown, random, weighted, "
        "source-hash (by the client's address) or first, by the master; by the kernel with one "
        "listener that all accept from (shared) or one for each worker (reuseport); or by a class "
        "of yours, module:Class",
    )  # fmt: skip
    worker_weights: tuple[int, ...] = _setting(
        (), WEIGHTS, HANDOFF,
        "the workers' shares, by slot: 3,1 is three times as much for the first as for each of the "
        "others, for policies that go by weight (weighted, least-connections, p2c, random, "
        "source-hash)",
        default_text="1 for each",
    )  # fmt: skip
    # one SOCK_SEQPACKET pair holds about 278 messages, then EAGAIN
    window: int = _setting(
        1, count(1, 256), HANDOFF, "connections under way to a worker at once, per listener"
    )
    recall: float | None = _setting(
        0.1, RECALL, HANDOFF, "take a connection back from a worker that is busy for so long"
    )
    queue: int = _setting(
        1024, count(1), HANDOFF, "accepted connections that may wait for a worker, per listener"
    )
    # below a second the clock would kill workers that the stall rule has not even paused yet
    timeout: float = _setting(
        30.0, duration(1.0, off=True), TIME,
        "kill a worker whose event loop doesn't move for so long; 0 is never", short="-t",
        aliases=("--timeout-worker-healthcheck",),
    )  # fmt: skip
    boot_timeout: float = _setting(
        60.0, duration(INSTANT), TIME, "kill a worker that isn't ready after so long"
    )
    graceful_timeout: float = _setting(
        30.0, duration(), TIME, "time that requests get to finish when the server stops",
        aliases=("--timeout-graceful-shutdown",),
    )  # fmt: skip
    drain_timeout: float = _setting(
        3600.0, duration(), TIME, "time that requests get in a worker that a reload has replaced"
    )
    drain_delay: float = _setting(
        0.0, duration(), TIME, "go on accepting for so long after being told to stop"
    )
    request_timeout: float = _setting(
        0.0, duration(INSTANT, off=True), TIME,
        "time for a request, from its head to the end of its response; then the client gets a 504, "
        "or its connection is cut. A WebSocket has all the time it wants",
        default_text="off", tables=(OF_APPS,),
    )  # fmt: skip
    keep_alive: float = _setting(
        75.0, duration(off=True), HTTP, "time that an idle connection stays open",
        aliases=("--timeout-keep-alive",),
    )  # fmt: skip
    keep_alive_requests: int = _setting(
        1000, count(off=True), HTTP, "requests on one connection; 0 is any number"
    )
    header_timeout: float = _setting(
        10.0, duration(INSTANT), HTTP, "time for a request's head, from its first byte"
    )
    body_timeout: float = _setting(
        30.0, duration(INSTANT), HTTP, "time between two pieces of a request's body"
    )
    send_timeout: float = _setting(
        30.0, duration(INSTANT), HTTP, "time for a client to take a piece of the response"
    )
    limit_request_line: int = _setting(8190, size(64, 1 << 20), HTTP, "bytes of a request line")
    limit_request_fields: int = _setting(100, count(1, 32768), HTTP, "header fields of a request")
    limit_request_head: int = _setting(
        32768, size(128, 16 << 20), HTTP, "bytes of a request's head",
        aliases=("--h11-max-incomplete-event-size",),
    )  # fmt: skip
    limit_request_body: int = _setting(
        0, size(off=True), HTTP, "bytes of a request's body; 0 is any number", default_text="off"
    )
    ws_max_size: int = _setting(
        16 << 20, size(1), WEBSOCKET, "bytes of a WebSocket message, decompressed",
        aliases=("--websocket-max-message-size",),
    )  # fmt: skip
    ws_max_queue: int = _setting(
        32, count(1), WEBSOCKET, "WebSocket messages that wait for the app before we stop reading"
    )
    ws_ping_interval: float = _setting(
        20.0,
        duration(INSTANT, off=True),
        WEBSOCKET,
        "time between two pings to a WebSocket client; 0 is never",
    )
    ws_ping_timeout: float = _setting(
        20.0, duration(INSTANT, off=True), WEBSOCKET,
        "close a WebSocket whose client says nothing for so long after a ping; 0 is never",
    )  # fmt: skip
    ws_per_message_deflate: bool = _setting(
        True, SWITCH, WEBSOCKET, "compress WebSocket messages if the client can",
        aliases=(Alias("--no-ws-per-message-deflate", "", "false"),),
    )  # fmt: skip
    upstreams: tuple[str, ...] = _setting(
        (), UPSTREAMS, UPSTREAM, "the servers to stand in front of: HOST:PORT, http://…, https://… "
        "or unix:/PATH, perhaps with ,weight=N (its share), ,max=N (requests at a time, of all "
        "workers together) and ,backup (used when no other can be)", default_text="",
        positional=True,
    )  # fmt: skip
    upstream_policy: str = _setting(
        "round-robin", POLICY, UPSTREAM,
        "who gets a request: round-robin (by weight), least-connections, p2c, random, hash:ip, "
        "hash:header:NAME, hash:cookie:NAME, hash:uri, ewma (by latency) or first",
    )  # fmt: skip
    upstream_host: str | None = _setting(
        None, HOST, UPSTREAM, "the Host that upstreams get", default_text="the client's"
    )
    sticky: str | None = _setting(
        None, TOKEN, UPSTREAM, "a cookie of this name brings a client back to the server it had",
        default_text="off",
    )  # fmt: skip
    upstream_connect_timeout: float = _setting(
        3.0, duration(INSTANT), UPSTREAM, "time for a connection to a server"
    )
    upstream_response_timeout: float = _setting(
        60.0, duration(INSTANT), UPSTREAM,
        "time from the end of a request to the head of its response, and between two pieces of its "
        "body",
    )  # fmt: skip
    upstream_idle: int = _setting(
        32, count(), UPSTREAM, "idle connections that a worker keeps; 0 is none"
    )
    upstream_idle_timeout: float = _setting(
        4.0, duration(INSTANT), UPSTREAM,
        "time that one is kept: less than the servers' own, or requests meet closed connections",
    )  # fmt: skip
    upstream_queue: int = _setting(
        1024, count(), UPSTREAM, "requests that may wait when every server has its max; 0 is none"
    )
    upstream_queue_timeout: float = _setting(
        5.0, duration(INSTANT), UPSTREAM, "time that one may wait; then it gets a 503"
    )
    upstream_retries: int = _setting(
        2, count(0, 100), UPSTREAM, "further attempts of a request that is safe to repeat"
    )
    retry_budget: int = _setting(
        20, percent(), UPSTREAM,
        "share of the requests of the last 10 s that may be such attempts, of all workers",
    )  # fmt: skip
    probe: str = _setting(
        "tcp", PROBE, UPSTREAM,
        "how servers are probed: tcp connects, http:/PATH wants a 2xx or 3xx, off doesn't",
    )  # fmt: skip
    probe_interval: float = _setting(
        2.0, duration(0.1), UPSTREAM, "time between two probes of a server, 20 % more or less"
    )
    probe_timeout: float = _setting(1.0, duration(INSTANT), UPSTREAM, "time for a probe")
    probe_rise: int = _setting(
        2, count(1, 1000), UPSTREAM, "probes in a row that must pass to bring a server back"
    )
    probe_fall: int = _setting(
        3, count(1, 1000), UPSTREAM, "probes in a row that must fail to take a server out"
    )
    eject_after: int = _setting(
        5, count(off=True), UPSTREAM,
        "failures of requests in a row (no answer, or a 5xx) that take a server out; 0 is never",
    )  # fmt: skip
    eject_time: float = _setting(
        10.0, duration(0.1), UPSTREAM, "for how long, the first time; the second time twice that"
    )
    max_ejected: int = _setting(
        50, percent(), UPSTREAM, "share of the servers that may be out for failures"
    )
    panic: int = _setting(
        50, percent(), UPSTREAM,
        "when a smaller share of the servers looks well, all of them are used; 0 is never",
    )  # fmt: skip
    slow_start: float = _setting(
        0.0, duration(off=True), UPSTREAM,
        "time in which the share of a server that is new, or back, grows to its weight",
        default_text="off",
    )  # fmt: skip
    tunnel_timeout: float = _setting(
        3600.0, duration(INSTANT), UPSTREAM,
        "time that a WebSocket, or another upgraded connection, may be silent",
    )  # fmt: skip
    upstream_ca: str | None = _setting(
        None, FILE, UPSTREAM, "a file with the certificates that https:// servers are trusted by",
        default_text="the system's",
    )  # fmt: skip
    upstream_verify: bool = _setting(
        True, SWITCH, UPSTREAM, "check the certificates of https:// servers",
        aliases=(Alias("--upstream-insecure", "", "false"),),
    )  # fmt: skip
    dns_max_ttl: float = _setting(
        5.0, duration(1.0), UPSTREAM, "look a name up again after so long, or after its TTL"
    )
    reload: bool = _setting(
        False, SWITCH, MANAGE, "for development: reload when a file changes (pip install "
        "balancer[reload])",
    )  # fmt: skip
    reload_dir: tuple[str, ...] = _setting(
        (), FOLDERS, MANAGE, "watch this folder and what is in it; repeatable",
        default_text="--app-dir",
    )  # fmt: skip
    reload_include: tuple[str, ...] = _setting(
        (), PATTERNS, MANAGE, "watch files of such names, besides *.py; repeatable", default_text=""
    )
    reload_exclude: tuple[str, ...] = _setting(
        (), PATTERNS, MANAGE, "don't watch files and folders of such names, besides .*, ~* and "
        "__pycache__; repeatable", default_text="",
    )  # fmt: skip
    chdir: str = _setting(
        ".", FOLDER, MANAGE, "go to this folder first: other paths and modules are seen from there"
    )
    raw_env: tuple[str, ...] = _setting(
        (), VARIABLES, MANAGE, "set an environment variable for the workers; repeatable",
        short="-e", aliases=("--env",), default_text="",
    )  # fmt: skip
    log_level: str = _setting(
        "info", choice("debug", "info", "warning", "error", "critical"), MANAGE, "how much to log:"
        " debug, info, warning, error or critical",
    )  # fmt: skip
    access_logfile: str | None = _setting(
        None, LOG_FILE, MANAGE, "write a line per request to a file; - is standard output",
        default_text="off",
        aliases=(Alias("--access-log", "", "-"), Alias("--no-access-log", "", "off")),
    )  # fmt: skip
    access_logformat: str = _setting(
        DEFAULT_FORMAT, LOG_FORMAT, MANAGE, "what is in that line: gunicorn's atoms, and %(id)s "
        "(the request's id), %(worker)s, %(client)s, %(X)s",
    )  # fmt: skip
    pid: str | None = _setting(
        None, PID_FILE, MANAGE, "write the master's pid to a file", short="-p"
    )
    name: str | None = _setting(
        None, NAME, MANAGE, "this server's name for balancer status and the other commands",
        short="-n", default_text="the first bind",
    )  # fmt: skip
    control: str | None = _setting(
        None, PATH, MANAGE, "path of the control socket", aliases=("--control-socket",),
        default_text="NAME.sock in a folder of yours",
    )  # fmt: skip
    no_control: bool = _setting(
        False, SWITCH, MANAGE, "make no control socket",
        aliases=(Alias("--no-control-socket", "", "true"),),
    )  # fmt: skip
    admin: Bind | None = _setting(  # noqa: RUF009 - a bind can't be changed
        None, ADMIN, MANAGE, "answer health checks (/healthz and /readyz) at HOST:PORT or "
        "unix:PATH, from the master: also when every worker is busy", default_text="off",
    )  # fmt: skip
    services: tuple[Service, ...] = ()
    """What is served, where a file's tables say more than one thing; empty: ``app``, or
    ``upstreams``, or the demo."""
    service_of_bind: tuple[int, ...] = ()
    """For each of ``bind`` the index of its service; empty where there are no services."""
    config: ConfigSource | None = dataclasses.field(default=None, compare=False, repr=False)
    """Where the workers' hooks are."""
    origins: Mapping[str, Origin] = dataclasses.field(
        default_factory=dict, compare=False, repr=False
    )

    def where(self, name: str) -> str:
        """Where a setting's value was given, to begin an error message with: ``-b``."""
        origin = self.origins.get(name)
        return str(origin) if origin else SETTINGS[name].short or SETTINGS[name].flag


@final
@dataclass(frozen=True, slots=True)
class Service:
    """An app or a pool of upstreams, as a table of a file says it.

    Attributes:
        name: The table's: ``site`` of ``[apps.site]``, ``api`` of ``[pools.api]``.
        settings: Everything that holds for it: what its table says, and for the rest what holds
            for all.  A pool has ``upstreams``, an app has not.
    """

    name: str
    settings: Settings


FOR_APPS_ONLY = frozenset({
    "app", "interface", "engine", "factory", "app_dir", "lifespan", "root_path", "threads",
    "preload", "request_timeout", "ws_max_size", "ws_max_queue", "ws_ping_interval",
    "ws_ping_timeout", "ws_per_message_deflate", "reload", "reload_dir", "reload_include",
    "reload_exclude",
})  # fmt: skip
"""What means nothing to a proxy."""

TAKEN = {
    Taken.AT_ONCE: (
        "bind", "backlog", "workers", "recall", "queue", "timeout", "boot_timeout",
        "graceful_timeout", "drain_timeout", "drain_delay", "upstreams", "probe", "probe_interval",
        "probe_timeout", "probe_rise", "probe_fall", "dns_max_ttl", "log_level",
    ),
    Taken.AT_START: (
        "policy", "reload", "reload_dir", "reload_include", "reload_exclude", "pid", "name",
        "control", "no_control", "admin",
    ),
}  # fmt: skip
"""What a reload doesn't leave to the next workers."""
_taken = {name: taken for taken, names in TAKEN.items() for name in names}

SETTINGS: Mapping[str, Setting] = {
    field.name: dataclasses.replace(
        field.metadata["setting"],
        name=field.name,
        taken=_taken.get(field.name, Taken.BY_WORKERS),
    )
    for field in dataclasses.fields(Settings)
    if "setting" in field.metadata
}
