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
