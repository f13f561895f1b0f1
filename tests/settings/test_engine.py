"""``--engine uvicorn`` is refused before a worker is forked, where it can't work."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from balancer.errors import UsageError
from balancer.settings.engine import unheard
from balancer.settings.load import flag_given, load

if TYPE_CHECKING:
    from balancer.settings import Settings


def given(**values: str) -> Settings:
    return load([flag_given(name, f"--{name}", value, value) for name, value in values.items()])


def test_it_is_taken_with_an_app() -> None:
    assert given(app="main:app", engine="uvicorn").engine == "uvicorn"
    assert given(app="asgi:main:app", engine="uvicorn").engine == "uvicorn"


def test_the_demo_app_is_not_for_it() -> None:
    with pytest.raises(UsageError, match=r"^--engine uvicorn: needs an APP; the demo app is for"):
        given(engine="uvicorn")


@pytest.mark.parametrize("word", ["wsgi", "stream", "native"])
def test_other_interfaces_are_not_for_it(word: str) -> None:
    says = f"^--engine uvicorn: serves ASGI apps, not {word}; leave it out$"
    with pytest.raises(UsageError, match=says):
        given(app=f"{word}:main:app", engine="uvicorn")
    with pytest.raises(UsageError, match=says):
        given(app="main:app", interface=word, engine="uvicorn")


def test_without_uvicorn_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    says = r"^--engine uvicorn: uvicorn isn't installed; pip install 'balancer\[uvicorn\]'$"
    with pytest.raises(UsageError, match=says):
        given(app="main:app", engine="uvicorn")
    given(app="main:app")


def test_limits_that_it_does_not_have_are_named() -> None:
    limits = {
        "body_timeout": "3",
        "keep_alive": "3",
        "limit_request_body": "100",
        "access_logfile": "-",
        "request_timeout": "3",
    }
    assert unheard(given(app="main:app", engine="uvicorn", **limits)) == [
        "--body_timeout",
        "--limit_request_body",
    ]
    assert unheard(given(app="main:app", **limits)) == []
