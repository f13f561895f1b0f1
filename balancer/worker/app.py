"""Find the app: the demo, or what ``APP`` names, imported here and not in the master."""

from __future__ import annotations

import importlib
import sys
import traceback
from inspect import CO_COROUTINE
from types import FunctionType
from typing import TYPE_CHECKING, cast

from balancer.apps.demo import make_handler
from balancer.errors import AppError
from balancer.settings import AppSpec, parse_app

if TYPE_CHECKING:
    from balancer.http1.exchange import Handler

__all__ = ["import_app", "load_app"]


def load_app(app: str | None, worker_id: int) -> Handler:
    """The handler that a worker serves; AppError when there is none by that name."""
    if app is None:
        return make_handler(worker_id)
    spec = parse_app(app)
    found = _find(app, spec)
    if spec.factory:
        found = _call(app, found)
    if isinstance(found, FunctionType) and not found.__code__.co_flags & CO_COROUTINE:
        hint = "" if spec.factory else f"; if it makes one, say {app}()"
        raise AppError(
            f"app {app}: {found.__name__} is a plain function, and a handler is an "
            f"async def handler(exchange){hint}"
        )
    if not callable(found):
        raise AppError(f"app {app}: {spec.attr} is a {type(found).__name__}, not callable")
    return cast("Handler", found)


def import_app(app: str | None) -> None:
    """Import what ``load_app`` will look into.  A factory is left for the workers to call: what it
    opens or starts is for one process."""
    if app is not None:
        _find(app, parse_app(app))


def _find(app: str, spec: AppSpec) -> object:
    if "" not in sys.path:
        sys.path.insert(0, "")  # the folder where the user typed the command
    try:
        found: object = importlib.import_module(spec.module)
    except BaseException as error:
        raise AppError(_explain(app, f"can't import {spec.module}", error)) from error
    for name in spec.attr.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise AppError(f"app {app}: {spec.module} has no attribute {spec.attr}") from None
    return found


def _call(app: str, factory: object) -> object:
    if not callable(factory):
        raise AppError(f"app {app}: the factory is a {type(factory).__name__}, not callable")
    try:
        return factory()
    except BaseException as error:
        raise AppError(_explain(app, "the factory failed", error)) from error


def _explain(app: str, what: str, error: BaseException) -> str:
    """One sentence, and below it the part of the traceback that is the app's."""
    sentence = f"app {app}: {what}: {type(error).__name__}: {error}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and "importlib" not in frame.filename
    ]
    if frames:
        sentence += "\n" + "".join(traceback.format_list(frames)).rstrip()
    # a file's name may hold bytes that are no text, and this travels as text
    return sentence.encode("utf-8", "backslashreplace").decode()
