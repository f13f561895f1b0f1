"""What the texts of ``--policy`` and ``--upstream-policy`` mean.

``--policy``, which the master makes, is a name or a class of the user's::

    round-robin | least-connections | p2c | updown | random | weighted | source-hash | first
    shared | reuseport
    module:Class

``--upstream-policy`` may say what its key is made of::

    round-robin | least-connections | p2c | random | ewma | first
    hash:ip | hash:uri | hash:header:NAME | hash:cookie:NAME

A wrong text must be found before the port is bound, and this policy is made in each worker
(``core.policy``).  It never sees what its key is made of: ``PolicyChoice`` says so to whoever has
the request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import final

__all__ = [
    "NAMES",
    "WEIGHED",
    "WORKER_NAMES",
    "KeySource",
    "OwnPolicy",
    "PolicyChoice",
    "check_policy",
    "check_worker_policy",
    "parse_own",
    "parse_policy",
]

WORKER_NAMES = (
    "round-robin", "least-connections", "p2c", "updown", "random", "weighted", "source-hash",
    "first", "shared", "reuseport",
)  # fmt: skip
"""Those of ``core.policy.POLICIES`` and ``KERNEL_POLICIES``."""
WEIGHED = frozenset({"least-connections", "p2c", "random", "weighted", "source-hash"})
"""Those of them for which the weight of a worker means something."""
NAMES = frozenset({
    "round-robin", "least-connections", "p2c", "random", "hash", "ewma", "first",
})  # fmt: skip
"""Those of ``core.policy.UPSTREAM_POLICIES``."""
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch  # RFC 9110 5.6.2


class KeySource(Enum):
    """What of a request is the key of a hash."""

    IP = "ip"  # the client's address
    HEADER = "header"
    COOKIE = "cookie"
    URI = "uri"  # path and query


@final
@dataclass(frozen=True, slots=True)
class PolicyChoice:
    """What the user has chosen: a name of ``UPSTREAM_POLICIES``, and for ``hash`` the key.

    ``key_name`` is the header's name in lower case, or the cookie's as it was given; else empty.
    """

    name: str
    key_source: KeySource | None = None
    key_name: str = ""

    def __str__(self) -> str:
        """As on the command line."""
        parts = [self.name, self.key_source.value if self.key_source else "", self.key_name]
        return ":".join(part for part in parts if part)


@final
@dataclass(frozen=True, slots=True)
class OwnPolicy:
    """A policy of the user's: ``attr`` of ``module``, a class or whatever makes one."""

    module: str
    attr: str


def parse_own(text: str) -> OwnPolicy | None:
    """What a ``--policy`` names when it is the user's own; None where it is a name of ours."""
    module, colon, attr = text.partition(":")
    return OwnPolicy(module, attr) if colon else None


def check_worker_policy(text: str) -> str:
    """``text`` itself, when it can be a ``--policy``; else ``ValueError``."""
    if text in WORKER_NAMES:
        return text
    own = parse_own(text)
    if own is None:
        raise ValueError(
            f"must be one of {', '.join(WORKER_NAMES)}, or module:Class for one of your own"
        )
    if not _dotted(own.module) or not _dotted(own.attr):
        raise ValueError("not module:Class, as a policy of your own is written")
    return text


def _dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


_KEYS = "hash:ip, hash:header:NAME, hash:cookie:NAME or hash:uri"
_ALL = (
    "must be one of round-robin, least-connections, p2c, random, "
    "hash:ip, hash:header:NAME, hash:cookie:NAME, hash:uri, ewma, first"
)


def parse_policy(text: str) -> PolicyChoice:
    """What a policy's text means.

    Raises:
        ValueError: There is no such policy, or something is wrong with the key of a hash.
    """
    name, colon, key = text.partition(":")
    if name not in NAMES:
        raise ValueError(_ALL)
    if name == "hash":
        return _parse_hash(key)
    if colon:
        raise ValueError(f"{name} takes nothing after it; only hash has a key: {_KEYS}")
    return PolicyChoice(name)


def _parse_hash(key: str) -> PolicyChoice:
    word, colon, name = key.partition(":")
    if not word:
        raise ValueError(f"hash needs a key; write {_KEYS}")
    try:
        source = KeySource(word)
    except ValueError:
        raise ValueError(f"can't hash by {word!r}; write {_KEYS}") from None
    if source in (KeySource.IP, KeySource.URI):
        if colon:
            raise ValueError(f"hash:{word} takes no name; write hash:{word}")
        return PolicyChoice("hash", source)
    if not name:
        raise ValueError(f"hash:{word} needs the {word}'s name; write hash:{word}:NAME")
    if not _TOKEN(name):
        raise ValueError(f"{name!r} can't be a {word}'s name; write hash:{word}:NAME")
    return PolicyChoice("hash", source, name.lower() if source is KeySource.HEADER else name)


def check_policy(text: str) -> str:
    """``text`` itself, when ``parse_policy`` would take it; else ``ValueError``."""
    parse_policy(text)
    return text
