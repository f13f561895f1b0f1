"""Find the app: what ``APP`` names, imported here and not in the master."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from balancer.apps.detect import check, detect, takes_arguments
from balancer.apps.tracebacks import describe
from balancer.core.messages import WorkerConfig
from balancer.errors import AppError, InWorkerError
from balancer.settings import Interface, parse_app
from balancer.worker.hints import about_attribute, about_import
from balancer.worker.program import MAIN, adopt, import_main

if TYPE_CHECKING:
    from types import ModuleType

    from balancer.core.messages import Program
    from balancer.settings import AppSpec

__all__ = ["App", "find_app", "find_hook", "import_app", "services"]


@final
@dataclass(frozen=True, slots=True)
class App:
    """An app that was found: what it is called, what it is, and how it is called."""

    name: str
    target: object
    interface: Interface
    guessed: bool


def services(config: WorkerConfig) -> tuple[WorkerConfig, ...]:
    """The config of each app and pool that a worker has: itself, where there is one."""
    return config.services or (config,)


def find_app(config: WorkerConfig) -> App | None:
    """The app to serve, None for the demo; AppError when there is none by that name."""
    if config.app is None:
        return None
    name, spec = config.app, parse_app(config.app)
    target = _find(config, spec, f"app {name}")
    if spec.factory or config.factory:
        target = _call(name, target)
    interface = spec.interface
    if interface is None and config.interface != "auto":
        interface = Interface(config.interface)
    if interface is None:
        try:
            return App(name, target, detect(target), guessed=True)
        except ValueError as error:
            raise AppError(f"app {name}: {spec.attr} {error}") from None
    try:
        check(target, interface)
    except ValueError as error:
        raise AppError(f"app {name}: {spec.attr} {error}") from None
    return App(name, target, interface, guessed=False)


def import_app(config: WorkerConfig) -> None:
    """Import what ``find_app`` will look into.  A factory is left for the workers to call: what it
    opens or starts is for one process."""
    if config.app is not None:
        _find(config, parse_app(config.app), f"app {config.app}")


def find_hook(config: WorkerConfig, name: str, target: str) -> object:
    """The hook ``name`` by its import string, as a program gave it; AppError as for an app."""
    adopt(config.program)  # a hook may be due before the app is
    return _find(config, parse_app(target), f"hook {name} ({target})")


def _find(config: WorkerConfig, spec: AppSpec, who: str) -> object:
    # a program's own path goes first, unless it has asked for another folder
    last = config.program is not None and config.app_dir == WorkerConfig().app_dir
    folder = os.path.abspath(config.app_dir)
    _look_in(folder, last=last)
    try:
        found: object = _import(spec.module, config.program)
    except BaseException as error:
        if isinstance(error, InWorkerError):  # nobody needs a traceback to understand that
            raise AppError(f"{who}: {error}") from error
        what = f"{who}: can't import {spec.module}"
        sentence, newline, frames = describe(what, error).partition("\n")
        hint = about_import(spec, error, folder)
        raise AppError(f"{sentence}{hint}{newline}{frames}") from error
    for name in spec.attr.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            hint = about_attribute(found, name, app=who.startswith("app "))
            raise AppError(f"{who}: {spec.module} has no attribute {spec.attr}{hint}") from None
    return found


def _look_in(folder: str, *, last: bool) -> None:
    """Have a folder in ``sys.path``: first, or ``last`` where it isn't there yet."""
    if last:
        if folder not in sys.path:
            sys.path.append(folder)
    elif sys.path[:1] != [folder]:
        with suppress(ValueError):
            sys.path.remove(folder)
        sys.path.insert(0, folder)


def _import(name: str, program: Program | None) -> ModuleType:
    if program is not None and name == MAIN:
        return import_main(program)
    return importlib.import_module(name)


def _call(app: str, factory: object) -> object:
    if not callable(factory):
        raise AppError(f"app {app}: the factory is of type {type(factory).__name__}, not callable")
    if why := takes_arguments(factory):
        raise AppError(f"app {app}: what --factory or () calls {why}")
    try:
        return factory()
    except BaseException as error:
        raise AppError(describe(f"app {app}: the factory failed", error)) from error
