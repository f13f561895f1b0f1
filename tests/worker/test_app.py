"""Finding the app, and what is said when it isn't there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from balancer.core.messages import BootFailed, encode_frame
from balancer.errors import AppError, ExitCode, UsageError
from balancer.worker.app import load_app

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The name of a module that nobody has imported yet, with what the test says in it."""
    name = f"site_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{name}.py").write_text(request.param)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def failure(app: str) -> str:
    with pytest.raises(AppError) as caught:
        load_app(app, 1)
    assert caught.value.exit_code is ExitCode.APP
    return str(caught.value)


GOOD = """
async def app(exchange): pass
class Site:
    async def app(exchange): pass
def make(): return app
def broken(): raise ValueError("no database")
def make_number(): return 5
number = 5
"""


def test_without_a_name_it_is_the_demo() -> None:
    assert callable(load_app(None, 3))


@pytest.mark.parametrize("site", [GOOD], indirect=True)
class TestAGoodModule:
    @pytest.mark.parametrize("attr", ["app", "Site.app", "make()"])
    def test_what_is_named_is_found(self, site: str, attr: str) -> None:
        assert callable(load_app(f"native:{site}:{attr}", 1))

    @pytest.mark.parametrize("attr", ["nothing", "Site.nothing", "app.nothing.at_all"])
    def test_what_is_not_there(self, site: str, attr: str) -> None:
        app = f"native:{site}:{attr}"
        assert failure(app) == f"app {app}: {site} has no attribute {attr}"

    def test_what_cant_be_called(self, site: str) -> None:
        app = f"native:{site}:number"
        assert failure(app) == f"app {app}: number is a int, not callable"

    def test_a_factory_without_its_parentheses(self, site: str) -> None:
        app = f"native:{site}:make"
        assert failure(app) == (
            f"app {app}: make is a plain function, and a handler is an "
            f"async def handler(exchange); if it makes one, say {app}()"
        )

    def test_a_factory_that_is_none(self, site: str) -> None:
        app = f"native:{site}:number()"
        assert failure(app) == f"app {app}: the factory is a int, not callable"

    def test_a_factory_that_makes_no_app(self, site: str) -> None:
        assert failure(f"native:{site}:make_number()").endswith("is a int, not callable")

    def test_a_factory_that_fails(self, site: str) -> None:
        sentence, *frames = failure(f"native:{site}:broken()").splitlines()
        assert sentence.endswith("the factory failed: ValueError: no database")
        assert f"{site}.py" in frames[0]
        assert not any("balancer" in frame for frame in frames)


def test_a_module_that_is_not_there() -> None:
    assert failure("native:no_such_module:app") == (
        "app native:no_such_module:app: can't import no_such_module: "
        "ModuleNotFoundError: No module named 'no_such_module'"
    )


@pytest.mark.parametrize(
    ("site", "said"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("1/0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def f(:", "SyntaxError: "),
    ],
    indirect=["site"],
)
def test_a_module_that_fails(site: str, said: str) -> None:
    assert f"can't import {site}: {said}" in failure(f"native:{site}:app").splitlines()[0]


@pytest.mark.parametrize(
    "site", ['raise OSError("a name that is no text: \\udcff")'], indirect=True
)
def test_what_is_said_can_be_sent(site: str) -> None:
    """A file name may hold bytes that are no UTF-8, and so may the sentence about it."""
    assert encode_frame(BootFailed(failure(f"native:{site}:app")))


def test_a_name_that_is_no_name() -> None:
    with pytest.raises(UsageError):
        load_app("native:", 1)
