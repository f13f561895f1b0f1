"""A worker's access log: records in, lines out, in batches.

Knows nothing of an event loop: whoever has one calls ``flush`` about every quarter of a second and
``close`` at the end.  A worker that is killed takes its last batch along: at most ``BATCH`` records
or the time between two calls of ``flush``.
"""

from __future__ import annotations

import base64
import logging
import math
import os
import time
from typing import TYPE_CHECKING, final

from balancer.core.accesslog import Constants, Stamp, make_renderer
from balancer.core.logrecord import BATCH
from balancer.core.requestid import RequestIds
from balancer.errors import RunError
from balancer.net.logfile import LogFile
from balancer.settings import TrustedPeers
from balancer.settings.logformat import Atom, parse_log_format

if TYPE_CHECKING:
    from balancer.core.logrecord import Record
    from balancer.core.messages import WorkerConfig

__all__ = ["AccessLog", "new_request_ids", "open_access_log"]

logger = logging.getLogger("balancer")

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def open_access_log(config: WorkerConfig, worker_id: int) -> AccessLog | None:
    """The log that the settings ask for, if they do; RunError when it can't be opened."""
    path = config.access_logfile
    if path is None:
        return None
    trusted = TrustedPeers(config.forwarded_allow_ips)
    ids = new_request_ids(trusted, worker_id)
    constants = Constants(os.getpid(), worker_id, os.environ, trusted, ids, stamp)
    try:
        return AccessLog(LogFile(path), config.access_logformat, constants)
    except OSError as error:
        raise RunError(f"--access-logfile {path}: {error.strerror}") from None


def new_request_ids(trusted: TrustedPeers, worker_id: int) -> RequestIds:
    """Ids that nobody else gives: eight random characters, the worker, and a count."""
    random = base64.b32encode(os.urandom(5)).decode("ascii").lower()
    return RequestIds(f"{random}-{worker_id}-", trusted)


@final
class AccessLog:
    """A ``Sink`` for records whose ``ended`` is of ``time.perf_counter``; owns the file."""

    def __init__(self, file: LogFile, text: str, constants: Constants) -> None:
        self.records: list[Record] = []
        self.wants_heads = any(
            isinstance(piece, Atom) and piece.kind == "o" for piece in parse_log_format(text)
        )
        self._render = make_renderer(text, constants)
        self._file = file

    def add(self, record: Record) -> None:
        """As in ``Sink``."""
        self.records.append(record)
        if len(self.records) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what has come, as far as the file takes it; never waits."""
        if not self.records:
            self._file.retry()
            return
        try:
            lines = self._render(self.records)
        except Exception:  # noqa: BLE001 - said below, for each that is to blame
            lines = b"".join(map(self._render_alone, self.records))
        self.records.clear()
        self._file.write(lines)

    def _render_alone(self, record: Record) -> bytes:
        """One line, if there can be one: an app may have changed what the record refers to."""
        try:
            return self._render([record])
        except Exception as error:  # noqa: BLE001 - a line less is no reason to stop serving
            logger.error("access log: a line was lost: %s: %s", type(error).__name__, error)
            return b""

    def reopen(self) -> None:
        """The file has been renamed: go on in a new one."""
        self.flush()
        self._file.reopen()

    def close(self) -> None:
        """Write the rest; a pipe whose reader is slow gets half a second.  Idempotent."""
        self.flush()
        self._file.close()


def stamp(ended: float) -> Stamp:
    """The second that a time of ``perf_counter`` is in.

    The wall clock is asked once a second, as it may be set.
    """
    offset = time.time() - time.perf_counter()
    second = math.floor(ended + offset)
    return Stamp(show_time(time.localtime(second)), second - offset, second - offset + 1)


def show_time(at: time.struct_time) -> str:
    """A time as the Common Log Format has it; strftime's names depend on the locale."""
    minutes = at.tm_gmtoff // 60
    sign = "-" if minutes < 0 else "+"
    hours, minutes = divmod(abs(minutes), 60)
    return (
        f"[{at.tm_mday:02}/{MONTHS[at.tm_mon - 1]}/{at.tm_year}:"
        f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} {sign}{hours:02}{minutes:02}]"
    )
