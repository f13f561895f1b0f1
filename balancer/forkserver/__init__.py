"""The fork server: starts the workers, is their parent, and outlives nobody's mistake.

A small single-threaded process, in a session of its own, so that the terminal's signals reach the
master only.  It imports the libraries once and forks workers from that: 6 ms from start to ready,
where a spawned interpreter needs a multiple of that before its first import.  The master talks to
it over one socket pair and never blocks on it.

Why not multiprocessing's own forkserver context: its sentinels are held by the forkserver, so
killing that one process reports every living worker dead; there is one per process, so code can't
be read again; its preload swallows ImportError; and ``start()`` blocks the caller's event loop.
What is used of multiprocessing is ``get_context("fork").Process``: its bootstrap runs the
after-fork hooks and exit handlers that apps with pools of their own rely on.

If it dies, the workers go on: the master has a pidfd of each, starts a new fork server and gives it
those pidfds to guard.  If the *master* dies, workers see EOF and drain; the fork server sees it
too, waits the graceful timeout, and kills what is left, because a worker that is blocked, holds the
GIL or is stopped by a signal reads no EOF.  (PDEATHSIG would follow the thread that forked, not the
process, and would kill what should drain.)
"""
