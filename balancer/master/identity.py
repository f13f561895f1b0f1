"""``-u`` and ``-g``: who may ask for them, and what must not be done as root before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from balancer.errors import UsageError
from balancer.net.identity import access_of
from balancer.net.logfile import make_log_file

if TYPE_CHECKING:
    from balancer.settings import Settings

__all__ = ["check_identity", "make_log"]


def check_identity(settings: Settings) -> None:
    """See that the workers can become who they are to be, and that the app isn't root's before.

    Raises:
        UsageError: they can't, or ``--preload`` would import it before.
    """
    if os.geteuid() == 0:
        _check_preload(settings)
        return
    for name, own in (("user", os.geteuid()), ("group", os.getegid())):
        wanted = getattr(settings, name)
        if wanted not in {None, own}:
            where = settings.where(name)
            raise UsageError(f"{where} {wanted}: only root can start workers as somebody else")


def make_log(settings: Settings) -> None:
    """Make the access log, where there is none, before workers open it: at the start, and when
    they open it anew."""
    if settings.access_logfile is not None:
        make_log_file(settings.access_logfile, access_of(settings))


def _check_preload(settings: Settings) -> None:
    for name in ("user", "group"):
        wanted = getattr(settings, name)
        if settings.preload and wanted:
            raise UsageError(
                f"{settings.where('preload')}: the app would be imported as root, and only workers "
                f"are {settings.where(name)} {wanted}; leave one of them out"
            )
