"""From objects to names, and from arguments to settings."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from types import ModuleType

import pytest

from balancer import Server, UsageError, current_worker
from balancer.cluster.apps import name_of, this_program
from balancer.cluster.assemble import MAX_PASSED, assemble, check_env
from balancer.settings import Settings, TcpBind, UnixBind
from tests.cluster import apps
from tests.cluster.apps import Greeter, app, greeter

HERE = __name__


class Outer:
    """Has apps in it."""

    @staticmethod
    async def inner(scope: object, receive: object, send: object) -> None: ...

    async def method(self, scope: object, receive: object, send: object) -> None: ...


ours = Greeter("ours")
part = functools.partial(app, {})


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ("main:app", "main:app"),
        (app, "tests.cluster.apps:app"),
        (Greeter, "tests.cluster.apps:Greeter"),
        (Outer.inner, f"{HERE}:Outer.inner"),
        (greeter, "tests.cluster.apps:greeter"),  # where its class is
        (ours, f"{HERE}:ours"),  # where the call is
        (part, f"{HERE}:part"),
    ],
)
def test_apps_have_names(found: object, name: str) -> None:
    assert name_of(found, HERE) == name


def local_apps() -> list[tuple[object, str]]:
    async def local(scope: object, receive: object, send: object) -> None: ...

    return [
        (local, "local_apps.<locals>.local"),
        (lambda: 0, "local_apps.<locals>.<lambda>"),
        (Greeter("nameless"), "of type Greeter"),
        (Outer().method, "Outer.method"),
        (3, "of type int"),
    ]


def test_what_no_worker_could_find() -> None:
    for found, shown in local_apps():
        with pytest.raises(UsageError) as caught:
            name_of(found, HERE)
        assert str(caught.value).startswith(f"app {shown}: workers import it")


def test_a_decorated_function_is_found_under_the_name_of_what_replaced_it() -> None:
    module = ModuleType("decorated")
    sys.modules["decorated"] = module
    try:

        async def inner() -> None: ...

        inner.__module__, inner.__qualname__ = "decorated", "app"
        module.app = functools.wraps(inner)(lambda: inner())  # type: ignore[attr-defined]
        assert name_of(module.app, None) == "decorated:app"
        with pytest.raises(UsageError):
            name_of(inner, None)  # under its name there is another one
    finally:
        del sys.modules["decorated"]


def test_the_program_is_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    main = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "argv", ["x", "y"])
    program = this_program([])
    assert program.argv == ("x", "y")
    assert (program.script, program.module) == (None, None)
    assert str(Path.cwd()) in program.path or program.path
    main.__file__ = "script.py"
    assert this_program(["__main__:app"]).script == str(Path("script.py").absolute())


def read(*found: object, **arguments: object) -> Settings:
    return assemble(found, arguments, caller=HERE, env={}).settings


def test_several_servers() -> None:
    servers = [
        Server(app, ["127.0.0.1:1", "unix:x"], root_path="/a/"),
        Server("native:a:b()", ":2", exclusive=True),
        Server(None, ":3", interface="native", factory=True),
    ]
    made = assemble(servers, {"workers": 3}, caller=HERE, env={})
    assert made.settings.bind == (
        TcpBind("127.0.0.1", 1), UnixBind("x"), TcpBind("0.0.0.0", 2), TcpBind("0.0.0.0", 3),
    )  # fmt: skip
    assert made.settings.service_of_bind == (0, 0, 1, 2)
    assert made.exclusive == {2}
    own = [each.settings for each in made.settings.services]
    assert [(each.app, each.interface, each.factory, each.root_path) for each in own] == [
        ("tests.cluster.apps:app", "auto", False, "/a"),
        ("native:a:b()", "auto", False, ""),
        (None, "native", True, ""),
    ]
    assert {each.workers for each in own} == {3}


@pytest.mark.parametrize(
    ("found", "arguments", "message"),
    [
        ([apps.app, apps.other], {}, "several apps: give each its address"),
        ([Server(app, ":1"), apps.other], {}, "several apps: give each its address"),
        ([Server(app, ":1")], {"bind": ":2"}, "bind: is given in each Server()"),
        ([Server(app, ":1"), Server(app, ":1")], {}, "0.0.0.0:1: is given twice"),
        ([Server(app, ":1", interface="cgi")], {}, "interface='cgi': must be one of"),
        ([Server(app, ":1", exclusive=True)], {"policy": "shared"}, "policy='shared': the kernel"),
        ([Server(app, ":1")], {"engine": "uvicorn"}, "engine='uvicorn': serves one app"),
        ([Server(app, [])], {}, "bind=[]: must be a string or a list of strings"),
        ([app], {"workers": "0x"}, "workers='0x': not a whole number"),
        ([app], {"workers": [1]}, "workers=[1]: must be a number"),
        ([app], {"timeout": "soon"}, "timeout='soon': not a duration"),
        ([app], {"queue": None, "window": 0}, "window=0: must be at least 1"),
    ],
)
def test_calls_that_make_no_sense(
    found: list[object], arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        read(*found, **arguments)
    assert message in str(caught.value)


def test_arguments_are_settings() -> None:
    assert read(app, workers=0).workers == read(app, workers="0").workers == 0
    assert read(app, pid=Path("/x.pid")).pid == "/x.pid"
    assert read(app, no_control=True).no_control
    assert read(app, bind=":1").bind == (TcpBind("0.0.0.0", 1),)
    assert read(app, forwarded_allow_ips=["unix:"]).forwarded_allow_ips == ("unix:",)
    assert read(app, keep_alive=0.25, recall=0.5).recall == 0.5
    assert read(app).app == "tests.cluster.apps:app"
    assert read().app is read(None).app is None


def test_the_environment_counts_where_the_caller_says_so() -> None:
    env = {"PORT": "81", "WEB_CONCURRENCY": "3"}
    settings = assemble([app], {"workers": 5}, caller=HERE, env=env).settings
    assert (settings.workers, settings.bind) == (5, (TcpBind("0.0.0.0", 81),))


def test_environments() -> None:
    assert check_env(None) == {}
    assert check_env({"A": "b=c"}) == {"A": "b=c"}
    with pytest.raises(UsageError, match="bytes are too many"):
        check_env({"A": "x" * MAX_PASSED})


def test_a_program_with_too_many_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x" * MAX_PASSED])
    with pytest.raises(UsageError, match=r"sys\.argv: \d+ bytes are too many"):
        read(app)


def test_here_is_no_worker() -> None:
    assert current_worker() is None


def test_a_file_has_settings_and_hooks(tmp_path: Path) -> None:
    file = tmp_path / "conf.py"
    file.write_text("workers = 7\nqueue = 9\ndef when_ready(server): ...\n")
    made = assemble([app], {"config": str(file), "queue": 8}, caller=HERE, env={})
    assert (made.settings.workers, made.settings.queue) == (7, 8)
    assert made.hooks is not None
    assert "when_ready" in made.hooks
    with pytest.raises(UsageError, match="config=3: must be the name of a file"):
        read(app, config=3)
