"""The user and group of a process of the master's: what only root may open, is open by then."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

from balancer.errors import RunError
from balancer.net.unix import FileAccess

if TYPE_CHECKING:
    from balancer.settings import Settings

__all__ = ["access_of", "set_umask", "take_on"]


def access_of(settings: Settings) -> FileAccess:
    """For whom the master makes files that workers, or clients, are to use.

    Root gives them to the user and group that workers have, as gunicorn does: who may connect to a
    UNIX socket is then a matter of ``--umask``.
    """
    if os.geteuid() != 0 or (settings.user is None and settings.group is None):
        return FileAccess(settings.umask)
    user = os.geteuid() if settings.user is None else settings.user
    return FileAccess(settings.umask, user, _group_of(user, settings.group))


def _group_of(user: int, group: int | None) -> int:
    """The group that was asked for, else the user's own."""
    if group is not None:
        return group
    try:
        return pwd.getpwuid(user).pw_gid
    except KeyError:
        return os.getegid()


def set_umask(umask: int | None) -> None:
    """Make files with other permissions from now on; None changes nothing."""
    if umask is not None:
        os.umask(umask)


def take_on(user: int | None, group: int | None, *, initgroups: bool = True) -> None:
    """Become another user, for good.  Without a group it is the user's own.

    The supplementary groups are that user's too, or none without ``initgroups``: to keep root's
    would be to keep root's rights.  Groups, group, user, in this order: each step needs what the
    next one gives up.  From root, setgid() and setuid() change the saved ids, too, and the kernel
    takes the capabilities away: there is no way back.

    Raises:
        RunError: only root can, or it is already another user.
    """
    if user is None and group is None:
        return
    try:
        _take_on(os.geteuid() if user is None else user, group, initgroups=initgroups)
    except OSError as error:
        who = " ".join(
            f"{flag} {value}"
            for flag, value in (("--user", user), ("--group", group))
            if value is not None
        )
        raise RunError(f"{who}: a worker can't become that: {error.strerror}") from error


def _take_on(user: int, group: int | None, *, initgroups: bool) -> None:
    group = _group_of(user, group)
    if (user, group) == (os.geteuid(), os.getegid()) and user != 0:
        return
    name = _name_of(user) if initgroups else None
    if name is None:
        os.setgroups([group])
    else:
        os.initgroups(name, group)
    os.setgid(group)
    os.setuid(user)


def _name_of(user: int) -> str | None:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # a number without an entry will do
        return None
