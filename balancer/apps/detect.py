"""Which interface an app has, by looking at how it wants to be called.

The number of parameters tells: ASGI 3 apps take three (scope, receive, send), WSGI apps two
(environ, start_response), stream handlers one and are coroutine functions.  What can't be told, or
looks like something else that people point servers at, is explained.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

from balancer.settings import Interface

__all__ = ["check", "detect", "takes_arguments"]

PREFIXES = "put asgi:, wsgi: or stream: in front of it"


def detect(app: Any) -> Interface:  # noqa: ANN401 - whatever a name stands for
    """The interface of a callable; ValueError says why that can't be told, or isn't served."""
    if not callable(app):
        raise ValueError(f"is of type {type(app).__name__}, not callable")
    if inspect.isclass(app):
        return _detect_class(app)
    count = _parameters(app)
    is_async = _is_async(app)
    if count == 3:
        return Interface.ASGI
    if count == 2 and not is_async:
        return Interface.WSGI
    if count == 1 and is_async:
        return Interface.STREAM
    if count == 1:
        raise ValueError(
            "takes one argument and is no coroutine function: ASGI 2 isn't served (wrap it in "
            "asgiref.compatibility.guarantee_single_callable), and a stream handler is an async def"
        )
    if count == 0:
        raise ValueError("takes no arguments: if it makes the app, write () behind its name")
    if count is None:
        raise ValueError(f"doesn't tell how it is called; {PREFIXES}")
    kind = "is a coroutine function and takes" if is_async else "takes"
    raise ValueError(
        f"{kind} {count} arguments: ASGI apps take three (scope, receive, send), WSGI apps two "
        f"(environ, start_response) and aren't async; {PREFIXES} if that is wrong"
    )


ARGUMENTS = {
    Interface.ASGI: ("scope", "receive", "send"),
    Interface.WSGI: ("environ", "start_response"),
    Interface.STREAM: ("stream",),
}


def check(app: Any, interface: Interface) -> None:  # noqa: ANN401 - whatever a name stands for
    """Whether a callable can be called as it was said to be; ValueError: it can't, ever."""
    if not callable(app):
        raise ValueError(f"is of type {type(app).__name__}, not callable")
    arguments = ARGUMENTS.get(interface)
    if arguments is None:
        return
    try:
        inspect.signature(app).bind(*arguments)
    except ValueError:  # written in C, without a signature
        return
    except TypeError:
        names = ", ".join(arguments)
        raise ValueError(
            f"can't be called with ({names}), as --interface {interface.value} (or the prefix, or "
            f"worker_class) has it{_looks_like(app)}"
        ) from None


def takes_arguments(factory: Any) -> str | None:  # noqa: ANN401 - whatever a name stands for
    """Why a callable can't be called without any, if it can't: it is no factory."""
    try:
        inspect.signature(factory).bind()
    except ValueError:  # written in C, without a signature
        return None
    except TypeError:
        return f"takes arguments and is no factory{_looks_like(factory)}"
    return None


def _looks_like(app: object) -> str:
    try:
        return f": it looks like {detect(app).value}"
    except ValueError:
        return ""


def _detect_class(app: type) -> Interface:
    if _parameters(app) == 1:
        raise ValueError(
            "is a class that takes one argument: ASGI 2 isn't served (wrap it in "
            "asgiref.compatibility.guarantee_single_callable)"
        )
    if _parameters(app) == 0:
        raise ValueError("is a class: if its instances are apps, write () behind its name")
    # WSGI allows it (PEP 3333, "The Application Side"): the instance is the response's body
    if _parameters(app) == 2:
        return Interface.WSGI
    raise ValueError(f"is a class; {PREFIXES} if it can be called as an app")


def _is_async(app: object) -> bool:
    while isinstance(app, partial):
        app = app.func
    # the class's __call__: what calling an instance means
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(
        getattr(type(app), "__call__", None)  # noqa: B004 - it is asked for its nature
    )


def _parameters(app: object) -> int | None:
    """How many arguments it has to be given; None where that isn't known."""
    assert callable(app)
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):  # written in C, without a signature
        return None
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return None
    return sum(
        each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD}
        and each.default is each.empty
        for each in parameters
    )
