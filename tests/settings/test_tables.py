"""Tables of a file: what they make, where their errors are, and who wins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from balancer.errors import UsageError
from balancer.settings import TcpBind, UnixBind
from balancer.settings.load import examine, flag_given, load
from balancer.settings.table import OF_APPS, OF_POOLS, SETTINGS
from tests.settings.test_load import GOOD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from balancer.settings import Settings
    from balancer.settings.origin import Given

    Write = Callable[[str], str]

WHOLE = """\
workers = 4
limit_request_body = "1MiB"
request_timeout = "5s"
upstream_policy = "p2c"

[apps.site]
app = "shop:app"
limit_request_body = "8MiB"

[pools.api]
upstreams = [
    "10.0.0.1:9000,weight=2",
    # another
    {address = "10.0.0.2:9000", weight = 2, max = 10, backup = true},
]
upstream_policy = "least-connections"

[[listeners]]
bind = "0.0.0.0:80"
app = "site"
[[listeners]]
bind = ["[::]:8080", "unix:/run/x.sock"]
pool = "api"
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes ``b.toml`` into the working directory."""
    monkeypatch.chdir(tmp_path)

    def write_file(text: str) -> str:
        (tmp_path / "b.toml").write_text(text)
        return "b.toml"

    return write_file


def flag(name: str, text: str) -> Given:
    return flag_given(name, SETTINGS[name].flag, text, text)


def services(settings: Settings) -> dict[str, Settings]:
    return {each.name: each.settings for each in settings.services}


def errors(file: str, **env: str) -> list[str]:
    return [str(error) for error in examine(file=file, env=env).errors]


def test_a_whole_file(write: Write) -> None:
    settings = load(file=write(WHOLE))
    assert settings.workers == 4
    assert settings.bind == (TcpBind("0.0.0.0", 80), TcpBind("::", 8080), UnixBind("/run/x.sock"))
    assert settings.service_of_bind == (0, 1, 1)
    assert (settings.app, settings.upstreams) == (None, ())
    made = services(settings)
    assert list(made) == ["site", "api"]
    site, api = made["site"], made["api"]
    assert (site.app, site.limit_request_body, site.workers) == ("shop:app", 8 << 20, 4)
    assert (site.request_timeout, site.upstreams) == (5.0, ())
    assert site.bind == (TcpBind("0.0.0.0", 80),)
    assert api.upstreams == ("10.0.0.1:9000,weight=2", "10.0.0.2:9000,weight=2,max=10,backup")
    assert (api.upstream_policy, api.limit_request_body, api.app) == (
        "least-connections", 1 << 20, None,
    )  # fmt: skip
    assert api.bind == settings.bind[1:]
    # what is for apps alone is not inherited by pools, and the other way round
    assert (api.request_timeout, site.upstream_policy) == (0.0, "round-robin")
    assert (site.services, api.service_of_bind) == ((), ())


def test_everything_says_where_it_comes_from(write: Write) -> None:
    settings = load(file=write(WHOLE))
    made = services(settings)
    assert settings.where("workers") == "b.toml:1: workers"
    assert made["site"].where("workers") == "b.toml:1: workers"
    assert made["site"].where("limit_request_body") == "b.toml:8: apps.site.limit_request_body"
    assert made["api"].where("limit_request_body") == "b.toml:2: limit_request_body"
    assert made["api"].where("upstreams") == "b.toml:11: pools.api.upstreams"
    assert made["site"].where("bind") == "b.toml:19: listeners[0].bind"
    assert made["api"].where("request_timeout") == "--request-timeout"
    assert settings.where("bind") == "b.toml: listeners"


@pytest.mark.parametrize(
    ("table", "kind"),
    [('[apps.x]\napp = "a:b"', "app"), ('[pools.x]\nupstreams = ["a:1"]', "pool")],
)
def test_a_single_service_needs_no_listeners(table: str, kind: str, write: Write) -> None:
    settings = load(file=write(f'bind = [":1", ":2"]\n{table}\n'))
    assert settings.bind == (TcpBind("0.0.0.0", 1), TcpBind("0.0.0.0", 2))
    assert settings.service_of_bind == (0, 0)
    assert settings.services[0].settings.bind == settings.bind
    # and a listener needs no name then, but may have it
    for name in ("", f'{kind} = "x"'):
        settings = load(file=write(f'{table}\n[[listeners]]\nbind = ":3"\n{name}\n'))
        assert (settings.bind, settings.service_of_bind) == ((TcpBind("0.0.0.0", 3),), (0,))


def test_a_single_service_listens_where_flag_variable_and_port_say(write: Write) -> None:
    file = write('[apps.x]\napp = "a:b"\n')
    assert load(file=file).bind == (TcpBind("127.0.0.1", 8000),)
    for settings in (
        load([flag("bind", ":7")], file=file),
        load(file=file, env={"BALANCER_BIND": ":7"}),
        load(file=file, env={"PORT": "7"}),
    ):
        assert settings.bind == settings.services[0].settings.bind == (TcpBind("0.0.0.0", 7),)


def test_port_says_nothing_beside_listeners(write: Write) -> None:
    assert load(file=write(WHOLE), env={"PORT": "7"}) == load(file=write(WHOLE))


def test_one_service_may_have_several_listeners(write: Write) -> None:
    text = '[apps.x]\napp = "a:b"\n[[listeners]]\nbind = ":1"\n[[listeners]]\nbind = [":0", ":0"]\n'
    settings = load(file=write(text))
    assert settings.service_of_bind == (0, 0, 0)
    assert len(settings.services[0].settings.bind) == 3


def test_upstreams_as_tables_at_the_top_and_as_an_array_of_tables(write: Write) -> None:
    assert load(file=write('upstreams = [{address = "a:1", weight = 2}, "b:2"]')).upstreams == (
        "a:1,weight=2", "b:2",
    )  # fmt: skip
    text = (
        '[[pools.x.upstreams]]\naddress = "a:1"\nbackup = false\n'
        '[[pools.x.upstreams]]\naddress = "unix:/b"\nmax = 3\n'
    )
    pool = load(file=write(text)).services[0].settings
    assert pool.upstreams == ("a:1", "unix:/b,max=3")


# -- who wins -------------------------------------------------------------------------------------


def test_default_top_level_variable_flag_table(write: Write) -> None:
    text = '[apps.x]\napp = "a:b"\n'
    own = "keep_alive = 5\n"
    variable = {"BALANCER_KEEP_ALIVE": "3"}
    given = [flag("keep_alive", "4")]
    seen = [
        load(given_flags, file=write(text_), env=env).services[0].settings.keep_alive
        for given_flags, text_, env in [
            ([], text, {}),
            ([], f"keep_alive = 2\n{text}", {}),
            ([], f"keep_alive = 2\n{text}", variable),
            (given, f"keep_alive = 2\n{text}", variable),
            (given, f"keep_alive = 2\n{text}{own}", variable),
        ]
    ]
    assert seen == [75.0, 2.0, 3.0, 4.0, 5.0]


# -- which setting may stand where ----------------------------------------------------------------


def value_of(name: str) -> str:
    text = GOOD[name][0]
    return text if text in ("true", "false") else f'"{text}"'


NEED = {OF_APPS: 'app = "a:b"', OF_POOLS: 'upstreams = ["https://a:1"]'}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("kind", [OF_APPS, OF_POOLS])
def test_every_setting_in_every_table(kind: str, name: str, write: Write) -> None:
    setting = SETTINGS[name]
    needed = "" if name in {"app", "upstreams"} else NEED[kind]
    said = errors(write(f"[{kind}.x]\n{name} = {value_of(name)}\n{needed}\n"))
    if kind in setting.tables:
        assert said == []
        own = load(file="b.toml").services[0].settings
        assert getattr(own, name) == GOOD[name][1]
        assert own.where(name) == f"b.toml:2: {kind}.x.{name}"
    elif setting.tables:
        assert (
            f"b.toml:2: {kind}.x.{name}: is for {setting.tables[0]}, not for what this table is"
            in (said)
        )
    else:
        assert said == [
            f"b.toml:2: {kind}.x.{name}: holds for the whole server; write it above the first table"
        ]


def test_which_settings_are_one_services_own() -> None:
    both = {name for name, setting in SETTINGS.items() if len(setting.tables) == 2}
    assert {"keep_alive", "limit_request_body", "send_timeout"} <= both
    for_all = {name for name, setting in SETTINGS.items() if not setting.tables}
    assert {"bind", "workers", "engine", "app_dir", "policy", "log_level", "timeout"} <= for_all
    assert SETTINGS["threads"].tables == SETTINGS["request_timeout"].tables == (OF_APPS,)
    assert SETTINGS["upstreams"].tables == (OF_POOLS,)


# -- what is wrong --------------------------------------------------------------------------------

APP = '[apps.x]\napp = "a:b"\n'
TWO = '[apps.x]\napp = "a:b"\n[pools.y]\nupstreams = ["c:1"]\n'
ALL = '[[listeners]]\nbind = ":1"\napp = "x"\n[[listeners]]\nbind = ":2"\npool = "y"\n'
NO_FIELDS = "must be tables with names: [apps.NAME]"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        # tables that are none
        ("apps = 3", [f":1: apps = 3: {NO_FIELDS}"]),
        ("[[apps]]\napp = 'a:b'", [f":1: apps = [{{…}}]: {NO_FIELDS}"]),
        ("pools.x = 'a:1'", [
            ":1: pools.x = \"a:1\": must be a table: [pools.x]",
            ':1: pools.x: has no upstreams; add upstreams = ["…"]',
        ]),
        ("[app.x]\napp = 'a:b'", [":1: app = {…}: must be a string"]),
        ("[pool.x]\nupstreams = []", [":1: pool: unknown key; did you mean pools?"]),
        ("[listener]\nbind = ':1'", [":1: listener: unknown key; did you mean listeners?"]),
        (f"{APP}[listeners]\nbind = ':1'", [
            ":3: listeners = {…}: must be tables: [[listeners]]",
        ]),
        (f"listeners = ['x']\n{APP}", [
            ':1: listeners[0] = "x": must be a table: [[listeners]]',
        ]),
        # names
        ("[apps.'a b']\napp = 'a:b'", [
            ":1: apps.a b: a name has 1 to 64 letters, digits, - and _",
        ]),
        (f"{TWO.replace('pools.y', 'pools.x')}{ALL.replace('y', 'x')}", [
            ":3: pools.x: has the name of b.toml:1: apps.x; give it another",
        ]),
        # what a table lacks, and what it has too much
        ("[apps.x]\nroot_path = '/a'", [':1: apps.x: has no app; add app = "module:attr"']),
        ("[pools.x]", [':1: pools.x: has no upstreams; add upstreams = ["…"]']),
        ("[pools.x]\nupstreams = []", [
            ":2: pools.x.upstreams = []: must be a string or a list of strings",
        ]),
        (f"{APP}root_pth = '/a'", [":3: apps.x.root_pth: unknown key; did you mean root_path?"]),
        (f"{APP}upstream_polcy = 'p2c'", [":3: apps.x.upstream_polcy: unknown key"]),
        (f"{APP}limit_request_body = 'big'", [
            ':3: apps.x.limit_request_body = "big": not a size; write 65536, 64KiB or 8MiB',
        ]),
        (f"{APP}limit_request_body = true", [
            ":3: apps.x.limit_request_body = true: must be a size",
        ]),
        (f"{APP}limit_request_line = '64KiB'", [
            (":3: apps.x.limit_request_line 65536: is more than --limit-request-head 32768; "
            "raise that too"),
        ]),
        # beside the top level
        (f"app = 'c:d'\n{APP}", [
            ":1: app c:d: can't stand beside b.toml:2: apps.x; give it a table too: [apps.NAME]",
        ]),
        (f"upstreams = ['c:1', 'd:1']\n{APP}", [
            (":1: upstreams c:1 d:1: can't stand beside b.toml:2: apps.x; "
            "give it a table too: [pools.NAME]"),
        ]),
        (f"engine = 'uvicorn'\n{APP}", [
            ":1: engine uvicorn: serves one app; what stands in tables needs the trio engine",
        ]),
        (f"probe = 'off'\n{APP}", [":1: probe: is for pools, and there are none"]),
        ("threads = 2\n[pools.x]\nupstreams = ['a']", [
            ":1: threads: is for apps, and there are none",
        ]),
        ("request_timeout = 3\n[pools.x]\nupstreams = ['a']", [
            ":1: request_timeout 3s: is for apps; a proxy has --upstream-response-timeout",
            ":1: request_timeout: is for apps, and there are none",
        ]),
        # upstreams
        ("[pools.x]\nupstreams = [\n  'a:1',\n  'b:1,wieght=2',\n]", [
            (":4: pools.x.upstreams[1] = \"b:1,wieght=2\": unknown option 'wieght'; "
            "there are weight=N, max=N and backup"),
        ]),
        ("[pools.x]\nupstreams = [\n  'a:1',\n  3,\n]", [
            ':4: pools.x.upstreams = ["a:1", 3]: must be a string or a list of strings',
        ]),
        ("[pools.x]\nupstreams = [{addres = 'a:1'}]", [
            ":2: pools.x.upstreams[0].addres: unknown key; did you mean address?",
            ":2: pools.x.upstreams[0]: has no address",
        ]),
        ("[pools.x]\nupstreams = [\n{address = 'a:1', weight = '2', max = true, backup = 1}]", [
            ':3: pools.x.upstreams[0].weight = "2": must be a number',
            ":3: pools.x.upstreams[0].max = true: must be a number",
            ":3: pools.x.upstreams[0].backup = 1: must be true or false",
        ]),
        ("[[pools.x.upstreams]]\naddress = 'a:1'\nweight = 0\n", [
            ":1: pools.x.upstreams[0] = {…}: weight must be a whole number from 1 to 256",
        ]),
        ("[pools.x]\nupstreams = {address = 'a:1,max=3'}", [
            (":2: pools.x.upstreams: the address of a table has no options behind it; they are "
             "keys beside it"),
        ]),
        ("[pools.x]\nupstreams = ['a', 'http://a']", [
            (":2: pools.x.upstreams http://a: is the same server as a; name it once (weight=2 "
             "gives it twice the load)"),
        ]),
        ("[pools.x]\nupstreams = ['a']\nupstream_ca = '/ca'", [
            ":3: pools.x.upstream_ca /ca: has no effect, since no upstream begins with https://",
        ]),
        # listeners
        (TWO, [
            (":1: apps.x: is one of 2 apps and pools, and nothing says where each is served; "
            'add [[listeners]] with bind = "ADDRESS" and app = "x"'),
        ]),
        ("[[listeners]]\nbind = ':1'", [
            (":1: listeners[0]: there is no [apps.NAME] and no [pools.NAME] to be served there; "
            "where there is none, bind = says where to listen"),
        ]),
        (f"{TWO}[[listeners]]\nbind = ':1'\napp = 'x'", [
            ':3: pools.y: no listener serves it; name it in one, pool = "y", or take it out',
        ]),
        (f"{TWO}[[listeners]]\nbind = ':9'\n{ALL}", [
            ':5: listeners[0]: says not what it serves; add app = "NAME" or pool = "NAME"',
        ]),
        (f"{TWO}{ALL}pool = 'x'".replace('pool = "y"\n', ""), [
            ':10: listeners[1].pool = "x": x is one of the apps; write app = "x"',
        ]),
        ("[apps.shop]\napp = 'a:b'\n[[listeners]]\nbind = ':1'\napp = 'shpo'", [
            ':5: listeners[0].app = "shpo": there is no table [apps.shpo]; did you mean shop?',
        ]),
        (f"{TWO}{ALL}app = 'x'", [
            ":8: listeners[1]: serves an app or a pool, not both; give each a listener of its own",
        ]),
        (f"{APP}[[listeners]]\nbind = ':1'\napp = 3", [
            ":5: listeners[0].app = 3: must be the name of one of the tables [apps.NAME]",
        ]),
        (f"{APP}[[listeners]]\napp = 'x'", [
            ':3: listeners[0]: says nowhere to listen; add bind = "ADDRESS"',
        ]),
        (f"{APP}[[listeners]]\nbnd = ':1'", [
            ":4: listeners[0].bnd: unknown key; did you mean bind?",
            ':3: listeners[0]: says nowhere to listen; add bind = "ADDRESS"',
        ]),
        (f"{APP}[[listeners]]\nbind = [\n':1',\n'80']", [
            ':6: listeners[0].bind[1] = "80": a port needs a colon; did you mean :80?',
        ]),
        (f"{APP}[[listeners]]\nbind = 80", [
            ":4: listeners[0].bind = 80: must be a string or a list of strings",
        ]),
        (f"{APP}[[listeners]]\nbind = ':1'\n[[listeners]]\nbind = [':2', '0.0.0.0:1']", [
            ':6: listeners[1].bind[1] = "0.0.0.0:1": is given twice',
        ]),
        (f"bind = ':3'\n{TWO}{ALL}", [
            (":1: bind 0.0.0.0:3: can't stand beside b.toml:6: listeners[0], which says where to "
            "listen and what is served there"),
        ]),
    ],
)  # fmt: skip
def test_bad_tables(text: str, problems: list[str], write: Write) -> None:
    assert errors(write(text)) == [f"b.toml{problem}" for problem in problems]
    with pytest.raises(UsageError) as caught:
        load(file="b.toml")
    assert str(caught.value) == f"b.toml{problems[0]}"


def test_flags_and_variables_beside_tables(write: Write) -> None:
    file = write(TWO + ALL)
    beside = "can't stand beside b.toml:1: apps.x; give it a table too"
    for name, text, problem in [
        ("app", "c:d", f"APP c:d: {beside}: [apps.NAME]"),
        ("upstreams", "c:1", f"UPSTREAM c:1: {beside}: [pools.NAME]"),
        ("bind", ":9", ("--bind 0.0.0.0:9: can't stand beside b.toml:5: listeners[0], which says "
         "where to listen and what is served there")),
    ]:  # fmt: skip
        found = examine([flag(name, text)], file=file)
        assert [str(error) for error in found.errors] == [problem]
    assert errors(file, BALANCER_BIND=":9")[0].startswith("BALANCER_BIND 0.0.0.0:9: can't stand")
    assert errors(file, BALANCER_APP="c:d") == [f"BALANCER_APP c:d: {beside}: [apps.NAME]"]


def test_every_error_is_found_and_none_follows_from_another(write: Write) -> None:
    """What can't be read says nothing about what belongs to it."""
    file = write(
        'max_requests = "some"\nmax_requests_jitter = 5\nlimit_request_head = true\n'
        'limit_request_line = "64KiB"\nworkers = 0\n'
        "[apps.x]\napp = 3\n[[listeners]]\nbind = 3\napp = 'z'\n"
    )
    assert errors(file, BALANCER_QUEUE="x", PORT="y") == [
        "b.toml:3: limit_request_head = true: must be a size",
        "b.toml:7: apps.x.app = 3: must be a string",
        "b.toml:9: listeners[0].bind = 3: must be a string or a list of strings",
        'b.toml:1: max_requests = "some": not a whole number',
        "b.toml:5: workers = 0: must be at least 1",
        "PORT=y: the port must be a number from 0 to 65535",
        "BALANCER_QUEUE=x: not a whole number",
        'b.toml:10: listeners[0].app = "z": there is no table [apps.z]',
    ]


def test_a_file_that_cannot_be_read_leaves_the_rest_to_be_checked() -> None:
    found = examine([flag("max_requests_jitter", "3"), flag("workers", "0")], file="none.toml")
    assert [str(error) for error in found.errors] == [
        "-c none.toml: No such file or directory",
        "--workers 0: must be at least 1",
    ]
