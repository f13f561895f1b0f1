"""balancer's half of node_api.js: the same commands and the same lines, by way of the library.

The workers import this file too, for the app in it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

import balancer
from balancer import current_worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from balancer import Cluster, CurrentWorker, Event, Worker

    Message = MutableMapping[str, Any]


def main(listeners: int) -> None:
    """Be the master."""
    trio.run(serve, listeners)


async def serve(listeners: int) -> None:
    binds = ["127.0.0.1:0"] * listeners
    async with (
        balancer.open_cluster(
            app, workers=0, bind=binds, recall=None, log_level="error"
        ) as cluster,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(tell, cluster)
        everybody: dict[int, Worker] = {}
        async with trio.lowlevel.FdStream(os.dup(0)) as lines:
            buffer = b""
            async for data in lines:
                *complete, buffer = (buffer + data).split(b"\n")
                for line in complete:
                    command, *words = line.decode().split(" ")
                    if command == "disconnect-all":
                        nursery.start_soon(disconnect_all, cluster, everybody)
                    else:  # in the order in which they are said
                        await obey(cluster, everybody, command, words)
        nursery.cancel_scope.cancel()


async def tell(cluster: Cluster) -> None:
    async for event in cluster.events():
        name = type(event).__name__.lower()
        say("event", {"name": name, "worker": event.worker.id, **more(event)})


def more(event: Event) -> dict[str, object]:
    match event:
        case balancer.Listening(_, address):
            return {"port": address.port}
        case balancer.Message(_, data):
            return {"data": data}
        case balancer.Disconnect(worker):
            return {"voluntary": worker.exited_after_disconnect}
        case balancer.Exit(_, code, number, voluntary):
            return {"code": code, "signal": number and number.name, "voluntary": voluntary}
    return {}


async def obey(
    cluster: Cluster, everybody: dict[int, Worker], command: str, words: list[str]
) -> None:
    if command == "fork":
        env = json.loads(" ".join(words))
        limit = env.get("LIMIT")
        worker = cluster.fork(env, worker_connections=limit and int(limit))
        everybody[worker.id] = worker
    elif command == "disconnect":
        everybody[int(words[0])].disconnect()
    elif command == "kill":
        everybody[int(words[0])].kill(signal.Signals[words[1]])
    elif command == "send":
        await everybody[int(words[0])].send(json.loads(" ".join(words[1:])))
    elif command == "kill-and-send":
        worker = everybody[int(words[0])]
        worker.kill(signal.SIGKILL)
        time.sleep(0.1)  # noqa: ASYNC251 - nobody may see meanwhile that it is dead
        say("sent", await worker.send("hello?"))
    elif command == "workers":
        say("workers", list(cluster.workers))


async def disconnect_all(cluster: Cluster, everybody: dict[int, Worker]) -> None:
    await cluster.disconnect()
    say("disconnected", [each.id for each in everybody.values() if not each.is_dead])


def say(word: str, value: object) -> None:
    print(word, json.dumps(value), flush=True)


# -- in a worker ------------------------------------------------------------------------------


async def app(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    worker = current_worker()
    assert worker is not None
    if scope["type"] == "lifespan":
        await receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear, worker)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            nursery.cancel_scope.cancel()
        await send({"type": "lifespan.shutdown.complete"})
        return
    _, verb, *argument = scope["path"].split("/")
    if verb == "sleep":
        await trio.sleep(float(argument[0]))
    elif verb == "block":
        time.sleep(float(argument[0]))  # noqa: ASYNC251 - it is to block
    body = f"Hello from worker {worker.id} (pid {os.getpid()})\n".encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def hear(worker: CurrentWorker) -> None:
    address = worker.addresses[0]
    async for mail in worker.messages():
        if not isinstance(mail.data, dict):
            continue
        words = dict(mail.data)
        what = words.pop("do")
        if what == "close":
            worker.close(address)
        elif what == "listen":
            worker.listen(address)
        elif what == "disconnect":
            await worker.disconnect()
        elif what == "echo":
            await worker.send(words)
        elif what == "block and close":
            await worker.send("blocking")
            await trio.testing.wait_all_tasks_blocked()  # it has been written
            time.sleep(words["seconds"])  # noqa: ASYNC251 - it is to block
            worker.close(address)


if current_worker() is not None and (gate := os.environ.get("GATE")):
    while not Path(gate).exists():
        time.sleep(0.01)

if __name__ == "__main__":
    main(int(sys.argv[1]))
