"""What an ASGI app can learn of its request's id."""

from __future__ import annotations

from balancer.apps.asgi import AsgiConfig
from balancer.apps.asgi.scope import make_scope
from balancer.core.requestid import RequestIds
from balancer.http1 import Exchange, Http1Config
from balancer.settings import TrustedPeers
from tests.http1.fakes import answer_to

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_the_id_of_the_scope_is_that_of_the_log() -> None:
    config = AsgiConfig("app", "off", "", TrustedPeers(()))
    seen = []

    async def handler(exchange: Exchange) -> None:
        for websocket in (False, True):
            scope = make_scope(exchange, config, {}, websocket=websocket)
            seen.append(scope["extensions"]["balancer.request_id"]["get"]())
        assert seen[-1] == exchange.request_id
        await exchange.respond(204)

    await answer_to(handler, GET * 2, config=Http1Config(ids=RequestIds("w-")))
    assert seen == ["w-1", "w-1", "w-2", "w-2"]
