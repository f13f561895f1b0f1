"""Node's cluster module for Python, and a front-door proxy built on it.

One connection's way through the package:

    net.listener      the master accepts it, in batches, without blocking
    core.scheduler    decides which worker gets it (``core.policy``: who of the free ones)
    net.handoff       SCM_RIGHTS over the worker's socket pair; the master keeps a copy
    worker            acknowledges it *before* touching it; the master drops its copy
    http1             reads the requests on it and writes the responses
    apps              answers them

Around that way: ``forkserver`` starts worker processes, ``master`` supervises them, ``net.slots``
carries their counters, ``cli`` and ``settings`` are what a user sees.  Imports run downward only;
everything in ``core`` is pure.
"""

__version__ = "0.1.0"
