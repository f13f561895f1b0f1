"""A worker's access log without a worker."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import pytest

from balancer.core.logrecord import BATCH, PlainAnswer, PlainRequest, Record
from balancer.core.messages import WorkerConfig
from balancer.errors import RunError
from balancer.worker.accesslog import open_access_log, show_time, stamp

if TYPE_CHECKING:
    from pathlib import Path

    from balancer.worker.accesslog import AccessLog


def record(target: bytes = b"/", **fields: object) -> Record:
    headers = [(name.encode(), value) for name, value in fields.items()]
    request = PlainRequest("GET", target, "1.1", headers)  # type: ignore[arg-type]
    return Record(request, PlainAnswer(200, 5), 0.1, time.perf_counter(), ("127.0.0.1", 9))


def opened(path: Path, text: str) -> AccessLog:
    config = WorkerConfig(access_logfile=str(path), access_logformat=text)
    log = open_access_log(config, 7)
    assert log is not None
    return log


def test_off() -> None:
    assert open_access_log(WorkerConfig(), 7) is None


def test_what_can_not_be_opened(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"--access-logfile .*: Is a directory"):
        opened(tmp_path, "%(h)s")


def test_a_batch_is_written_at_once_and_the_rest_later(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = opened(path, "%(worker)s %(U)s")
    for number in range(BATCH - 1):
        log.add(record(b"/%d" % number))
    assert not path.stat().st_size
    log.add(record(b"/last"))
    assert path.read_text().splitlines()[-1] == "7 /last"
    log.add(record(b"/more"))
    log.flush()
    log.flush()
    assert path.read_text().splitlines()[-1] == "7 /more"
    path.rename(tmp_path / "log.1")
    log.add(record(b"/old"))
    log.reopen()
    log.add(record(b"/new"))
    log.close()
    log.close()
    assert (tmp_path / "log.1").read_text().count("\n") == BATCH + 2
    assert path.read_text() == "7 /new\n"


def test_ids_begin_with_something_of_the_worker(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for _ in range(2):
        log = opened(path, "%(id)s")
        log.add(record())
        log.close()
    first, second = path.read_text().splitlines()
    assert first != second
    assert first.endswith("-7-1")
    assert second.endswith("-7-1")


def test_a_record_that_an_app_has_spoilt_is_one_line_less(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("balancer"), "propagate", True)
    path = tmp_path / "log"
    log = opened(path, "%(U)s %(a)s")
    log.add(record(b"/1"))
    log.add(record(b"/2", **{"user-agent": 5}))
    log.add(record(b"/3"))
    log.close()
    assert path.read_text() == "/1 -\n/3 -\n"
    assert "a line was lost: AttributeError" in caplog.text


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("UTC0", "[01/Jan/2026:00:00:00 +0000]"),
        ("XXX-5:30", "[01/Jan/2026:05:30:00 +0530]"),
        ("XXX3:30", "[31/Dec/2025:20:30:00 -0330]"),
    ],
)
def test_times(zone: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert show_time(time.localtime(1767225600)) == shown
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_second_that_a_time_is_in() -> None:
    now = time.perf_counter()
    _, begins, ends = stamp(now)
    assert begins <= now < ends
    assert ends - begins == pytest.approx(1)
