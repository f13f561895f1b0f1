"""One generating process: a part comes on standard input, its tally leaves on standard output.

Both are pickles of our own.  It lives for many parts, so that a measurement doesn't begin with an
interpreter's start, and ends with its input.
"""

from __future__ import annotations

import pickle
import signal
import sys
from typing import TYPE_CHECKING

from benchmarks.clients import raise_fd_limit
from benchmarks.generator.loop import Loop

if TYPE_CHECKING:
    from typing import BinaryIO


def main(source: BinaryIO, sink: BinaryIO) -> None:
    """Serve parts until EOF: part → ready, start → tally."""
    while True:
        try:
            loop = Loop(pickle.load(source))
            _put(sink, "ready")
            _put(sink, loop.run(pickle.load(source)))
        except (EOFError, BrokenPipeError):
            return


def _put(sink: BinaryIO, what: object) -> None:
    pickle.dump(what, sink)
    sink.flush()


if __name__ == "__main__":
    # The terminal's Ctrl-C is the harness's, which ends us by closing the pipes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise_fd_limit()
    main(sys.stdin.buffer, sys.stdout.buffer)
