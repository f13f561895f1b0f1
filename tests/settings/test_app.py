"""App strings."""

from __future__ import annotations

import pytest

from balancer.errors import UsageError
from balancer.settings import AppSpec, parse_app


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("native:main:app", AppSpec("main", "app", factory=False)),
        ("native:pkg.main:apps.one", AppSpec("pkg.main", "apps.one", factory=False)),
        ("native:main:make()", AppSpec("main", "make", factory=True)),
    ],
)
def test_apps(text: str, spec: AppSpec) -> None:
    assert parse_app(text) == spec


SERVES = (
    "ASGI and WSGI apps aren't served yet; native:module:attr names an async def handler(exchange)"
)
FORM = "not native:module:attr or native:module:factory()"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("main:app", SERVES),
        ("asgi:main:app", SERVES),
        ("", SERVES),
        ("native:", FORM),
        ("native:main", FORM),
        ("native:main:", FORM),
        ("native::app", FORM),
        ("native:main.py:app/x", FORM),
        ("native:main:make(1)", FORM),
        ("native:main:make()()", FORM),
        ("native:main..x:app", FORM),
    ],
)
def test_no_apps(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_app(text)
    assert str(caught.value) == f"APP {text}: {problem}"
