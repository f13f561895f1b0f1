"""``python -m balancer.forkserver FD ENTRY``: started by the master, never by a person."""

from __future__ import annotations

import sys

from balancer.forkserver.process import main

if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
