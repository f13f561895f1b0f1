"""Every setting from every source, every bad value with its message, and who wins."""

from __future__ import annotations

import dataclasses
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from balancer.errors import UsageError
from balancer.settings import FdBind, Settings, TcpBind, UnixBind, usable_cpus
from balancer.settings.load import flag_given, load
from balancer.settings.logformat import WORDS
from balancer.settings.policy import WORKER_NAMES
from balancer.settings.table import SETTINGS
from balancer.settings.trust import TrustedPeers

if TYPE_CHECKING:
    from pathlib import Path

    from balancer.settings.origin import Given

# one good value of each setting: text, and what it means
GOOD: dict[str, tuple[str, object]] = {
    "app": ("native:main:app", "native:main:app"),
    "interface": ("wsgi", "wsgi"),
    "engine": ("trio", "trio"),
    "factory": ("true", True),
    "app_dir": ("src", "src"),
    "lifespan": ("on", "on"),
    "root_path": ("/api/", "/api"),
    "forwarded_allow_ips": ("10.1.2.3/8", ("10.0.0.0/8",)),
    "bind": ("[::1]:9", (TcpBind("::1", 9),)),
    "backlog": ("17", 17),
    "workers": ("3", 3),
    "worker_connections": ("5", 5),
    "threads": ("4", 4),
    "max_requests": ("100", 100),
    "max_requests_jitter": ("0", 0),
    "workers_lifetime": ("1h", 3600.0),
    "workers_max_rss": ("512MiB", 512 << 20),
    "user": ("nobody", 65534),
    "group": ("0", 0),
    "initgroups": ("false", False),
    "umask": ("027", 0o027),
    "preload": ("true", True),
    "policy": ("least-connections", "least-connections"),
    "worker_weights": ("1,1", (1, 1)),
    "window": ("4", 4),
    "recall": ("off", None),
    "queue": ("64", 64),
    "timeout": ("1m", 60.0),
    "boot_timeout": ("1h30m", 5400.0),
    "graceful_timeout": ("0", 0.0),
    "drain_timeout": ("2h", 7200.0),
    "drain_delay": ("5s", 5.0),
    "request_timeout": ("1m", 60.0),
    "keep_alive": ("off", 0.0),
    "keep_alive_requests": ("off", 0),
    "header_timeout": ("250ms", 0.25),
    "body_timeout": ("1.5", 1.5),
    "send_timeout": ("2s", 2.0),
    "limit_request_line": ("4KiB", 4096),
    "limit_request_fields": ("50", 50),
    "limit_request_head": ("64KiB", 65536),
    "limit_request_body": ("8MiB", 8 << 20),
    "ws_max_size": ("1MiB", 1 << 20),
    "ws_max_queue": ("8", 8),
    "ws_ping_interval": ("off", 0.0),
    "ws_ping_timeout": ("5s", 5.0),
    "ws_per_message_deflate": ("false", False),
    "upstreams": ("a:1,weight=2", ("a:1,weight=2",)),
    "upstream_policy": ("hash:ip", "hash:ip"),
    "upstream_host": ("example.com:8080", "example.com:8080"),
    "sticky": ("route", "route"),
    "upstream_connect_timeout": ("1s", 1.0),
    "upstream_response_timeout": ("5m", 300.0),
    "upstream_idle": ("0", 0),
    "upstream_idle_timeout": ("30s", 30.0),
    "upstream_queue": ("0", 0),
    "upstream_queue_timeout": ("1s", 1.0),
    "upstream_retries": ("0", 0),
    "retry_budget": ("10%", 10),
    "probe": ("http:/health?x=1", "http:/health?x=1"),
    "probe_interval": ("500ms", 0.5),
    "probe_timeout": ("250ms", 0.25),
    "probe_rise": ("1", 1),
    "probe_fall": ("2", 2),
    "eject_after": ("off", 0),
    "eject_time": ("1s", 1.0),
    "max_ejected": ("100", 100),
    "panic": ("0", 0),
    "slow_start": ("10s", 10.0),
    "tunnel_timeout": ("1d", 86400.0),
    "upstream_ca": ("/etc/ca.pem", "/etc/ca.pem"),
    "upstream_verify": ("false", False),
    "dns_max_ttl": ("30s", 30.0),
    "reload": ("true", True),
    "reload_dir": ("src", ("src",)),
    "reload_include": ("*.html", ("*.html",)),
    "reload_exclude": ("test_*", ("test_*",)),
    "chdir": ("src", "src"),
    "raw_env": ("A=b=c", ("A=b=c",)),
    "log_level": ("debug", "debug"),
    "access_logfile": ("/var/log/b.log", "/var/log/b.log"),
    "access_logformat": ("%(h)s %({Host}i)s 100%%", "%(h)s %({Host}i)s 100%%"),
    "pid": ("/run/b.pid", "/run/b.pid"),
    "name": ("web", "web"),
    "control": ("/run/b.sock", "/run/b.sock"),
    "no_control": ("true", True),
    "admin": ("127.0.0.1:9", TcpBind("127.0.0.1", 9)),
}

