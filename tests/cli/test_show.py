"""``balancer status`` as people see it."""

from __future__ import annotations

from click import unstyle

from balancer.cli.show import show_status
from balancer.core.control import (
    Failure,
    ForkServerStatus,
    ListenerStatus,
    MasterStatus,
    Status,
    UpstreamStatus,
    WorkerStatus,
)

FAILURE = Failure(11, 4261, 65.7, "exited with 3", "Traceback …\nKeyError: 'DATABASE'\n")


def test_the_whole() -> None:
    status = Status(
        MasterStatus(4242, "0.1.0", 3725.9, "round-robin", "running"),
        [
            WorkerStatus(1, 1, 4250, "ready", 3, 1200, 56789, 0, 0.04, 23 << 20),
            WorkerStatus(12, 2, None, "backoff", 0, 0, 0, 11, None, None, FAILURE),
        ],
        [
            ListenerStatus("127.0.0.1:8000", 0, 1200, 1, 2),
            ListenerStatus("unix:/run/b.sock", 10, 5, 0, 0),
        ],
        ForkServerStatus(4243, 20 << 20, 11 << 20),
    )
    assert unstyle(show_status(status)).splitlines() == [
        "balancer 0.1.0 · running · pid 4242 · up 1h2m5s · round-robin",
        "",
        "WORKER  SLOT  STATE     PID  ACTIVE  ACCEPTED  REQUESTS  RESTARTS  HEARTBEAT    RSS",
        "     1     1  ready    4250       3      1200     56789         0       0.0s  23.0M",
        "    12     2  backoff     -       0         0         0        11          -      -",
        "",
        "slot 2, 1m5s ago: worker 11 (pid 4261) exited with 3: KeyError: 'DATABASE'",
        "",
        "LISTENER          QUEUED  ACCEPTED  REFUSED  RECALLED",
        "127.0.0.1:8000         0      1200        1         2",
        "unix:/run/b.sock      10         5        0         0",
        "",
        "fork server · pid 4243 · RSS 20.0M · PSS 11.0M",
    ]


def test_the_least() -> None:
    status = Status(MasterStatus(1, "x", 0.2, "shared", "starting"), [], [], ForkServerStatus(None))
    assert unstyle(show_status(status)).splitlines() == [
        "balancer x · starting · pid 1 · up 0s · shared",
        "",
        "WORKER  SLOT  STATE  PID  ACTIVE  ACCEPTED  REQUESTS  RESTARTS  HEARTBEAT  RSS",
        "",
        "LISTENER  QUEUED  ACCEPTED  REFUSED  RECALLED",
        "",
        "fork server · not running",
    ]


def test_a_proxy() -> None:
    status = Status(
        MasterStatus(1, "x", 0.2, "round-robin", "running"),
        [],
        [],
        None,
        [
            UpstreamStatus("10.0.0.1:80", "http://a:80", "ready", False, 2, 10, 3, 1000, 4, 1),
            UpstreamStatus("[::1]:80", "http://b:80", "down", True, 1, 0, 0, 0, 0, 0, "api"),
        ],
        7,
    )
    assert unstyle(show_status(status)).splitlines()[6:] == [
        "UPSTREAM     STATE          WEIGHT  ACTIVE  MAX  REQUESTS  FAILURES  RETRIES  NAME",
        "10.0.0.1:80  ready               2       3   10      1000         4        1  http://a:80",
        "[::1]:80     down (backup)       1       0    -         0         0        0  api/http://b:80",
        "",
        "waiting for an upstream: 7",
    ]


def test_states_have_colors_and_what_is_unknown_has_none() -> None:
    states = ["ready", "draining", "drained", "backoff", "dancing"]
    workers = [
        WorkerStatus(number, 1, 7, state, 0, 0, 0, 0, 0.0, None)
        for number, state in enumerate(states, 1)
    ]
    status = Status(MasterStatus(1, "x", 0.2, "shared", "running"), workers, [], None)
    lines = show_status(status).splitlines()
    assert [line.split("m", 1)[0][-2:] for line in lines[3:7]] == ["32", "33", "33", "31"]
    assert "\x1b" not in lines[7]
    failed = Status(MasterStatus(1, "x", 0.2, "shared", "running", "no such app"), [], [], None)
    assert unstyle(show_status(failed)).splitlines()[1] == (
        "the last reload was given up: no such app"
    )
