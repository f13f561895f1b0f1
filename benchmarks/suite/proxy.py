"""Front doors before one nginx: requests/s, what each costs, megabytes, and the wait they add.

Four front doors with two workers each, and the way without any. `wrk -t1 -c64` on kept connections
fetches a small page, then one of a megabyte; the CPU is that of all the front door's processes,
helpers and masters included, the upstream's not. Then an open loop at a moderate rate
(`benchmarks.openloop`) for the latency; what a front door adds is its percentile less the
upstream's own of the same round, in which the generator's error is the same.

**Where our microseconds go.** A profile wants one worker, a load that does not stop, and nothing
else on the machine. 32 clients are one worker's half of 64, and as many as its pool keeps upstream
connections for (`--upstream-idle`): with more, every tenth request pays for a connect. With any
nginx on port 9001, and the third line once the log says that the worker is ready::

    balancer proxy 127.0.0.1:9001 -b 127.0.0.1:9000 -w 1 --keep-alive-requests 0 -n profile &
    wrk -t1 -c32 -d90s http://127.0.0.1:9000/ &
    WORKER=$(balancer status --json -n profile | python3 -c 'import json, sys
    print(json.load(sys.stdin)["workers"][0]["pid"])')

1. User or kernel: ``awk '{print $14, $15}' /proc/$WORKER/stat`` twice, ten seconds apart: ticks of
   10 ms in user code and in the kernel; divided by wrk's requests of that time they are µs.
2. How often: ``timeout 10 strace -c -f -p $WORKER``. A request that is relayed in one step is two
   `recvfrom`, two `sendto` and its share of an `epoll_wait`; what there is beyond that is the first
   thing to look at. strace slows everything, so only the counts count.
3. Which function: ``py-spy record -r 1000 -d 20 -F -f raw -o out.txt -p $WORKER`` writes a line for
   every stack (``-o out.svg`` without ``-f raw`` draws them), and this the self time of each::

       awk '{n = $NF; sub(/ [0-9]+$/, ""); k = split($0, frame, ";"); own[frame[k]] += n; all += n}
            END {for (name in own) printf "%5.1f%% %s\\n", 100 * own[name] / all, name}' out.txt |
           sort -rn | head -30

   py-spy samples by the clock: `EpollIOManager.get_events` is mostly waiting for work. Of the rest,
   the share × the worker's µs per request is about the function's. A system call counts for the
   function that made it; ``--native`` adds the C frames (the matching of heads, sockets).
4. Which part of the kernel: ``perf record -g -p $WORKER sleep 10``, ``perf report --no-children``.
   What hangs below `tcp_sendmsg` (over the loopback it has the other side's receiving in it) nginx
   and HAProxy pay as well.
5. Python and C in one picture: Python 3.12 or newer and ``PYTHONPERFSUPPORT=1 balancer proxy …``,
   whose workers inherit it; then step 4.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, final

from benchmarks import loads, openloop
from benchmarks.compare import Added, Floor
from benchmarks.loadgen import percentile
from benchmarks.runner import Metric

if TYPE_CHECKING:
    from benchmarks.peers import RunningPeer
    from benchmarks.runner import Options, Sample

_MICRO = 1e6
_MILLI = 1e3
_MEGA = 1e-6
_SMALL = "small page, 64 kept connections"
_LARGE = "page of 1 MB, 64 kept connections"
_PACED = "open loop over 32 kept connections"

OURS = "balancer"
NGINX = "nginx"
HAPROXY = "haproxy"
NODE = "node cluster"
DIRECT = "upstream, directly"

FLOORS = (
    Floor("small_rate", OURS, NODE, 1.8, goal=2.2),
    Floor("small_rate", OURS, NGINX, 0.45, goal=0.6),
    Floor("small_rate", OURS, HAPROXY, 0.45, goal=0.6),
    Floor("large_rate", OURS, NGINX, 0.7),
)
ADDED = Added(
    DIRECT, ("p50", "p99", "p999"), "added latency: less the upstream's own, paired per round"
)

# Seconds of the open loop for each of the others: p99.9 of 1,000 a second wants several thousands.
_PACED_FACTOR = 3
# Requests before the first round: Node's compiler is not done before, and at first takes four times
# the CPU. A slow machine has as long as an open loop.
_WARM_UP_REQUESTS = 20_000


@final
class Proxy:
    name = "proxy"
    metrics = (
        Metric("small_rate", "req/s", group=_SMALL),
        Metric("small_cpu", "all µs/req", 1, _MICRO, higher_is_better=False, group=_SMALL),
        Metric("small_p50", "p50 ms", 2, _MILLI, higher_is_better=False, group=_SMALL),
        Metric("small_p99", "p99 ms", 2, _MILLI, higher_is_better=False, group=_SMALL),
        Metric("small_errors", "errors", higher_is_better=False, is_count=True, group=_SMALL),
        Metric("large_rate", "MB/s", 0, _MEGA, group=_LARGE),
        Metric("large_cpu", "all µs/MB", 0, _MICRO / _MEGA, higher_is_better=False, group=_LARGE),
        Metric("large_errors", "errors", higher_is_better=False, is_count=True, group=_LARGE),
        Metric("p50", "p50 ms", 2, _MILLI, higher_is_better=False, group=_PACED),
        Metric("p99", "p99 ms", 2, _MILLI, higher_is_better=False, group=_PACED),
        Metric("p999", "p99.9 ms", 2, _MILLI, higher_is_better=False, group=_PACED),
        Metric("lag", "client's lag p99 ms", 2, _MILLI, higher_is_better=False, group=_PACED),
        Metric("paced_errors", "errors", higher_is_better=False, is_count=True, group=_PACED),
    )

    def workers(self, options: Options) -> int:
        return options.workers

    def warm_up(self, peer: RunningPeer, options: Options) -> None:
        until = time.monotonic() + _PACED_FACTOR * options.duration
        seconds = min(1.0, options.duration)
        loads.front_door(peer.port, seconds, "/large")
        warm = 0
        while warm < _WARM_UP_REQUESTS and time.monotonic() < until:
            warm += loads.front_door(peer.port, seconds).completed

    def sample(self, peer: RunningPeer, options: Options) -> Sample:
        start = peer.cpu()
        small = loads.front_door(peer.port, options.duration)
        after_small = peer.cpu()
        large = loads.front_door(peer.port, options.duration, "/large")
        end = peer.cpu()
        count = max(1, int(options.rate * options.duration * _PACED_FACTOR))
        paced = openloop.run(openloop.Pace(peer.port, options.rate, count))
        return {
            "small_rate": small.per_second,
            "small_cpu": after_small.since(start) / max(1, small.completed),
            "small_p50": small.p50,
            "small_p99": small.p99,
            "small_errors": float(small.errors),
            "large_rate": large.received_per_second,
            "large_cpu": end.since(after_small) / max(1, large.received),
            "large_errors": float(large.errors),
            "p50": paced.percentile(50),
            "p99": paced.percentile(99),
            "p999": paced.percentile(99.9),
            "lag": percentile(paced.lags, 99),
            "paced_errors": float(paced.errors),
        }
