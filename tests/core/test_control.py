"""The control protocol: lines to requests and replies, and garbage to one error."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from balancer import __version__
from balancer.core.control import (
    ControlError,
    Drain,
    DrainUpstream,
    ForkServerStatus,
    GetStatus,
    ListenerStatus,
    LogLevel,
    MasterStatus,
    Reload,
    Reopen,
    Reply,
    Request,
    Restart,
    Resume,
    ResumeUpstream,
    Scale,
    Status,
    Stop,
    Upgrade,
    UpstreamStatus,
    Weigh,
    WorkerStatus,
    decode_reply,
    decode_request,
    encode,
    is_degraded,
    to_status,
)

REQUESTS: list[tuple[Request, dict[str, object]]] = [
    (GetStatus(), {"do": "status", "v": 1}),
    (Reload(), {"do": "reload", "v": 1, "wait": False}),
    (Restart(wait=True), {"do": "restart", "v": 1, "worker_id": None, "wait": True}),
    (Restart(worker_id=2), {"do": "restart", "v": 1, "worker_id": 2, "wait": False}),
    (Upgrade(), {"do": "upgrade", "v": 1, "wait": False}),
    (Reopen(), {"do": "reopen", "v": 1}),
    (Scale(workers=3), {"do": "scale", "v": 1, "workers": 3, "by": 0, "wait": False}),
    (Scale(by=-2), {"do": "scale", "v": 1, "workers": None, "by": -2, "wait": False}),
    (Drain(worker_id=7), {"do": "drain", "v": 1, "worker_id": 7, "wait": False}),
    (Resume(worker_id=7), {"do": "resume", "v": 1, "worker_id": 7}),
    (
        DrainUpstream(upstream="a:1"),
        {"do": "drain-upstream", "v": 1, "upstream": "a:1", "wait": False},
    ),
    (ResumeUpstream(upstream="a:1"), {"do": "resume-upstream", "v": 1, "upstream": "a:1"}),
    (Weigh(upstream="a:1", weight=3), {"do": "weight", "v": 1, "upstream": "a:1", "weight": 3}),
    (LogLevel(level="debug"), {"do": "log-level", "v": 1, "level": "debug"}),
    (Stop(quick=True), {"do": "stop", "v": 1, "quick": True, "wait": False}),
]


GARBAGE = "not a message of balancer's control protocol"
NO_REQUEST = f"not a request of this server (balancer {__version__})"
OLDER = (
    f"the server is older (balancer {__version__}) than this command line, and doesn't know "
    "'dance': stop it, and start the version that you want"
)
OTHER_VERSION = (
    "the command speaks control protocol 2 and the server 1; "
    "use the same version of balancer for both"
)


def worker(state: str, number: int = 1) -> WorkerStatus:
    return WorkerStatus(number, number, 100, state, 1, 2, 3, 0, 0.1, 1 << 20)


def status(*states: str) -> Status:
    return Status(
        MasterStatus(99, "0.1.0", 12.5, "round-robin", "running"),
        [worker(state, number) for number, state in enumerate(states, 1)],
        [ListenerStatus("127.0.0.1:8000", 0, 10, 0, 1)],
        ForkServerStatus(98, 1 << 20, None),
    )


@pytest.mark.parametrize(("request_", "fields"), REQUESTS)
def test_requests_are_one_line_and_read_back(request_: Request, fields: dict[str, object]) -> None:
    line = encode(request_)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert json.loads(line) == fields
    assert decode_request(line) == request_


def test_unknown_fields_are_ignored() -> None:
    assert decode_request(b'{"do":"status","colour":"blue"}') == GetStatus()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"", GARBAGE),
        (b"GET / HTTP/1.1\r", GARBAGE),
        (b"[]", GARBAGE),
        (b"[" * 60_000, GARBAGE),
        (b'{"do":"status"', GARBAGE),
        (b'{"v":"1","do":"status"}', GARBAGE),
        (b'{"v":2,"do":"status"}', OTHER_VERSION),
        (b"{}", f"{NO_REQUEST}: Object missing required field `do`"),
        (
            b'{"do":"dance"}',
            OLDER,
        ),
        (b'{"do":"scale"}', "scale: say how many workers, or how many more or less"),
        (
            b'{"do":"scale","workers":"3"}',
            f"{NO_REQUEST}: Expected `int | null`, got `str` - at `$.workers`",
        ),
        (b'{"do":"scale","workers":0}', "scale 0: must be from 1 to 1024 workers"),
        (b'{"do":"scale","workers":1025}', "scale 1025: must be from 1 to 1024 workers"),
    ],
)
def test_other_lines_are_errors(line: bytes, problem: str) -> None:
    with pytest.raises(ControlError) as caught:
        decode_request(line)
    assert str(caught.value) == problem


@given(
    st.one_of(
        st.binary(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(
                st.sampled_from(["do", "v", "workers", "quick", "ok", "error"]) | st.text(), inner
            ),
        ).map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    )
)  # fmt: skip
@example(b'{"do":"\xff"}')
@example(b'{"\xff":1,"do":"status"}')
def test_garbage_raises_nothing_else(line: bytes) -> None:
    for decode in (decode_request, decode_reply):
        try:
            decode(line)
        except ControlError:
            continue


@pytest.mark.parametrize(
    "reply", [Reply(ok=True), Reply(ok=False, error="no"), Reply(ok=True, result={"a": [1]})]
)
def test_replies_read_back(reply: Reply) -> None:
    assert decode_reply(encode(reply)) == reply


def test_what_is_no_utf8_is_escaped() -> None:
    reply = Reply(ok=False, error="-c \udcff.toml", result={"\udcff": ["\udcfe", 1]})
    assert decode_reply(encode(reply)) == Reply(
        ok=False, error="-c \\udcff.toml", result={"\\udcff": ["\\udcfe", 1]}
    )
    assert decode_request(encode(DrainUpstream(upstream="unix:\udcff"))) == DrainUpstream(
        upstream="unix:\\udcff"
    )


def test_the_reply_of_another_version() -> None:
    with pytest.raises(
        ControlError, match="the server speaks control protocol 3 and the command 1"
    ):
        decode_reply(b'{"v":3,"ok":true}')


def test_the_status_object_is_the_contract() -> None:
    reply = decode_reply(encode(Reply(ok=True, result=status("ready"))))
    assert reply.result == {
        "master": {
            "pid": 99,
            "version": "0.1.0",
            "uptime_s": 12.5,
            "policy": "round-robin",
            "state": "running",
        },
        "workers": [
            {
                "id": 1,
                "slot": 1,
                "pid": 100,
                "state": "ready",
                "active": 1,
                "accepted": 2,
                "requests": 3,
                "restarts": 0,
                "heartbeat_age_s": 0.1,
                "rss_bytes": 1048576,
            }
        ],
        "listeners": [
            {
                "address": "127.0.0.1:8000",
                "queued": 0,
                "accepted": 10,
                "refused": 0,
                "recalled": 1,
            }
        ],
        "forkserver": {"pid": 98, "rss_bytes": 1048576, "pss_bytes": None},
    }
    assert to_status(reply.result) == status("ready")
    with pytest.raises(ControlError, match="the server's status can't be read"):
        to_status({"master": 1})


def test_a_fork_server_that_does_not_run_is_null() -> None:
    """Whoever reads the object need not ask whether the key is there."""
    nobody = msgspec.structs.replace(status("ready"), forkserver=None)
    reply = decode_reply(encode(Reply(ok=True, result=nobody)))
    assert reply.result["forkserver"] is None
    assert to_status(reply.result) == nobody


def test_messages_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Scale(workers=1).workers = 2  # type: ignore[misc]
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({}, Status)


@pytest.mark.parametrize(
    ("states", "degraded"),
    [
        (["ready", "ready"], False),
        (["ready", "draining"], False),
        (["ready", "stopping"], False),
        (["ready", "starting"], True),
        (["ready", "stalled"], True),
        (["ready", "backoff"], True),
        (["draining"], True),
        ([], True),
    ],
)
def test_degraded(states: list[str], degraded: bool) -> None:
    assert is_degraded(status(*states)) is degraded


@pytest.mark.parametrize(
    ("of_upstreams", "degraded"),
    [
        ([("", "down"), ("", "ready")], False),
        ([("", "down"), ("", "drained")], True),
        ([("api", "ready"), ("img", "ejected"), ("img", "ready")], False),
        ([("api", "ready"), ("img", "ejected")], True),
    ],
)
def test_a_pool_needs_one_that_is_ready(
    of_upstreams: list[tuple[str, str]], degraded: bool
) -> None:
    upstreams = [
        UpstreamStatus("a:1", "http://a:1", state, False, 1, 0, 0, 0, 0, 0, pool)
        for pool, state in of_upstreams
    ]
    whole = msgspec.structs.replace(status("ready"), upstreams=upstreams)
    assert is_degraded(whole) is degraded
