"""Values that contradict each other, where the user would be hurt by either reading.

Each check is a function that says what is wrong, if anything is, and names the settings that it
looks at: when one of those can't be read, the check has nothing to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from balancer.errors import UsageError
from balancer.settings import engine, proxy
from balancer.settings.binds import TcpBind
from balancer.settings.policy import WEIGHED, parse_own
from balancer.settings.table import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from balancer.settings.table import Settings

__all__ = ["find_contradictions"]


@dataclass(frozen=True, slots=True)
class Check:
    """One contradiction.

    Attributes:
        of: The settings that it is about.
        find: Its sentence, None when all is well.
        each: It is about one service, where there are several; else about the server.
    """

    of: frozenset[str]
    find: Callable[[Settings], str | None]
    each: bool


def find_contradictions(
    settings: Settings, broken: Collection[str], of_services: Sequence[Collection[str]]
) -> list[UsageError]:
    """All of them.

    Args:
        settings: Of the server, with its services.
        broken: The settings that can't be read.
        of_services: Those of each service, beside those.
    """
    whole = [(settings, set(broken))]
    services = [
        (service.settings, {*broken, *more})
        for service, more in zip(settings.services, of_services, strict=True)
    ]
    found = [
        text
        for check in CHECKS
        for one, unread in (services or whole if check.each else whole)
        if not check.of & unread and (text := check.find(one)) is not None
    ]
    # what is said for all is wrong for each
    return [UsageError(text) for text in dict.fromkeys([*found, *_for_nobody(settings)])]


def _jitter(settings: Settings) -> str | None:
    if not settings.max_requests_jitter or settings.max_requests:
        return None
    where = settings.where("max_requests_jitter")
    return f"{where} {settings.max_requests_jitter}: has no effect without --max-requests"


def _request_line(settings: Settings) -> str | None:
    line, head = settings.limit_request_line, settings.limit_request_head
    if "limit_request_line" not in settings.origins or line <= head:
        return None
    return (
        f"{settings.where('limit_request_line')} {line}: is more than "
        f"--limit-request-head {head}; raise that too"
    )


def _binds(settings: Settings) -> str | None:
    if settings.services:
        return None  # the listeners say it with their own lines
    for index, bind in enumerate(settings.bind):
        if bind in settings.bind[:index] and not (isinstance(bind, TcpBind) and bind.port == 0):
            return f"{settings.where('bind')} {bind}: is given twice"
    return None


def _weights(settings: Settings) -> str | None:
    policy, weights = settings.policy, settings.worker_weights
    if not set(weights) - {1} or policy in WEIGHED or parse_own(policy) is not None:
        return None
    shown = ",".join(map(str, weights))
    return (
        f"{settings.where('worker_weights')} {shown}: has no effect with --policy {policy}; "
        f"those that go by weight are {', '.join(sorted(WEIGHED))}"
    )


def _control(settings: Settings) -> str | None:
    """``--control`` against ``--no-control``: the stronger source wins, a tie is an error."""
    if settings.control is None or not settings.no_control:
        return None
    path, off = settings.origins["control"], settings.origins["no_control"]
    if path.rank != off.rank:
        return None
    return f"{off}: contradicts {path} {settings.control}; give one of them"


def _for_nobody(settings: Settings) -> Iterator[str]:
    """What the top level says for all, where none of them can have it.

    Only in a file that has tables: elsewhere one file may serve several commands.
    """
    kinds = {"pools" if each.settings.upstreams else "apps" for each in settings.services}
    for name, origin in settings.origins.items():
        tables = SETTINGS[name].tables
        if kinds and tables and not kinds.intersection(tables) and name not in {"app", "upstreams"}:
            yield f"{origin}: is for {' and '.join(tables)}, and there are none"


CHECKS = [
    Check(frozenset({"max_requests", "max_requests_jitter"}), _jitter, each=False),
    Check(frozenset({"limit_request_line", "limit_request_head"}), _request_line, each=True),
    Check(frozenset({"bind"}), _binds, each=False),
    Check(frozenset({"worker_weights", "policy"}), _weights, each=False),
    Check(frozenset({"control", "no_control"}), _control, each=False),
    Check(frozenset({"engine", "app", "interface"}), engine.check_engine, each=False),
    Check(frozenset({"engine", "upstreams"}), proxy.check_engine, each=True),
    Check(frozenset({"app", "upstreams"}), proxy.check_app, each=True),
    Check(frozenset({"request_timeout", "upstreams"}), proxy.check_request_timeout, each=True),
    Check(frozenset({"upstream_ca", "upstreams"}), proxy.check_ca, each=True),
    Check(frozenset({"upstreams"}), proxy.check_together, each=True),
]
