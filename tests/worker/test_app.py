"""Finding the app, and what is said when it isn't there."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from balancer.core.messages import BootFailed, Program, WorkerConfig, encode_frame
from balancer.errors import AppError, ExitCode, UsageError
from balancer.settings import Interface
from balancer.worker.app import App, find_app

if TYPE_CHECKING:
    from pathlib import Path


PYTHON = sys.executable


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The name of a module that nobody has imported yet, with what the test says in it."""
    name = f"site_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{name}.py").write_text(request.param)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def find(app: str, *, interface: str = "auto", factory: bool = False) -> App:
    found = find_app(WorkerConfig(app=app, interface=interface, factory=factory))
    assert found is not None
    return found


def failure(app: str) -> str:
    with pytest.raises(AppError) as caught:
        find_app(WorkerConfig(app=app))
    assert caught.value.exit_code is ExitCode.APP
    return str(caught.value)


GOOD = """
import functools
async def app(exchange): pass
class Site:
    async def app(exchange): pass
    async def __call__(self, scope, receive, send): pass
class Wsgi:
    def __call__(self, environ, start_response): pass
class Asgi2:
    def __init__(self, scope): pass
    async def __call__(self, receive, send): pass
async def asgi(scope, receive, send): pass
def wrapped(scope, receive, send): return asgi(scope, receive, send)
def wsgi(environ, start_response): pass
def asgi2(scope): pass
def anything(*args): pass
async def two(a, b): pass
def four(a, b, c, d): pass
site, wsgi_site = Site(), Wsgi()
part = functools.partial(four, 1, d=2)
optional = lambda environ, start_response, debug=False: None
def make(): return asgi
def broken(): raise ValueError("no database")
def make_number(): return 5
number = 5
"""


def test_without_a_name_it_is_the_demo() -> None:
    assert find_app(WorkerConfig()) is None


@pytest.mark.parametrize("site", [GOOD], indirect=True)
class TestAGoodModule:
    @pytest.mark.parametrize("attr", ["app", "Site.app", "make()"])
    def test_what_is_named_is_found(self, site: str, attr: str) -> None:
        assert callable(find(f"native:{site}:{attr}").target)

    @pytest.mark.parametrize(
        ("attr", "hint"),
        [
            ("nowhere", ": did you mean app or asgi or wsgi?"),
            ("ap", ": did you mean app?"),
            ("wsgi_sight", ": did you mean wsgi_site?"),
            ("Site.ap", ": did you mean app?"),
            ("app.nothing.at_all", ""),
        ],
    )
    def test_what_is_not_there(self, site: str, attr: str, hint: str) -> None:
        app = f"native:{site}:{attr}"
        assert failure(app) == f"app {app}: {site} has no attribute {attr}{hint}"

    def test_what_cant_be_called(self, site: str) -> None:
        app = f"native:{site}:number"
        assert failure(app) == f"app {app}: number is of type int, not callable"

    @pytest.mark.parametrize(
        ("attr", "interface"),
        [
            ("asgi", Interface.ASGI),
            ("site", Interface.ASGI),
            ("wrapped", Interface.ASGI),
            ("make()", Interface.ASGI),
            ("wsgi", Interface.WSGI),
            ("wsgi_site", Interface.WSGI),
            ("part", Interface.WSGI),
            ("optional", Interface.WSGI),
            ("app", Interface.STREAM),
        ],
    )
    def test_an_interface_is_seen(self, site: str, attr: str, interface: Interface) -> None:
        found = find(f"{site}:{attr}")
        assert (found.interface, found.guessed) == (interface, True)

    @pytest.mark.parametrize("interface", list(Interface))
    def test_an_interface_can_be_said(self, site: str, interface: Interface) -> None:
        for found in (
            find(f"{interface.value}:{site}:anything"),
            find(f"{site}:anything", interface=interface.value),
        ):
            assert (found.interface, found.guessed) == (interface, False)

    def test_the_prefix_wins(self, site: str) -> None:
        assert find(f"wsgi:{site}:anything", interface="asgi").interface is Interface.WSGI

    @pytest.mark.parametrize(
        ("app", "said"),
        [
            ("wsgi:{}:asgi", "can't be called with (environ, start_response), as --interface wsgi"),
            ("asgi:{}:wsgi", "can't be called with (scope, receive, send), as --interface asgi"),
            ("stream:{}:wsgi", "can't be called with (stream), as --interface stream"),
        ],
    )
    def test_a_wrong_interface_is_explained(self, site: str, app: str, said: str) -> None:
        sentence = failure(app.format(site))
        assert said in sentence
        assert "it looks like" in sentence

    def test_a_factory_by_flag(self, site: str) -> None:
        assert find(f"{site}:make", factory=True).interface is Interface.ASGI

    @pytest.mark.parametrize(
        ("attr", "said"),
        [
            ("asgi2", "takes one argument and is no coroutine function: ASGI 2 isn't served"),
            ("Asgi2", "is a class that takes one argument: ASGI 2 isn't served"),
            ("Site", "is a class: if its instances are apps, write () behind its name"),
            ("make", "takes no arguments: if it makes the app, write () behind its name"),
            ("anything", "doesn't tell how it is called; put asgi:, wsgi: or stream: in front"),
            ("two", "is a coroutine function and takes 2 arguments: ASGI apps take three"),
            ("four", "takes 4 arguments: ASGI apps take three"),
            ("number", "is of type int, not callable"),
        ],
    )
    def test_what_cant_be_told_is_explained(self, site: str, attr: str, said: str) -> None:
        app = f"{site}:{attr}"
        assert failure(app).startswith(f"app {app}: {attr} {said}")

    def test_a_factory_that_is_none(self, site: str) -> None:
        app = f"native:{site}:number()"
        assert failure(app) == f"app {app}: the factory is of type int, not callable"

    def test_a_factory_that_is_an_app(self, site: str) -> None:
        app = f"native:{site}:asgi()"
        assert failure(app) == (
            f"app {app}: what --factory or () calls takes arguments and is no factory: it looks "
            "like asgi"
        )

    def test_a_factory_that_makes_no_app(self, site: str) -> None:
        assert failure(f"native:{site}:make_number()").endswith("is of type int, not callable")

    def test_a_factory_that_fails(self, site: str) -> None:
        sentence, *frames = failure(f"native:{site}:broken()").splitlines()
        assert sentence.endswith("the factory failed: ValueError: no database")
        assert f"{site}.py" in frames[0]
        assert not any("balancer" in frame for frame in frames)


