"""balancer itself, from this checkout or another one."""

from __future__ import annotations

import os
import subprocess
import sys
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, final

from benchmarks.peers.base import MissingPeerError, Peer, port_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.process import ServerProcess

_ROOT = Path(__file__).resolve().parents[2]
# By its folder, so that another checkout runs this app and not one of its own.
_APP = ("apps:app", "--app-dir", str(_ROOT / "benchmarks"))


class BalancerPeer(Peer):
    """`python -m balancer …`; `checkout` is the folder whose package runs (default: this one)."""

    ready_line = r"worker \d+.*\bready\b"

    def __init__(self, checkout: Path | None = None, variant: str = "") -> None:
        self._checkout = (checkout or _ROOT).resolve()
        name = "balancer" if checkout is None else f"balancer@{_revision(self._checkout)}"
        self.name = f"{name} {variant}".rstrip()

    @abstractmethod
    def subcommand(self) -> list[str]:
        """The subcommand, with its arguments and options."""

    def command(self, workers: int, folder: Path) -> list[str]:
        if not (self._checkout / "balancer" / "__main__.py").exists():
            raise MissingPeerError(f"no balancer package in {self._checkout}")
        where = ["-b", "127.0.0.1:0", "--control", str(folder / "control.sock")]
        program = [sys.executable, "-m", "balancer"]
        return [*program, *self.subcommand(), "-w", str(workers), *where]

    def environment(self) -> dict[str, str]:
        inherited = os.environ.get("PYTHONPATH", "")
        return {"PYTHONPATH": f"{self._checkout}{os.pathsep}{inherited}".rstrip(os.pathsep)}

    def working_directory(self) -> Path:
        # `python -m` looks in the working directory first, before PYTHONPATH.
        return self._checkout

    def wait_started(self, process: ServerProcess) -> int:
        line = process.wait_for_line(r"listening on http://", deadline=20.0)
        process.wait_for_line(r"ready: \d+ workers?", deadline=20.0)
        return port_in(r"listening on http://\S*:(\d+)", line.text)


@final
class Balancer(BalancerPeer):
    """`balancer serve` with the demo app, or with that of `benchmarks.apps`.

    `arguments` are added to the command line, and `variant`, which tells what they are about, to
    the name.
    """

    def __init__(
        self,
        checkout: Path | None = None,
        arguments: Sequence[str] = (),
        *,
        with_app: bool = False,
        variant: str = "",
    ) -> None:
        super().__init__(checkout, variant)
        self._arguments = [*(_APP if with_app else ()), *arguments]
        self.hands_over = not {"shared", "reuseport"} & set(arguments)

    def subcommand(self) -> list[str]:
        return ["serve", *self._arguments]


def _revision(checkout: Path) -> str:
    argv = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return checkout.name
    return done.stdout.strip() or checkout.name
