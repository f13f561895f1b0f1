"""The user and group of a process of the master's: what only root may open, is open by then."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress

from balancer.errors import RunError

__all__ = ["take_on"]


def take_on(user: int | None, group: int | None) -> None:
    """Become another user, for good.  Without a group it is the user's own.

    The supplementary groups are that user's too: to keep root's would be to keep root's rights.

    Raises:
        RunError: only root can, or it is already another user.
    """
    if user is None and group is None:
        return
    try:
        _take_on(os.geteuid() if user is None else user, group)
    except OSError as error:
        who = " ".join(
            f"{flag} {value}"
            for flag, value in (("--user", user), ("--group", group))
            if value is not None
        )
        raise RunError(f"{who}: a worker can't become that: {error.strerror}") from error


def _take_on(user: int, group: int | None) -> None:
    name = None
    with suppress(KeyError):  # a number without an entry will do
        entry = pwd.getpwuid(user)
        name, group = entry.pw_name, entry.pw_gid if group is None else group
    if group is None:
        group = os.getegid()
    if (user, group) == (os.geteuid(), os.getegid()) and user != 0:
        return
    if name is None:
        os.setgroups([group])
    else:
        os.initgroups(name, group)
    os.setgid(group)
    os.setuid(user)
