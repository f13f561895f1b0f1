"""Orphans are buried, and nobody else's children."""

from __future__ import annotations

import subprocess
import sys

# A subreaper, in a process of its own: this one's children are pytest's.  ``orphan`` starts a child
# in another session that leaves one behind, which ends at once.
SCRIPT = """
import ctypes, os, resource, subprocess, sys, time
import trio
from balancer.master import reaper

assert not reaper.inherits_orphans()
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
assert reaper.inherits_orphans()
reaper.PAUSE = 0.05

def orphan():
    code = "import os\\npid = os.fork()\\nif pid: print(pid, flush=True)\\nos._exit(0)"
    done = subprocess.run([sys.executable, "-c", code], start_new_session=True,
                          capture_output=True, check=True)
    return int(done.stdout)

def is_there(pid):
    return os.path.exists(f"/proc/{pid}")

async def gone(pid):
    with trio.fail_after(10):
        while is_there(pid):
            await trio.sleep(0.01)  # nobody tells

async def main():
    before = orphan()  # ended when nobody was looking yet
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reaper.reap_orphans)
        await gone(before)
        await gone(orphan())
        # a hook's own child, of which it asks much later
        hooks = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
        # trio's own, in another session, as the fork server is
        ours = await trio.lowlevel.open_process(
            [sys.executable, "-c", "raise SystemExit(5)"], start_new_session=True)
        os.waitid(os.P_PID, hooks.pid, os.WEXITED | os.WNOWAIT)
        os.waitid(os.P_PID, ours.pid, os.WEXITED | os.WNOWAIT)
        await gone(orphan())
        await gone(orphan())  # looked a few times
        assert hooks.wait() == 7
        assert await ours.wait() == 5
        # somebody whose pidfd we hold is spared until it is closed
        pid = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], os.environ, setsid=True)
        pidfd = os.pidfd_open(pid)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        await gone(orphan())
        assert is_there(pid)
        os.close(pidfd)
        await gone(pid)
        # without descriptors nobody can look, and nothing ends
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        last = orphan()
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        await trio.sleep(1.1)  # its second look comes after one second
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        await gone(last)
        nursery.cancel_scope.cancel()

trio.run(main)
print("done")
"""


def test_orphans_are_buried_and_nobody_elses_children() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
