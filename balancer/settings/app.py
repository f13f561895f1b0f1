"""What ``APP`` names: ``module:attr`` or ``module:factory()``, perhaps behind its interface.

``asgi:``, ``wsgi:``, ``stream:`` and ``native:`` say what the app speaks; without one of them the
worker looks at the object.  ``wsgi:app`` is the attribute ``app`` of a module called ``wsgi``,
which many projects have: a prefix is a prefix only where a module and an attribute follow.

Only the words are taken apart here.  The module is imported by the worker (or, with ``--preload``,
by the fork server), never by the master: an app that breaks at import must not take the port down.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from balancer.errors import UsageError

__all__ = ["AppSpec", "Interface", "check_app", "parse_app"]


class Interface(Enum):
    """How a worker calls an app; the values are the words of ``--interface``."""

    ASGI = "asgi"  # async callable of scope, receive, send
    WSGI = "wsgi"  # callable of environ, start_response, in a thread
    STREAM = "stream"  # async callable of a trio stream: any protocol over TCP
    NATIVE = "native"  # async callable of an exchange of ``balancer.http1``


PREFIXES = frozenset(each.value for each in Interface)


@dataclass(frozen=True, slots=True)
class AppSpec:
    """An app by name: ``attr`` of ``module``, called without arguments first when a factory.

    ``interface`` is None when the name doesn't say.
    """

    module: str
    attr: str
    factory: bool
    interface: Interface | None = None


def parse_app(text: str) -> AppSpec:
    """The app that a string names.

    Raises:
        UsageError: it isn't a string of this form.
    """
    try:
        return _parse(text)
    except ValueError as error:
        raise UsageError(f"APP {text}: {error}") from None


def check_app(text: str) -> str:
    """``text`` itself, when ``parse_app`` would take it; else ``ValueError``."""
    _parse(text)
    return text


def _parse(text: str) -> AppSpec:
    interface, name = _split_prefix(text)
    module, colon, attr = name.partition(":")
    factory = attr.endswith("()")
    attr = attr.removesuffix("()")
    if not colon and _dotted(module):
        raise ValueError(f"names no attribute: write {_with_attribute(module)}")
    if "/" in module and (meant := _by_path(module, attr)):
        raise ValueError(f"is a file's name: did you mean {meant}?")
    if not colon or not _dotted(module) or not _dotted(attr):
        raise ValueError(f"not module:attr or module:factory(){_server_hint(text)}")
    return AppSpec(module, attr, factory, interface)


def _split_prefix(text: str) -> tuple[Interface | None, str]:
    word, colon, rest = text.partition(":")
    if not colon or ":" not in rest:
        return None, text
    if word not in PREFIXES:
        known = ", ".join(sorted(PREFIXES))
        raise ValueError(f"{word}: is no interface (there are {known}){_server_hint(text)}")
    return Interface(word), rest


def _with_attribute(module: str) -> str:
    name = module.removesuffix(".py")
    head, dot, tail = name.rpartition(".")
    first = f"{head}:{tail} or {name}:app" if dot else f"{name}:app"
    return f"{first}, or whatever the app is called in it"


def _by_path(path: str, attr: str) -> str | None:
    """A file as a module in a folder, for those who have completed its name in a shell."""
    folder, _, name = path.removesuffix(".py").rpartition("/")
    if not name.isidentifier() or not _dotted(attr or "app"):
        return None
    where = f" --app-dir {folder}" if folder not in {"", "."} else ""
    return f"{name}:{attr or 'app'}{where}"


def _server_hint(text: str) -> str:
    """What to do with what is an address, and no app."""
    if "://" in text or text.rpartition(":")[2].isdecimal():
        return f"; to stand in front of a server: balancer proxy {text}"
    return ""


def _dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))
