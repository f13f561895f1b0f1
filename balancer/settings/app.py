"""What ``APP`` names: ``native:module:attr`` or ``native:module:factory()``.

Only the words are taken apart here.  The module is imported by the worker (or, with ``--preload``,
by the fork server), never by the master: an app that breaks at import must not take the port down.
"""

from __future__ import annotations

from dataclasses import dataclass

from balancer.errors import UsageError

__all__ = ["AppSpec", "check_app", "parse_app"]

PREFIX = "native:"


@dataclass(frozen=True, slots=True)
class AppSpec:
    """An app by name: ``attr`` of ``module``, called without arguments first when a factory."""

    module: str
    attr: str
    factory: bool


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
    if not text.startswith(PREFIX):
        raise ValueError(
            "ASGI and WSGI apps aren't served yet; "
            "native:module:attr names an async def handler(exchange)"
        )
    module, colon, attr = text.removeprefix(PREFIX).partition(":")
    factory = attr.endswith("()")
    attr = attr.removesuffix("()")
    if not colon or not _dotted(module) or not _dotted(attr):
        raise ValueError("not native:module:attr or native:module:factory()")
    return AppSpec(module, attr, factory)


def _dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))
