"""What to do about an app that isn't where it was said to be: the second half of a sentence.

People come with a command line that worked elsewhere: from another folder, for another Python, with
a file's name in place of a module's.  Nothing is imported here that wasn't before, and nothing of
the app is called.
"""

from __future__ import annotations

import os
import sys
from difflib import get_close_matches
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balancer.settings import AppSpec

__all__ = ["about_attribute", "about_import"]

USUAL = ("app", "application", "api", "asgi", "wsgi", "create_app", "make_app", "get_app")
"""What apps, and what makes them, are called in most projects."""
FOLDERS = 200
"""Folders below the app's that are looked into, at most."""


def about_import(spec: AppSpec, error: BaseException, folder: str) -> str:
    """Why a module can't be imported, where there is more to say than the error does."""
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        if error.name == spec.module or spec.module.startswith(f"{error.name}."):
            return _about_module(spec, error.name, folder)
        return f"; is it installed for {sys.executable}?"
    if isinstance(error, ImportError) and "no known parent package" in str(error):
        return f"; {spec.module} is part of a package: write PACKAGE.{spec.module}:{spec.attr}"
    return ""


def _about_module(spec: AppSpec, missing: str, folder: str) -> str:
    if spec.module.endswith(".py"):
        return f"; did you mean {spec.module.removesuffix('.py')}:{spec.attr}?"
    if "." in missing:  # its package is there, or it would be that one
        return ""
    for below in _below(folder):
        if missing in _modules(os.path.join(folder, below)):
            return f"; it is in {below}: --app-dir {below}"
    if close := get_close_matches(missing, sorted(_modules(folder)), n=1):
        return f"; did you mean {close[0]}{spec.module[len(missing) :]}:{spec.attr}?"
    return f"; it is neither in {folder} (--app-dir) nor installed for {sys.executable}"


def _below(folder: str) -> list[str]:
    """Folders in the folder, the usual one first."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(each.name for each in entries if each.is_dir() and each.name[0] != ".")
    except OSError:
        return []
    return sorted(found[:FOLDERS], key=lambda name: name != "src")


def _modules(folder: str) -> set[str]:
    """What can be imported from a folder, by what the files are called."""
    return set(_importable(folder))


def _importable(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for each in entries:
                name, dot, suffix = each.name.partition(".")
                if suffix == "py" or (not dot and os.path.isfile(f"{each.path}/__init__.py")):
                    yield name
    except OSError:
        return


def about_attribute(owner: object, missing: str, *, app: bool = True) -> str:
    """What could have been meant by a name that isn't there, of an app or else of a hook."""
    names = [name for name in vars(owner) if name[0] != "_"] if _has_names(owner) else []
    close = get_close_matches(missing, names, n=3, cutoff=0.7)
    usual = [name for name in USUAL if app and name in names]
    if found := close or usual:
        return f": did you mean {' or '.join(found)}?"
    return ""


def _has_names(owner: object) -> bool:
    return isinstance(owner, ModuleType | type)