COUNT = [("x", "not a whole number"), ("1.5", "not a whole number"), ("1_0", "not a whole number"),
         ("", "not a whole number"), ("2147483648", "must be at most 2147483647")]  # fmt: skip
ATLEAST_1 = [*COUNT, ("0", "must be at least 1"), ("-1", "must be at least 1")]
ATLEAST_0 = [*COUNT, ("-1", "must be at least 0")]
TIME = [("soon", "not a duration; write 30, 30s, 250ms or 1h30m"),
        ("-1", "not a duration; write 30, 30s, 250ms or 1h30m"),
        ("99999d", "longer than a hundred years")]  # fmt: skip
DEADLINE = [*TIME, ("0", "must be at least 1ms"), ("off", TIME[0][1])]
SIZE = [("big", "not a size; write 65536, 64KiB or 8MiB")]
PATH = [("", "not a path"), ("a\0b", "not a path")]
NO_ATOM = (
    f"there is no atom %(z)s; there are {' '.join(WORDS)} and "
    "{header}i, {header}o, {variable}e"
)
NO_PEER = "not an address, a network like 10.0.0.0/8, unix:, * or none"
NO_PATTERN = "not a pattern like *.html (** means nothing in one)"
KEYS = "hash:ip, hash:header:NAME, hash:cookie:NAME or hash:uri"
NO_POLICY = (
    "must be one of round-robin, least-connections, p2c, random, "
    "hash:ip, hash:header:NAME, hash:cookie:NAME, hash:uri, ewma, first"
)
NO_TCP = "there are no tcp:// upstreams yet; only HTTP servers can be stood in front of"
NO_NAME = "hash:header needs the header's name; write hash:header:NAME"
NO_HOST = "must be what stands in Host: NAME, NAME:PORT or [IPV6]:PORT"
NO_TOKEN = "a name has ASCII letters, digits and the likes of - and _, and no blanks"
NO_PROBE_BUT = (
    "must be tcp, http:/PATH or off; did you mean http:/up? (https:// servers are probed over TLS)"
)
NO_PROBE_PATH = "the path must begin with / and be ASCII without blanks: http:/health"
SWITCH = [("maybe", "must be true or false")]

