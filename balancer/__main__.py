"""``python -m balancer``, and the ``balancer`` command."""

from __future__ import annotations

from typing import NoReturn

from balancer.net.early import hold_signals

__all__ = ["main"]


def main() -> NoReturn:
    """Run a command line and leave with its exit code."""
    hold_signals()  # the imports below take a while
    from balancer.cli import main as run

    run.main()


if __name__ == "__main__":
    main()
