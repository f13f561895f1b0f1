"""The whole of Node's example: the master logs what happens, workers count requests for it."""

from collections import Counter

import trio

import balancer


async def hello(exchange):
    worker = balancer.current_worker()
    await exchange.respond(200, [], b"Hello from worker %d\n" % worker.id)
    await worker.send("request")


async def main():
    counts = Counter()
    async with balancer.open_cluster(hello, interface="native", workers=2) as cluster:
        async for event in cluster.events():
            match event:
                case balancer.Message(worker, "request"):
                    counts[worker.id] += 1
                    print(f"requests: {counts.total()}", flush=True)
                case balancer.Listening(worker, address):
                    print(f"worker {worker.id} listens on {address}", flush=True)
                case balancer.Exit(worker, code, signal):
                    print(f"worker {worker.id} died: {signal or code}", flush=True)


if __name__ == "__main__":
    trio.run(main)
