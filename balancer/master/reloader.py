"""``--reload``: when a file of the app changes, the server reloads, as on SIGHUP.

For development.  The files are watched by watchfiles (inotify in a thread, nothing polls), and what
follows is the rolling restart: a new fork server reads the code again, and a worker is replaced
when its successor is ready.  So a file saved with a mistake in it costs a traceback, not the
server, and the next change tries again.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, final

import trio

from balancer.errors import RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from balancer.settings import Settings

__all__ = ["FileFilter", "check_reload", "watch_files"]

logger = logging.getLogger("balancer")

INCLUDE = ("*.py",)
EXCLUDE = (".*", "~*", "*~", "__pycache__", "*.py[cod]")
DEBOUNCE = 300
"""Milliseconds for which changes are collected: an editor, and git, write more than one file."""
STEP = 50
"""Milliseconds of quiet after which they are taken to be complete."""


def check_reload(settings: Settings) -> None:
    """UsageError where files can't be watched."""
    if not settings.reload:
        return
    if find_spec("watchfiles") is None:
        where = settings.where("reload")
        raise UsageError(f"{where}: needs watchfiles; run: pip install 'balancer[reload]'")
    name = "reload_dir" if settings.reload_dir else "app_dir"
    for folder in settings.reload_dir or (settings.app_dir,):
        if not Path(folder).is_dir():
            raise UsageError(f"{settings.where(name)} {folder}: there is no such folder")


async def watch_files(settings: Settings, reload: Callable[[], Awaitable[None]]) -> None:
    """Call ``reload`` whenever files have changed, until cancelled."""
    from watchfiles import awatch

    stop = trio.Event()
    folders = _folders(settings)
    wanted = FileFilter(folders, settings.reload_include, settings.reload_exclude)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_accompany, folders, stop)
        try:
            async for changes in awatch(
                *folders,
                watch_filter=lambda _, path: path in wanted,
                debounce=DEBOUNCE,
                step=STEP,
                stop_event=stop,
                ignore_permission_denied=True,
            ):
                logger.info("%s changed: reloading", _names(path for _, path in changes))
                with suppress(RunError):  # it is stopping
                    await reload()
        except (OSError, RuntimeError) as error:  # no inotify watches left; the folder has gone
            where = settings.where("reload")
            logger.error("%s: files can't be watched, reload by hand: %s", where, error)
        nursery.cancel_scope.cancel()


async def _accompany(folders: list[str], stop: trio.Event) -> None:
    # this runs for the first time when awatch waits, and so watches
    logger.info("watching %s for changes", ", ".join(folders))
    # The thread that watches hears of no cancellation (trio waits for it, for up to five seconds),
    # but it looks at this every STEP.
    try:
        await trio.sleep_forever()
    finally:
        stop.set()


def _folders(settings: Settings) -> list[str]:
    return [os.path.realpath(each) for each in settings.reload_dir or (settings.app_dir,)]


@final
class FileFilter:
    """The files that matter: uvicorn's patterns, matched against names.

    What a user includes is added to ``*.py``, and to what is excluded what a user excludes; a
    pattern that is named on one side counts no longer on the other.  A folder that is excluded is
    so with everything in it.
    """

    def __init__(
        self, folders: Iterable[str], include: Iterable[str], exclude: Iterable[str]
    ) -> None:
        include, exclude = tuple(include), tuple(exclude)
        self._folders = [PurePath(folder) for folder in folders]
        self._include = (*(each for each in INCLUDE if each not in exclude), *include)
        self._exclude = (*(each for each in EXCLUDE if each not in include), *exclude)

    def __contains__(self, path: str) -> bool:
        found = PurePath(path)
        return _matches(found, self._include) and not any(
            _matches(each, self._exclude) for each in (found, *self._parents(found))
        )

    def _parents(self, path: PurePath) -> Iterable[PurePath]:
        """The folders between a file and the folder that is watched."""
        for parent in path.parents:
            if parent in self._folders:
                break
            yield parent


def _matches(path: PurePath, patterns: Iterable[str]) -> bool:
    return any(path.match(pattern) for pattern in patterns)


def _names(paths: Iterable[str]) -> str:
    names = sorted({os.path.relpath(path) for path in paths})
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
