"""The threads that apps run in: a bounded number, long-lived, fed first come first served.

A queue hands work to whichever thread is free, without the loop; the loop only counts what is
*outstanding*, because a worker without a free thread shall get no more connections.

A thread can't be stopped.  One that works on the same job for too long is *stuck*: it is given up,
and another takes its place, so that the requests of others go on until this worker is replaced.
If it ever returns, it ends.
"""

from __future__ import annotations

import sys
import threading
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol, final

import trio

from balancer.apps.tracebacks import where
from balancer.errors import AppError

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.apps.wsgi.mailbox import Mailbox

__all__ = ["Job", "Stuck", "ThreadPool"]

MOST_STUCK = 64
"""More of them are not replaced: an app that hangs on every request in a worker that gets no
successor must not start threads for ever."""


class Job(Protocol):
    """Something for a thread to do."""

    def run(self) -> None:
        """Do it, in a thread; raises nothing."""


@final
class _Thread(threading.Thread):
    def __init__(self, pool: ThreadPool, number: int) -> None:
        # A daemon: one that is stuck must not keep the process.
        super().__init__(name=f"wsgi-{number}", daemon=True)
        self._pool = pool
        self.job: Job | None = None
        self.began = 0.0
        self.given_up = False

    def run(self) -> None:
        self._pool.work(self)


@final
class Stuck:
    """A job that a thread has not come back from, and where the thread is."""

    def __init__(self, job: Job, thread: _Thread) -> None:
        frame = sys._current_frames().get(thread.ident or 0)
        self.job = job
        self.thread = thread.name
        self.stack = "  (it has just ended)" if frame is None else where(frame)


@final
class ThreadPool:
    """Runs jobs; everything but ``work`` belongs to the event loop.

    Args:
        size: How many threads.
        mailbox: The way back to the loop.
        on_free: Told how many more jobs could begin at once, whenever that changes.
    """

    def __init__(self, size: int, mailbox: Mailbox, on_free: Callable[[int], None]) -> None:
        self._size = size
        self._mailbox = mailbox
        self._on_free = on_free
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[_Thread] = []
        self._started = 0
        self._outstanding = 0
        self._idle = trio.Event()
        self._now = 0.0
        self.stuck = 0
        """Threads that were given up and have not returned."""

    def start(self) -> None:
        """Start the threads; AppError when there can't be so many."""
        try:
            for _ in range(self._size):
                self._add_thread()
        except RuntimeError as error:  # EAGAIN: RLIMIT_NPROC, a cgroup's pids.max
            self.close()
            raise AppError(f"--threads {self._size}: {error}") from None
        self._tell()

    def submit(self, job: Job) -> None:
        """Run a job as soon as a thread is free."""
        self._outstanding += 1
        self._queue.put(job)
        self._tell()

    def look(self, now: float, longest: float) -> list[Stuck]:
        """Give up every thread that has worked for ``longest`` on its job, and replace it."""
        self._now = now
        found = []
        for thread in self._threads[:]:
            job = thread.job
            if job is None or now - thread.began < longest or not self._give_up(thread, job):
                continue
            found.append(Stuck(job, thread))
        return found

    async def wait_idle(self) -> None:
        """Return when every job is done, but for those that are stuck."""
        while self._outstanding:
            self._idle = trio.Event()
            await self._idle.wait()

    def close(self) -> None:
        """Let the threads end, each after the job it has."""
        for _ in self._threads:
            self._queue.put(None)

    def work(self, thread: _Thread) -> None:
        """In a thread: take jobs and run them, until told to end or given up."""
        done = partial(self._done, thread)
        while (job := self._queue.get()) is not None:
            thread.began = self._now
            thread.job = job
            job.run()
            del job  # it holds the request while this waits for the next
            with self._lock:
                thread.job = None
            self._mailbox.post(done)
            if thread.given_up:
                return

    def _give_up(self, thread: _Thread, job: Job) -> bool:
        with self._lock:
            if thread.job is not job:
                return False  # it has come back just now
            thread.given_up = True
        self._threads.remove(thread)
        self.stuck += 1
        self._outstanding -= 1
        if self.stuck > MOST_STUCK or not self._replaced():
            self._size -= 1
        self._tell()
        return True

    def _replaced(self) -> bool:
        try:
            self._add_thread()
        except RuntimeError:
            return False
        return True

    def _add_thread(self) -> None:
        self._started += 1
        thread = _Thread(self, self._started)
        thread.start()
        self._threads.append(thread)

    def _done(self, thread: _Thread) -> None:
        if thread.given_up:
            self.stuck -= 1
            return
        self._outstanding -= 1
        self._tell()

    def _tell(self) -> None:
        self._on_free(max(0, self._size - self._outstanding))
        if not self._outstanding:
            self._idle.set()