# bad values of each setting, and the end of the message
BAD: dict[str, list[tuple[str, str]]] = {
    "app": [("main", "names no attribute: write main:app, or whatever the app is called in it")],
    "interface": [("cgi", "must be one of auto, asgi, wsgi, stream, native")],
    "engine": [("asyncio", "must be one of trio, uvicorn")],
    "factory": SWITCH,
    "app_dir": PATH,
    "lifespan": [("true", "must be one of auto, on, off")],
    "root_path": [
        ("api", "must begin with / and be ASCII (escape the rest as in a URL)"),
        ("/\u00e4", "must begin with / and be ASCII (escape the rest as in a URL)"),
    ],
    "forwarded_allow_ips": [("localhost", NO_PEER), ("", NO_PEER), ("10.0.0.0/33", NO_PEER)],
    "bind": [("8000", "a port needs a colon; did you mean :8000?")],
    "backlog": ATLEAST_1,
    "workers": [*ATLEAST_1[:-3], ("0", "must be at least 1"), ("1025", "must be at most 1024")],
    "worker_connections": ATLEAST_1,
    "threads": [*ATLEAST_1[:-3], ("0", "must be at least 1"), ("5000", "must be at most 4096")],
    "max_requests": ATLEAST_0,
    "max_requests_jitter": ATLEAST_0,
    "workers_lifetime": [("500ms", "must be at least 1s"), *TIME],
    "workers_max_rss": [("1", "must be at least 1MiB"), *SIZE],
    "user": [("nobody ", "there is no such user"), ("4294967295", "must be at most 4294967294")],
    "group": [("", "there is no such group"), ("-1", "there is no such group")],
    "initgroups": SWITCH,
    "umask": [
        (text, "not an octal number from 0 to 777, such as 022")
        for text in ("8", "1000", "-1", "0x1f", "", "u=rwx")
    ],
    "preload": SWITCH,
    "policy": [
        ("fair", f"must be one of {', '.join(WORKER_NAMES)}, or module:Class for one of your own"),
        ("mine:", "not module:Class, as a policy of your own is written"),
        ("my-policies:Mine", "not module:Class, as a policy of your own is written"),
    ],
    "worker_weights": [
        ("0", "must be at least 1"),
        ("3,257", "must be at most 256"),
        ("3,,1", "not a whole number"),
        ("0.5", "not a whole number"),
    ],
    "window": [("0", "must be at least 1"), ("257", "must be at most 256")],
    "recall": [("0", "must be at least 1ms; off turns the timed recall off"), *TIME],
    "queue": ATLEAST_1,
    "timeout": [("0.5", "must be at least 1s"), *TIME],
    "boot_timeout": DEADLINE,
    "graceful_timeout": TIME,
    "drain_timeout": TIME,
    "drain_delay": TIME,
    "request_timeout": [*TIME, ("0.0001", "must be at least 1ms")],
    "keep_alive": TIME,
    "keep_alive_requests": ATLEAST_0,
    "header_timeout": DEADLINE,
    "body_timeout": DEADLINE,
    "send_timeout": DEADLINE,
    "limit_request_line": [("63", "must be at least 64"), ("2MiB", "must be at most 1MiB"), *SIZE],
    "limit_request_fields": [("0", "must be at least 1"), ("40000", "must be at most 32768")],
    "limit_request_head": [("1", "must be at least 128"), ("1G", "must be at most 16MiB"), *SIZE],
    "limit_request_body": SIZE,
    "ws_max_size": [("0", "must be at least 1"), *SIZE],
    "ws_max_queue": ATLEAST_1,
    "ws_ping_interval": TIME,
    "ws_ping_timeout": TIME,
    "ws_per_message_deflate": SWITCH,
    "upstreams": [
        ("tcp://a", NO_TCP),
        ("a:1,weight=0", "weight must be a whole number from 1 to 256"),
        ("a:1,weight=-1", "weight must be a whole number from 1 to 256"),
        ("9000", "a port needs a host; did you mean 127.0.0.1:9000?"),
    ],
    "upstream_policy": [("roundrobin", NO_POLICY), ("hash", f"hash needs a key; write {KEYS}"),
                        ("hash:path", f"can't hash by 'path'; write {KEYS}"),
                        ("hash:header:", NO_NAME),
                        ("p2c:3", f"p2c takes nothing after it; only hash has a key: {KEYS}")],
    "upstream_host": [("a b", NO_HOST), ("http://a", NO_HOST), ("", NO_HOST)],
    "sticky": [("a b", NO_TOKEN), ("a;b", NO_TOKEN), ("", NO_TOKEN)],
    "upstream_connect_timeout": DEADLINE,
    "upstream_response_timeout": DEADLINE,
    "upstream_idle": ATLEAST_0,
    "upstream_idle_timeout": DEADLINE,
    "upstream_queue": ATLEAST_0,
    "upstream_queue_timeout": DEADLINE,
    "upstream_retries": [("101", "must be at most 100"), ("x", "not a whole number")],
    "retry_budget": [("101", "must be at most 100"), ("a lot", "not a whole number")],
    "probe": [("http", "must be tcp, http:/PATH or off"),
("/up", NO_PROBE_BUT),
              ("http://a/b", NO_PROBE_PATH),
              ("http:/a b", NO_PROBE_PATH)],
    "probe_interval": [*TIME, ("10ms", "must be at least 100ms")],
    "probe_timeout": DEADLINE,
    "probe_rise": [("0", "must be at least 1"), ("x", "not a whole number")],
    "probe_fall": [("0", "must be at least 1"), ("x", "not a whole number")],
    "eject_after": ATLEAST_0,
    "eject_time": [*TIME, ("10ms", "must be at least 100ms")],
    "max_ejected": [("101", "must be at most 100")],
    "panic": [("-1", "must be at least 0")],
    "slow_start": TIME,
    "tunnel_timeout": DEADLINE,
    "upstream_ca": PATH,
    "upstream_verify": SWITCH,
    "dns_max_ttl": [*TIME, ("500ms", "must be at least 1s")],
    "reload": SWITCH,
    "reload_dir": PATH,
    "reload_include": [("", NO_PATTERN), ("**/*.html", NO_PATTERN)],
    "reload_exclude": [("", NO_PATTERN), ("a/**", NO_PATTERN)],
    "chdir": PATH,
    "raw_env": [("A", "must be NAME=VALUE"), ("=b", "must be NAME=VALUE")],
    "log_level": [("loud", "must be one of debug, info, warning, error, critical")],
    "access_logfile": PATH,
    "access_logformat": [
        ("", "must be printable ASCII, on one line"),
        ("%(h)s\n", "must be printable ASCII, on one line"),
        ("\u00e4", "must be printable ASCII, on one line"),
        ("%h", "a percent sign begins an atom like %(h)s; write %% for the sign"),
        ("%(h)d", "after %(h) comes an s"),
        ("%(z)s", NO_ATOM),
    ],
    "pid": [("8000", "that is the pid file; did you mean -b :8000?"), *PATH],
    "name": [(" ", "a name has 1 to 64 printable characters"),
             ("x" * 65, "a name has 1 to 64 printable characters"),
             ("a\nb", "a name has 1 to 64 printable characters")],
    "control": PATH,
    "no_control": SWITCH,
    "admin": [
        ("localhost", "has no port; write HOST:PORT, [IPV6]:PORT or unix:PATH"),
        ("[::1]", "has no port; write HOST:PORT, [IPV6]:PORT or unix:PATH"),
        ("fd://3", "can't be a descriptor; write HOST:PORT, [IPV6]:PORT or unix:PATH"),
        ("9000", "a port needs a colon; did you mean :9000?"),
        (":65536", "the port must be a number from 0 to 65535"),
    ],
}  # fmt: skip


