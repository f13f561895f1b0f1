"""``python -m balancer.upstream.watcher FD``: started by the master, never by a person."""

from __future__ import annotations

import sys

from balancer.upstream.watcher.process import main

if __name__ == "__main__":
    main(int(sys.argv[1]))
