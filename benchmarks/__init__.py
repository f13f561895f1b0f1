"""The benchmark harness: balancer and its peers, side by side, alternating within one run.

`python -m benchmarks handoff|keepalive|memory|respawn|serve|fairness|proxy|idle`. The flow: `peers`
start servers (`apps` is what the ASGI ones run), `loads` drives them (ab, wrk, or `loadgen`), so do
`openloop` (requests on a schedule) and `clients` (who stay and ask for nothing), `measure` reads
what it cost from /proc, `runner` alternates the peers round by round, `compare` sets them against
each other, `report` prints medians and ratios and writes the JSON. Nothing here imports balancer or
the tests: a server is a command line and a port.
"""