def flag(name: str, text: str) -> Given:
    """The value as the setting's long flag gives it."""
    return flag_given(name, SETTINGS[name].flag, text, text)


def test_the_tables_here_are_complete() -> None:
    assert list(GOOD) == list(SETTINGS)
    assert list(BAD) == list(SETTINGS)


@pytest.mark.parametrize("name", GOOD)
def test_from_a_flag(name: str) -> None:
    text, value = GOOD[name]
    settings = load([flag(name, text)])
    assert getattr(settings, name) == value
    assert settings.where(name) == SETTINGS[name].flag


@pytest.mark.parametrize("name", GOOD)
def test_from_the_environment(name: str) -> None:
    text, value = GOOD[name]
    settings = load(env={f"BALANCER_{name.upper()}": text})
    assert getattr(settings, name) == value
    assert settings.where(name) == f"BALANCER_{name.upper()}"


@pytest.mark.parametrize("name", GOOD)
def test_from_a_file(name: str, tmp_path: Path) -> None:
    text, value = GOOD[name]
    file = tmp_path / "x.toml"
    toml = text if text in ("true", "false") else f'"{text}"'
    file.write_text(f"# a comment\n{name} = {toml}\n")
    settings = load(file=str(file))
    assert getattr(settings, name) == value
    assert settings.where(name) == f"{file}:2: {name}"


