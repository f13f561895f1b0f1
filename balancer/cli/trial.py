"""Whether the apps of a configuration can be imported: tried in a process that nobody will miss.

What an app does when it is imported is anybody's guess: it may block, end the process, or start
threads.  So it is done by a child of a session of its own (``python -m balancer.cli.trial``), which
gets the names on its standard input and says what is wrong on a pipe; the server does it in its
workers for the same reason.  The child finds apps the way a worker does, factories included.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from balancer.core.messages import WorkerConfig
from balancer.errors import AppError, BalancerError, ExitCode, UsageError
from balancer.settings.units import show_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balancer.settings import Settings

__all__ = ["check_folders", "try_apps"]


def check_folders(settings: Settings) -> list[BalancerError]:
    """The folders that the server would look into, as seen from here."""
    chdir = settings.chdir
    if not os.path.isdir(chdir):
        return [UsageError(f"{settings.where('chdir')} {chdir}: there is no such folder")]
    if not os.path.isdir(os.path.join(chdir, settings.app_dir)):
        where = settings.where("app_dir")
        return [UsageError(f"{where} {settings.app_dir}: there is no such folder")]
    return []


def try_apps(settings: Settings) -> list[BalancerError]:
    """What is wrong with the apps; they have as long as a worker has to start."""
    servers = [each.settings for each in settings.services] or [settings]
    configs = [
        WorkerConfig(
            app=each.app, interface=each.interface, factory=each.factory, app_dir=each.app_dir,
            user=each.user, group=each.group, initgroups=each.initgroups, umask=each.umask,
        )
        for each in servers
        if each.app is not None
    ]  # fmt: skip
    return _ask_child(settings, configs) if configs else []


def _ask_child(settings: Settings, configs: Sequence[WorkerConfig]) -> list[BalancerError]:
    names = ", ".join(str(each.app) for each in configs)
    with open(os.memfd_create("answer"), "rb") as answer:  # a pipe would be full at some time
        code = _run_child(settings, configs, answer.fileno())
        answer.seek(0)
        said = answer.read()
    if code is None:
        limit = f"{show_duration(settings.boot_timeout)} ({settings.where('boot_timeout')})"
        return [AppError(f"app {names}: is not imported after {limit}")]
    if code != ExitCode.OK or not said:
        return [AppError(f"app {names}: ends the process that imports it, {_how(code)}")]
    return [AppError(*each) for each in msgspec.msgpack.decode(said, type=list[tuple[str, str]])]


def _run_child(settings: Settings, configs: Sequence[WorkerConfig], answer: int) -> int | None:
    """Its exit code; None when it had to be killed."""
    with subprocess.Popen(
        [sys.executable, "-m", "balancer.cli.trial", str(answer)],
        stdin=subprocess.PIPE,
        stdout=2,  # what the app prints is none of our answer
        pass_fds=[answer],
        cwd=settings.chdir,
        env={**os.environ, **dict(each.split("=", 1) for each in settings.raw_env)},
        start_new_session=True,
    ) as child:
        ended = False
        try:
            with suppress(BrokenPipeError):
                assert child.stdin is not None
                child.stdin.write(msgspec.msgpack.encode(configs))
                child.stdin.close()
            ended = _ends(child.pid, settings.boot_timeout)
        finally:
            # Whoever the app has started goes with it.  It isn't reaped yet, so that the number is
            # still its own.
            os.killpg(child.pid, signal.SIGKILL)
        code = child.wait()
    return code if ended else None


def _ends(pid: int, seconds: float) -> bool:
    """Whether a child ends in time; it is left a zombie."""
    with open(os.pidfd_open(pid), "rb") as pidfd:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))


def _how(code: int) -> str:
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"


# -- the child ------------------------------------------------------------------------------------


def main(answer: int) -> None:
    """Find each app, and write down what is wrong with them."""
    from balancer.net.identity import set_umask, take_on
    from balancer.worker.app import find_app

    configs = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=list[WorkerConfig])
    wrong: list[BalancerError] = []
    try:
        set_umask(configs[0].umask)
        take_on(configs[0].user, configs[0].group, initgroups=configs[0].initgroups)
        for config in configs:
            try:
                find_app(config)
            except AppError as error:
                wrong.append(error)
    except BalancerError as error:
        wrong.append(error)
    # the traceback is below the sentence
    said = [str(error).partition("\n") for error in wrong]
    os.write(answer, msgspec.msgpack.encode([(first, rest) for first, _, rest in said]))
    # an app's threads, and what it wants to do at the end of a process, are not waited for
    os._exit(ExitCode.OK)


if __name__ == "__main__":
    main(int(sys.argv[1]))
