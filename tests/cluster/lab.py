"""A cluster in the test's own process, and clients for it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import trio

import balancer
from balancer import Event, Listening, Message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from balancer import Cluster, Subscription, Worker

APP = "asgi:tests.cluster.apps:app"
DEADLINE = 15.0

_E = TypeVar("_E", bound=Event)


@asynccontextmanager
async def cluster(*apps: object, **settings: Any) -> AsyncIterator[Cluster]:  # noqa: ANN401
    """``open_cluster`` on a port of the kernel's choice; everything in it has a deadline."""
    given: dict[str, Any] = {"workers": 1, "log_level": "critical", "graceful_timeout": 5}
    if not any(isinstance(app, balancer.Server) for app in apps):
        given["bind"] = "127.0.0.1:0"
    with trio.fail_after(DEADLINE):
        async with balancer.open_cluster(*(apps or (APP,)), **(given | settings)) as opened:
            yield opened


async def get(cluster: Cluster, path: str = "/", *, address: int = 0) -> str:
    """The body of an answer; the connection is closed then."""
    stream = await connect(cluster, path, address=address)
    return await answer(stream)


async def connect(cluster: Cluster, path: str = "/", *, address: int = 0) -> trio.abc.Stream:
    """A connection that has sent its request."""
    where = cluster.addresses[address]
    stream: trio.abc.Stream
    if where.path is not None:
        stream = await trio.open_unix_socket(where.path)
    else:
        assert where.host is not None
        assert where.port is not None
        stream = await trio.open_tcp_stream(where.host, where.port)
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    await stream.send_all(request.encode())
    return stream


async def hold(cluster: Cluster, events: Subscription[Event]) -> trio.abc.Stream:
    """A connection whose request is being processed until its worker is told to release it."""
    stream = await connect(cluster, "/hold")
    assert (await until(events, Message)).data == "held"
    return stream


async def answer(stream: trio.abc.Stream) -> str:
    """The body of what comes until the end."""
    with trio.fail_after(DEADLINE):
        async with stream:
            data = b"".join([part async for part in stream])
    head, _, body = data.partition(b"\r\n\r\n")
    if b"chunked" in head:
        body = body.split(b"\r\n")[1]
    return body.decode()


async def until(events: Subscription[Event], kind: type[_E], worker: Worker | None = None) -> _E:
    """The next event of a kind, perhaps of one worker; the ones before are let go."""
    async for event in events:
        if isinstance(event, kind) and worker in {None, event.worker}:
            return event
        event.drop()
    raise AssertionError(f"the cluster ended without {kind.__name__}")


async def listening(events: Subscription[Event], count: int) -> list[Worker]:
    """The next workers that listen, in the order in which they do."""
    return [(await until(events, Listening)).worker for _ in range(count)]


async def ask(events: Subscription[Event], worker: Worker, do: str, **words: Any) -> Any:  # noqa: ANN401
    """What a worker answers to a message."""
    assert await worker.send({"do": do, **words})
    return (await until(events, Message, worker)).data


async def rest(events: Subscription[Event]) -> list[Event]:
    """Everything until the cluster's end."""
    return [event async for event in events]


def names(events: list[Event], worker: Worker | None = None) -> list[str]:
    """The kinds of events, in words."""
    return [type(each).__name__ for each in events if worker in {None, each.worker}]