@pytest.mark.parametrize(
    ("name", "text", "problem"), [(name, *bad) for name, bads in BAD.items() for bad in bads]
)
def test_bad_values(name: str, text: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        load([flag(name, text)])
    shown = f"{SETTINGS[name].flag} {text}".rstrip()
    assert str(caught.value) == f"{shown}: {problem}"
    if text:
        with pytest.raises(UsageError) as caught:
            load(env={f"BALANCER_{name.upper()}": text})
        assert str(caught.value) == f"BALANCER_{name.upper()}={text.rstrip()}: {problem}"


def test_the_defaults_are_the_documented_ones() -> None:
    settings = load()
    assert settings == Settings()
    for setting in SETTINGS.values():
        value = getattr(settings, setting.name)
        if setting.name == "workers":
            assert (setting.default, value) == ("auto", usable_cpus())
        elif not setting.kind.many and setting.default and value not in {None, 0}:
            assert setting.kind.parse(setting.default) == value
    assert settings.bind == (TcpBind("127.0.0.1", 8000),)


def test_precedence(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("workers = 2\nqueue = 2\nwindow = 2\n")
    env = {"BALANCER_WORKERS": "3", "BALANCER_QUEUE": "3"}
    settings = load([flag("workers", "4")], file=str(file), env=env)
    assert (settings.workers, settings.queue, settings.window, settings.backlog) == (4, 3, 2, 2048)


def test_a_broken_value_is_an_error_also_where_it_loses() -> None:
    with pytest.raises(UsageError, match=r"^BALANCER_WORKERS=none: not a whole number$"):
        load([flag("workers", "4")], env={"BALANCER_WORKERS": "none"})


def test_the_last_flag_wins_and_binds_add_up() -> None:
    assert load([flag("workers", "4"), flag("workers", "5")]).workers == 5
    both = load(
        [flag("bind", ":1"), flag("bind", "unix:x"), flag_given("bind", "--fd", "3", "fd://3")]
    )
    assert both.bind == (TcpBind("0.0.0.0", 1), UnixBind("x"), FdBind(3))


@pytest.mark.parametrize(
    ("env", "workers"),
    [
        ({"WEB_CONCURRENCY": "7"}, 7),
        ({"WEB_CONCURRENCY": "7", "BALANCER_WORKERS": "8"}, 8),
        ({"WEB_CONCURRENCY": "", "BALANCER_WORKERS": ""}, usable_cpus()),
        ({"WEB_CONCURRENCY": "auto"}, usable_cpus()),
    ],
)
def test_web_concurrency(env: dict[str, str], workers: int) -> None:
    assert load(env=env).workers == workers


@pytest.mark.parametrize(
    ("env", "peers"),
    [
        ({"FORWARDED_ALLOW_IPS": "10.0.0.1,10.1.0.0/16"}, ("10.0.0.1/32", "10.1.0.0/16")),
        ({"FORWARDED_ALLOW_IPS": "*", "BALANCER_FORWARDED_ALLOW_IPS": "unix:"}, ("unix:",)),
        ({"FORWARDED_ALLOW_IPS": ""}, ("127.0.0.1", "::1", "unix:")),
        ({"FORWARDED_ALLOW_IPS": "none"}, ("none",)),
    ],
)
def test_forwarded_allow_ips(env: dict[str, str], peers: tuple[str, ...]) -> None:
    assert load(env=env).forwarded_allow_ips == peers


def test_none_believes_nobody() -> None:
    settings = load([flag_given("forwarded_allow_ips", "--no-proxy-headers", "", "none")])
    trusted = TrustedPeers(settings.forwarded_allow_ips)
    assert not any(host in trusted for host in ("127.0.0.1", "::1", None, "none"))


def test_several_binds_in_the_environment() -> None:
    assert load(env={"BALANCER_BIND": ":1,:2"}).bind == (
        TcpBind("0.0.0.0", 1),
        TcpBind("0.0.0.0", 2),
    )


def halves(**values: str) -> list[Given]:
    return [flag_given("bind", f"--{name}", value, value) for name, value in values.items()]


@pytest.mark.parametrize(
    ("flags", "env", "bind"),
    [
        ([], {"PORT": "5000"}, TcpBind("0.0.0.0", 5000)),
        ([], {"PORT": ""}, TcpBind("127.0.0.1", 8000)),
        ([flag("bind", "localhost")], {"PORT": "5000"}, TcpBind("localhost", 8000)),
        (halves(port="9"), {}, TcpBind("127.0.0.1", 9)),
        (halves(host="0.0.0.0"), {}, TcpBind("0.0.0.0", 8000)),
        (halves(host="0.0.0.0"), {"PORT": "5000"}, TcpBind("0.0.0.0", 5000)),
        (halves(host="::1", port="9"), {}, TcpBind("::1", 9)),
        (halves(port="9", host="localhost"), {}, TcpBind("localhost", 9)),
    ],
)
def test_host_and_port(flags: list[Given], env: dict[str, str], bind: TcpBind) -> None:
    assert load(flags, env=env).bind == (bind,)


def test_port_changes_the_default_and_not_the_file(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('bind = ["127.0.0.1:1", ":2"]\n')
    settings = load(file=str(file), env={"PORT": "5000"})
    assert settings.bind == (TcpBind("127.0.0.1", 1), TcpBind("0.0.0.0", 2))


@pytest.mark.parametrize(
    ("flags", "env", "problem"),
    [
        ([], {"PORT": "http"}, "PORT=http: the port must be a number from 0 to 65535"),
        (halves(port="x"), {}, "--port x: the port must be a number from 0 to 65535"),
        ([*halves(port="9"), flag("bind", ":1")], {},
         "--port 9: can't stand beside --bind :1; write -b HOST:PORT"),
        ([flag("bind", ":1"), flag("bind", "0.0.0.0:1")], {}, "--bind 0.0.0.0:1: is given twice"),
        ([flag("max_requests_jitter", "9")], {},
         "--max-requests-jitter 9: has no effect without --max-requests"),
        ([], {"BALANCER_MAX_REQUESTS_JITTER": "9"},
         "BALANCER_MAX_REQUESTS_JITTER 9: has no effect without --max-requests"),
        ([flag("limit_request_line", "64KiB")], {},
         "--limit-request-line 65536: is more than --limit-request-head 32768; raise that too"),
        ([flag("control", "x"), flag("no_control", "true")], {},
         "--no-control: contradicts --control x; give one of them"),
    ],
)  # fmt: skip
def test_contradictions(flags: list[Given], env: dict[str, str], problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(flags, env=env)
    assert str(caught.value) == problem


def test_port_zero_may_repeat() -> None:
    assert len(load([flag("bind", ":0"), flag("bind", ":0")]).bind) == 2


def test_a_smaller_head_alone_is_no_contradiction() -> None:
    assert load([flag("limit_request_head", "4KiB")]).limit_request_line == 8190


@pytest.mark.parametrize(
    ("flags", "env", "control", "no_control"),
    [
        (["control"], {"BALANCER_NO_CONTROL": "1"}, "x", False),
        (["no_control"], {"BALANCER_CONTROL": "x"}, None, True),
    ],
)
def test_the_stronger_of_control_and_no_control(
    flags: list[str], env: dict[str, str], control: str | None, no_control: bool
) -> None:
    values = {"control": "x", "no_control": "true"}
    settings = load([flag(name, values[name]) for name in flags], env=env)
    assert (settings.control, settings.no_control) == (control, no_control)


def test_settings_travel() -> None:
    settings = load([flag("workers", "4"), flag("bind", "unix:x")])
    copy: Any = pickle.loads(pickle.dumps(settings))
    assert copy == settings
    assert copy.where("workers") == "--workers"
    assert not hasattr(copy, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        copy.workers = 1


def test_where_of_a_default_names_its_flag() -> None:
    assert Settings().where("bind") == "-b"
    assert Settings().where("policy") == "--policy"


def test_no_spelling_is_used_twice() -> None:
    flags = [alias.flag for setting in SETTINGS.values() for alias in setting.spellings]
    variables = [name for setting in SETTINGS.values() for name in setting.variables]
    assert len(set(flags)) == len(flags)
    assert len(set(variables)) == len(variables)


def test_a_proxy_has_upstreams_and_no_app() -> None:
    with pytest.raises(UsageError) as caught:
        load([flag("app", "main:app"), flag("upstreams", "a:1")])
    assert str(caught.value) == (
        "APP main:app: can't stand beside upstreams; serve an app, or proxy to a:1"
    )


def test_upstreams_must_fit_together() -> None:
    for texts, problem in {
        ("a:1", "a:1,weight=2"): "a:1,weight=2: is the same server as a:1; name it once "
        "(weight=2 gives it twice the load)",
        ("a:1,backup",): "a:1,backup: is a backup, and so is every other upstream; "
        "leave the word away at one of them",
    }.items():
        with pytest.raises(UsageError) as caught:
            load([flag("upstreams", text) for text in texts])
        assert str(caught.value) == f"UPSTREAM {problem}"


def test_a_proxys_clocks_are_its_own() -> None:
    with pytest.raises(UsageError) as caught:
        load([flag("upstreams", "a:1"), flag("request_timeout", "5s")])
    assert str(caught.value) == (
        "--request-timeout 5s: is for apps; a proxy has --upstream-response-timeout"
    )
