"""Numbers for words that several processes write without a lock.

A counter that two of them raise can go back by one: a process reads 5, sleeps while others write 6
and 7, and writes 6.  The next change writes 7 again, and who had seen that 7 before sees no change.
Time doesn't come back: a late write of an old stamp differs from everything seen before it, and
costs one look for nothing.
"""

from __future__ import annotations

from time import monotonic_ns

__all__ = ["next_stamp"]


def next_stamp(before: int) -> int:
    """A stamp after ``before``, which a coarse clock may not be past yet."""
    return max(monotonic_ns(), before + 1)
