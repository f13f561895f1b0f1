"""Node's first cluster example: an HTTP server in as many workers as there are CPUs."""

import balancer


async def hello(exchange):
    worker = balancer.current_worker()
    await exchange.respond(200, [], b"Hello from worker %d\n" % worker.id)


if __name__ == "__main__":
    balancer.run(hello, interface="native")
