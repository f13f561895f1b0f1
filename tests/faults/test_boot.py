"""Workers that die at their start: the end, when none ever worked; else patience."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults.apps import BROKEN
from tests.faults.lab import APPS
from tests.support import raw
from tests.support.server import BalancerServer, ready

_ROOT = Path(__file__).resolve().parents[2]


def _fails(app: str, *args: str) -> tuple[int, list[str]]:
    """Exit code, and what was said but for the banner."""
    server = BalancerServer(*args, workers=2, app=app)
    with server.process as process:
        code = process.wait(15)
        assert not process.survivors(deadline=1.0)
        said = [line for line in process.log_lines() if "[INFO]" not in line]
    return code, said


@pytest.mark.parametrize(
    ("app", "says", "args"),
    [
        ("native:no_such_module:app", r"can't import no_such_module: ModuleNotFoundError", ()),
        ("native:no_such_module:app", r"can't import no_such_module: .*", ("--preload",)),
        ("native:tests.faults.apps:nothing", r"tests\.faults\.apps has no attribute nothing", ()),
        ("native:tests.faults.apps:LEDGER", r"LEDGER is of type str, not callable", ()),
        ("native:tests.faults.apps:failing()", r"the factory failed: KeyError: 'nothing'$", ()),
    ],
)
def test_an_app_that_is_not_there_ends_the_server_at_once(
    app: str, says: str, args: tuple[str, ...]
) -> None:
    code, said = _fails(app, *args)
    assert code == 4
    sentences = [line for line in said if re.search(says, line)]
    assert sentences, said
    assert re.search(rf"app {re.escape(app)}: {says}", said[-1]), said
    assert "Traceback" not in "\n".join(said)
    assert "next one in" not in "\n".join(said)


def test_a_worker_that_dies_at_its_start_is_tried_three_times() -> None:
    code, said = _fails(f"{APPS}dead()")
    assert code == 3
    assert re.search(r"no worker became ready: the last one exited with 3", said[-1]), said
    assert 3 <= sum("exited with 3" in line for line in said[:-1]) <= 4
    assert "Traceback" not in "\n".join(said)


@pytest.mark.parametrize("policy", ["round-robin", "reuseport"])
def test_a_crash_loop_backs_off_while_the_others_serve(policy: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    app, env = f"{APPS}breakable()", {BROKEN: str(broken)}
    with BalancerServer("--policy", policy, workers=2, app=app, env=env) as server:
        broken.touch()
        before = len(server.log_lines())
        server.kill(2)
        delays = [_next_delay(server, before, count) for count in range(1, 4)]
        for n, delay in enumerate(delays):  # a quarter is jitter, and it is said to a tenth
            assert 0.75 * 0.1 * 2**n - 0.05 <= delay <= 0.1 * 2**n
        assert {raw.get(server.port).worker for _ in range(10)} == {1}
        assert any(each["state"] == "backoff" for each in server.status()["workers"])
        broken.unlink()
        server.wait_ready(2)


def _next_delay(server: BalancerServer, after: int, count: int) -> float:
    lines = server.process.wait_for_lines(
        r"exited with 3; next one in ([\d.]+) s", count, after=after
    )
    found = re.search(r"next one in ([\d.]+) s", lines[-1].text)
    assert found
    return float(found[1])


@pytest.mark.soak
def test_a_crash_loop_backs_off_to_its_cap(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    app, env = f"{APPS}breakable()", {BROKEN: str(broken)}
    with BalancerServer(workers=2, app=app, env=env) as server:
        broken.touch()
        before = len(server.log_lines())
        server.kill(2)
        pattern = r"next one in 1[1-5]\.\d s"
        server.process.wait_for_lines(pattern, 3, after=before, deadline=120)
        assert not [
            line for line in server.log_lines() if re.search(r"in (1[6-9]|[2-9]\d)\.", line)
        ]
        assert raw.get(server.port).worker == 1


def test_a_reload_that_fails_keeps_the_old_workers(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    app, env = f"{APPS}breakable()", {BROKEN: str(broken)}
    with BalancerServer(workers=2, app=app, env=env) as server:
        pids = server.workers
        broken.touch()
        assert server.command("reload").returncode == 0
        why = "no new worker became ready in slot 1: it exited with 3"
        server.wait_for_line("exited with 3; the one before stays")
        server.wait_for_line(f"reload: {why}; the running workers stay")
        status = server.wait_for(lambda status: status["master"]["state"] == "running")
        assert status["master"]["reload_error"] == why
        assert server.workers == pids
        broken.unlink()
        assert server.command("reload").returncode == 0
        server.wait_for_line("reload: done")
        assert "reload_error" not in server.status()["master"]
        assert not set(pids) & set(server.workers)


def test_a_stop_waits_for_no_worker_that_boots(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    app, env = f"{APPS}slow()", {BROKEN: str(broken)}
    with BalancerServer(workers=2, app=app, env=env) as server:
        broken.touch()
        server.kill(1)
        server.wait_for(
            lambda status: any(w["state"] == "starting" and w["pid"] for w in status["workers"])
        )
        server.finish()
        assert not [line for line in server.log_lines() if "didn't end in time" in line]


def test_a_preload_that_fails_at_a_reload_keeps_the_old_workers(tmp_path: Path) -> None:
    app = tmp_path / "site_app.py"
    app.write_text("from tests.faults.apps import holding\n")
    args, env = ("--preload",), {"PYTHONPATH": f"{_ROOT}:{tmp_path}"}
    with BalancerServer(*args, workers=2, app="native:site_app:holding()", env=env) as server:
        pids = server.workers
        app.write_text("1/0\n")
        assert server.command("reload").returncode == 0
        server.wait_for_line(r"reload: app .*ZeroDivisionError: .*; the running workers stay$")
        server.wait_for(lambda status: status["master"]["state"] == "running")
        assert server.workers == pids
        server.kill(1)
        server.wait_for(lambda status: set(ready(status)) == {2, 3})


def test_a_worker_is_replaced_while_a_reload_still_preloads(tmp_path: Path) -> None:
    app, gate = tmp_path / "slow_app.py", tmp_path / "gate"
    text = "import pathlib, time\nfrom tests.faults.apps import holding\n"
    app.write_text(text)
    args, env = ("--preload",), {"PYTHONPATH": f"{_ROOT}:{tmp_path}"}
    with BalancerServer(*args, workers=2, app="native:slow_app:holding()", env=env) as server:
        app.write_text(f"{text}while not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.01)\n")
        assert server.command("reload").returncode == 0
        server.kill(1)
        server.wait_for(lambda status: set(ready(status)) == {2, 3}, deadline=5)
        gate.touch()
        server.wait_for_line("reload: done")
        assert set(server.wait_ready(2)) == {4, 5}
