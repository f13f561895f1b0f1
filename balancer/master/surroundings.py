"""What the workers inherit of the master's process, and how the configuration is read again.

``--chdir`` and ``-e`` change the folder and the environment of the master.  The configuration is
read where it was read first: in the folder of the start, and in an environment without what it
has set itself (as gunicorn does).  What else has changed in the environment since, by a hook or
by the file, is there.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from balancer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.hooks import Hooks
    from balancer.settings import Settings

    Read = Callable[[], tuple[Settings, Hooks | None]]
    """Loads flags, environment and file again; raises BalancerError."""

__all__ = ["Surroundings"]


@final
@dataclass(frozen=True, slots=True)
class _Snapshot:
    folder: str | None
    environment: dict[str, str]
    found: dict[str, str | None]


@final
class Surroundings:
    """Settles in where the settings say, and knows the way back.

    Raises:
        UsageError: the folder that we are in has been deleted.
    """

    def __init__(self, read: Read | None = None) -> None:
        self._read = read
        self._start = _here()
        self._found: dict[str, str | None] = {}  # what was there before ours, by name

    @property
    def readable(self) -> bool:
        """Whether there is anything to be read again."""
        return self._read is not None

    def settle_in(self, settings: Settings) -> None:
        """Go to the folder of the settings, and set their variables; the others of ours go.

        Raises:
            UsageError: there is no such folder.
        """
        self._go_back()
        try:
            os.chdir(settings.chdir)
        except OSError as error:
            where = settings.where("chdir")
            raise UsageError(f"{where} {settings.chdir}: {error.strerror}") from None
        if not os.path.isdir(settings.app_dir):
            raise UsageError(f"{settings.where('app_dir')} {settings.app_dir}: no such folder")
        for variable in settings.raw_env:
            name, _, value = variable.partition("=")
            self._found.setdefault(name, os.environ.get(name))
            os.environ[name] = value

    def read(self) -> tuple[Settings, Hooks | None]:
        """Read the configuration again; afterwards the process is where it was read.

        Raises:
            BalancerError: it makes no sense.
        """
        assert self._read is not None
        self._go_back()
        return self._read()

    def _go_back(self) -> None:
        try:
            os.chdir(self._start)
        except OSError as error:
            raise UsageError(f"{self._start}, where this began: {error.strerror}") from None
        for name, value in self._found.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._found = {}

    def note(self) -> _Snapshot:
        """Everything as it is, for ``restore``."""
        return _Snapshot(_folder(), dict(os.environ), dict(self._found))

    def restore(self, snapshot: _Snapshot) -> None:
        """Everything as it was."""
        if snapshot.folder is not None:
            with suppress(OSError):  # it has gone meanwhile, and whoever is in it can stay
                os.chdir(snapshot.folder)
        for name in os.environ.keys() - snapshot.environment.keys():
            del os.environ[name]
        for name, value in snapshot.environment.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        self._found = snapshot.found


def _here() -> str:
    found = _folder()
    if found is None:
        raise UsageError("the current folder has been deleted: start in another one")
    return found


def _folder() -> str | None:
    """Where we are; None when that folder has gone, as after the deployment of the next release."""
    try:
        return os.getcwd()
    except OSError:
        return None
