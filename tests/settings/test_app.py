"""App strings."""

from __future__ import annotations

import pytest

from balancer.errors import UsageError
from balancer.settings import AppSpec, Interface, parse_app


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("main:app", AppSpec("main", "app", factory=False)),
        ("main:make()", AppSpec("main", "make", factory=True)),
        ("pkg.main:apps.one", AppSpec("pkg.main", "apps.one", factory=False)),
        ("native:main:app", AppSpec("main", "app", False, Interface.NATIVE)),
        ("asgi:main:app", AppSpec("main", "app", False, Interface.ASGI)),
        ("wsgi:main:make()", AppSpec("main", "make", True, Interface.WSGI)),
        ("stream:main:echo", AppSpec("main", "echo", False, Interface.STREAM)),
        # modules of these names are everywhere
        ("wsgi:app", AppSpec("wsgi", "app", factory=False)),
        ("asgi:application", AppSpec("asgi", "application", factory=False)),
        ("wsgi:wsgi:app", AppSpec("wsgi", "app", False, Interface.WSGI)),
    ],
)
def test_apps(text: str, spec: AppSpec) -> None:
    assert parse_app(text) == spec


WHATEVER = ", or whatever the app is called in it"
FORM = "not module:attr or module:factory()"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", FORM),
        ("main", "names no attribute: write main:app, or whatever the app is called in it"),
        ("main.py", "names no attribute: write main:app, or whatever the app is called in it"),
        ("shop.main", f"names no attribute: write shop:main or shop.main:app{WHATEVER}"),
        ("./main.py", "is a file's name: did you mean main:app?"),
        ("main/:app", FORM),
        ("src/main.py:api", "is a file's name: did you mean main:api --app-dir src?"),
        ("/srv/x/main:app", "is a file's name: did you mean main:app --app-dir /srv/x?"),
        ("native:src/main.py:app", "is a file's name: did you mean main:app --app-dir src?"),
        ("native:", FORM),
        ("native:main:", FORM),
        ("native::app", FORM),
        ("main.py:app/x", FORM),
        ("main:make(1)", FORM),
        ("main:make()()", FORM),
        ("main..x:app", FORM),
        ("http:main:app", "http: is no interface (there are asgi, native, stream, wsgi)"),
    ],
)
def test_no_apps(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_app(text)
    assert str(caught.value) == f"APP {text}: {problem}"
