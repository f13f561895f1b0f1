"""What a user can say: one table of settings, and how flags, environment and file fill it.

units, binds, app, trust, cpus  the values
upstream                        and what to stand in front of
kinds                           one parser per type, shared by all sources
table                           every setting, once: ``Settings``
files, toml, python             what ``-c`` names: TOML or Python (source: what was found)
lines                           where in a TOML file each key is
gunicorn                        its settings by their names here
environment, calls              the other sources (flags: ``cli.options``)
parse, load                     default < file < environment < flag
services, listeners             < table of one app or one pool, and where it is served
checks, engine, proxy           what can't stand together
reference                       the page of all settings
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from balancer.settings.app import AppSpec as AppSpec
    from balancer.settings.app import Interface as Interface
    from balancer.settings.app import parse_app as parse_app
    from balancer.settings.binds import Bind as Bind
    from balancer.settings.binds import FdBind as FdBind
    from balancer.settings.binds import TcpBind as TcpBind
    from balancer.settings.binds import UnixBind as UnixBind
    from balancer.settings.binds import parse_bind as parse_bind
    from balancer.settings.cpus import usable_cpus as usable_cpus
    from balancer.settings.table import Settings as Settings
    from balancer.settings.trust import TrustedPeers as TrustedPeers
    from balancer.settings.upstream import Upstream as Upstream
    from balancer.settings.upstream import check_upstreams as check_upstreams
    from balancer.settings.upstream import parse_upstream as parse_upstream

# Imported when they are first used (PEP 562): ``balancer status`` needs ``units``, and shall not
# wait for the table.
_HOMES = {
    "AppSpec": "balancer.settings.app",
    "Interface": "balancer.settings.app",
    "parse_app": "balancer.settings.app",
    "Bind": "balancer.settings.binds",
    "FdBind": "balancer.settings.binds",
    "TcpBind": "balancer.settings.binds",
    "UnixBind": "balancer.settings.binds",
    "parse_bind": "balancer.settings.binds",
    "usable_cpus": "balancer.settings.cpus",
    "Settings": "balancer.settings.table",
    "TrustedPeers": "balancer.settings.trust",
    "Upstream": "balancer.settings.upstream",
    "check_upstreams": "balancer.settings.upstream",
    "parse_upstream": "balancer.settings.upstream",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