@pytest.mark.parametrize(
    ("app", "missing", "hint"),
    [
        ("elsewhere:app", "elsewhere", "it is in src: --app-dir src"),
        ("elsewhere.deep:app", "elsewhere", "it is in src: --app-dir src"),
        ("pakage:app", "pakage", "did you mean package:app?"),
        ("pakage.web:app", "pakage", "did you mean package.web:app?"),
        ("package.web:app", "package.web", None),
        ("file.py:app", "file.py", "did you mean file:app?"),
        ("x_y_z:app", "x_y_z", "it is neither in {} (--app-dir) nor installed for {}"),
    ],
)
def test_a_module_that_is_not_there(
    app: str, missing: str, hint: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("src/elsewhere.py", "lib/elsewhere.py", "package/__init__.py", "file.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AppError) as caught:
        find_app(WorkerConfig(app=app, app_dir=str(tmp_path)))
    said = str(caught.value).splitlines()[0]
    error = f"app {app}: can't import {app.partition(':')[0]}: ModuleNotFoundError: No module named"
    assert said.startswith(f"{error} '{missing.removesuffix('.py')}")
    expected = "" if hint is None else f"; {hint.format(tmp_path, sys.executable)}"
    assert said.partition("'")[2].partition("'")[2].partition("; '")[0].endswith(expected)


@pytest.mark.parametrize(
    ("site", "said"),
    [
        (
            "import no_such_library",
            f"ModuleNotFoundError: No module named 'no_such_library'; is it installed for {PYTHON}",
        ),
        (
            "from . import models",
            "ImportError: attempted relative import with no known parent package; {site} is part",
        ),
        ("1/0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def f(:", "SyntaxError: "),
    ],
    indirect=["site"],
)
def test_a_module_that_fails(site: str, said: str) -> None:
    said = said.format(site=site)
    assert f"can't import {site}: {said}" in failure(f"native:{site}:app").splitlines()[0]


@pytest.mark.parametrize(
    "site", ['raise OSError("a name that is no text: \\udcff")'], indirect=True
)
def test_what_is_said_can_be_sent(site: str) -> None:
    """A file name may hold bytes that are no UTF-8, and so may the sentence about it."""
    assert encode_frame(BootFailed(failure(f"native:{site}:app")))


def test_a_name_that_is_no_name() -> None:
    with pytest.raises(UsageError):
        find_app(WorkerConfig(app="native:"))


class TestTheFolderOfTheApp:
    """``--app-dir`` goes before whatever else the process can import from."""

    @pytest.fixture
    def folders(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
        """Two folders in ``sys.path`` with a module of the same name; the second is the app's."""
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "in_two_places.py").write_text(f"def app(e, s): return '{name}'\n")
        one, two = str(tmp_path / "one"), str(tmp_path / "two")
        monkeypatch.setattr("sys.path", [one, two, *sys.path])
        monkeypatch.delitem(sys.modules, "in_two_places", raising=False)
        monkeypatch.chdir(two)
        return one, two

    def test_it_is_first_where_it_was_there_before(self, folders: tuple[str, str]) -> None:
        assert self._found(WorkerConfig(app="wsgi:in_two_places:app")) == "two"
        assert sys.path[:2] == [folders[1], folders[0]]

    def test_a_program_has_a_path_of_its_own(self, folders: tuple[str, str]) -> None:
        program = Program(path=(folders[0],), argv=())
        assert self._found(WorkerConfig(app="wsgi:in_two_places:app", program=program)) == "one"

    def test_which_a_folder_that_it_asks_for_goes_before(self, folders: tuple[str, str]) -> None:
        program = Program(path=(folders[0],), argv=())
        config = WorkerConfig(app="wsgi:in_two_places:app", program=program, app_dir=folders[1])
        assert self._found(config) == "two"

    def _found(self, config: WorkerConfig) -> object:
        app = find_app(config)
        assert app is not None
        assert callable(app.target)
        return app.target({}, None)
