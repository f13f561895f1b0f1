"""Asking the machine's name servers.

By dnspython, since it knows what we would have to write: the format, search domains, several
servers and their time-outs, TCP for what doesn't fit into a datagram.  ``getaddrinfo`` tells no TTL
and can't be interrupted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.SOA
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.resolver
import trio

from balancer.upstream.watcher.answers import Answer, Failed

if TYPE_CHECKING:
    from dns.rdatatype import RdataType

__all__ = ["Resolver"]

# dnspython imports this, and the records' types above, when it needs them first; by then this
# process may be a user's who may not read the files.
BACKEND = dns.asyncbackend.get_backend("trio")
AT_ONCE = 32
"""Questions at a time: each is a socket."""
PATIENCE = 5.0
"""Seconds for an answer, over all servers and search domains."""


@final
class Resolver:
    """Asks; owns nothing between two questions.

    Args:
        path: A file like /etc/resolv.conf, which is read for every question: it changes when a
            machine changes its network.
        port: Where its name servers listen.
    """

    def __init__(self, path: str, port: int) -> None:
        self._path = path
        self._port = port
        self._limit = trio.CapacityLimiter(AT_ONCE)

    async def ask(self, name: str, kind: RdataType) -> Answer | Failed:
        """The A or the AAAA records of a name; none is an answer, too."""
        async with self._limit:
            try:
                return await self._ask(name, kind)
            except dns.resolver.NXDOMAIN:
                return Failed("there is no such name")
            except dns.resolver.NoResolverConfiguration:
                return Failed(f"{self._path} names no name server")
            except dns.resolver.LifetimeTimeout:
                return Failed("no name server answers in time")
            except dns.exception.DNSException:
                return Failed("no name server knows an answer")
            except OSError as error:
                return Failed(error.strerror or str(error))

    async def _ask(self, name: str, kind: RdataType) -> Answer:
        resolver = dns.asyncresolver.Resolver(self._path)
        resolver.port = self._port
        answer = await resolver.resolve(
            name, kind, search=True, raise_on_no_answer=False, lifetime=PATIENCE, backend=BACKEND
        )
        # the shortest TTL of the chain of aliases; without an answer, that of there being none
        ttl = answer.chaining_result.minimum_ttl
        return Answer(tuple(record.address for record in answer.rrset or ()), ttl)
