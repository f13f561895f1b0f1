"""The policies for upstreams by name, and what the text of ``--upstream-policy`` means.

    round-robin | least-connections | p2c | random | ewma | first
    hash:ip | hash:uri | hash:header:NAME | hash:cookie:NAME

Reading the text and making the policy are two steps, because a wrong text must be found before the
port is bound, and the policy is made in each worker.  The policy never sees what its key is made
of: ``PolicyChoice`` says so to whoever has the request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, final

from balancer.core.policy.ewma import Ewma
from balancer.core.policy.first import First
from balancer.core.policy.least_connections import LeastConnections
from balancer.core.policy.p2c import P2C
from balancer.core.policy.random_choice import RandomChoice
from balancer.core.policy.rendezvous import Rendezvous
from balancer.core.policy.smooth_weighted import SmoothWeighted

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.core.policy import Policy

__all__ = ["UPSTREAM_POLICIES", "KeySource", "PolicyChoice", "make_policy", "parse_policy"]

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


UPSTREAM_POLICIES: dict[str, Callable[[Callable[[], float], Callable[[int], bytes]], Policy]] = {
    "round-robin": lambda _random, _name_of: SmoothWeighted(),
    "least-connections": lambda _random, _name_of: LeastConnections(),
    "p2c": lambda random, _: P2C(random),
    "random": lambda random, _: RandomChoice(random),
    "hash": lambda _, name_of: Rendezvous(name_of),
    "ewma": lambda _random, _name_of: Ewma(),
    "first": lambda _random, _name_of: First(),
}
"""What makes each policy, from a source of numbers in [0, 1) and the members' names."""

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
    if name not in UPSTREAM_POLICIES:
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


def make_policy(
    choice: PolicyChoice, random: Callable[[], float], name_of: Callable[[int], bytes]
) -> Policy:
    """The policy that was chosen.

    Args:
        choice: From ``parse_policy``.
        random: A source of random numbers in [0, 1).
        name_of: The address of an endpoint as text, which is the same on every machine.
    """
    return UPSTREAM_POLICIES[choice.name](random, name_of)
