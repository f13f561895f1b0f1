"""When a slot gets its next worker, and when the master gives up."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from balancer.core.respawn import BURST, CAP, FIRST, SETTLED, BootGate, Respawn
from balancer.errors import ExitCode

JITTER = st.floats(0, 1, exclude_max=True)


def boot_failures(
    count: int, jitter: float = 0.0, *, respawn: Respawn | None = None
) -> list[float]:
    respawn = respawn or Respawn()
    return [respawn.died(100.0 * number, None, jitter) for number in range(count)]


class TestDeathsBeforeReady:
    def test_the_delay_doubles_up_to_the_cap(self) -> None:
        assert boot_failures(10) == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0, 15.0]

    @given(st.integers(1, 2000))
    def test_it_never_passes_the_cap_nor_overflows(self, deaths: int) -> None:
        respawn = Respawn(_failures=deaths)
        assert respawn.died(0.0, None, 0.0) <= CAP

    def test_it_is_monotone(self) -> None:
        assert all(sooner <= later for sooner, later in pairwise(boot_failures(40)))

    @given(JITTER, st.integers(1, 12))
    def test_jitter_takes_away_a_quarter_at_most(self, jitter: float, deaths: int) -> None:
        for plain, jittered in zip(
            boot_failures(deaths), boot_failures(deaths, jitter), strict=True
        ):
            assert plain * 0.75 <= jittered <= plain

    @given(JITTER)
    def test_there_is_always_a_delay(self, jitter: float) -> None:
        assert Respawn().died(0.0, None, jitter) >= 0.75 * FIRST


class TestDeathsAfterReady:
    def test_a_burst_is_answered_at_once_and_the_next_one_is_not(self) -> None:
        respawn = Respawn()
        delays = [respawn.died(0.1 * number, 0.1 * number, 0.0) for number in range(BURST + 2)]
        assert delays == [0.0] * BURST + [FIRST, 2 * FIRST]

    @given(st.floats(0.25, 9), st.integers(1, 100))
    def test_slower_deaths_are_always_answered_at_once(self, pause: float, deaths: int) -> None:
        respawn = Respawn()
        for number in range(deaths):
            assert respawn.died(number * pause, number * pause - 0.05, 0.0) == 0.0

    def test_a_burst_that_is_over_is_forgotten(self) -> None:
        respawn = Respawn()
        for number in range(BURST + 1):
            respawn.died(0.01 * number, 0.0, 0.0)
        assert respawn.died(2.0, 1.9, 0.0) == 0.0

    def test_everything_is_forgiven_after_a_settled_time(self) -> None:
        respawn = Respawn()
        boot_failures(9, respawn=respawn)
        assert respawn.died(2000.0, 2000.0 - SETTLED, 0.0) == 0.0
        assert respawn.died(2001.0, None, 0.0) == FIRST

    def test_a_short_time_of_being_ready_forgives_nothing(self) -> None:
        respawn = Respawn()
        boot_failures(3, respawn=respawn)
        assert respawn.died(400.0, 400.0 - SETTLED + 0.1, 0.0) == 0.0
        assert respawn.died(500.0, None, 0.0) == 0.8

    @given(
        st.lists(
            st.tuples(st.floats(0, 20), st.one_of(st.none(), st.floats(0, 20)), JITTER),
            max_size=50,
        )
    )
    def test_any_history_gives_a_delay_between_nothing_and_the_cap(
        self, deaths: list[tuple[float, float | None, float]]
    ) -> None:
        respawn, now = Respawn(), 0.0
        for pause, ready_for, jitter in deaths:
            now += pause
            ready_at = None if ready_for is None else now - ready_for
            delay = respawn.died(now, ready_at, jitter)
            assert 0.0 <= delay <= CAP
            assert ready_at is not None or delay > 0

    def test_a_crash_loop_is_bounded_to_a_few_starts_a_second(self) -> None:
        """A worker that dies as soon as it is ready: not 100 times a second."""
        respawn, now, starts = Respawn(), 0.0, 0
        while now < 60.0:
            now += respawn.died(now, now, 0.0) + 0.006
            starts += 1
        assert starts < 60


class TestBootGate:
    def test_an_app_that_cant_be_imported_ends_it_at_once(self) -> None:
        assert BootGate().failed(ExitCode.APP) is ExitCode.APP

    def test_another_failure_has_three_tries(self) -> None:
        gate = BootGate()
        assert [gate.failed(ExitCode.BOOT) for _ in range(3)] == [None, None, ExitCode.BOOT]

    def test_an_apps_failure_counts_whatever_came_before(self) -> None:
        gate = BootGate()
        gate.failed(ExitCode.BOOT)
        assert gate.failed(ExitCode.APP) is ExitCode.APP

    def test_once_a_worker_was_ready_nothing_ends_it(self) -> None:
        gate = BootGate()
        gate.failed(ExitCode.BOOT)
        gate.passed = True
        assert {gate.failed(code) for code in [ExitCode.APP, *[ExitCode.BOOT] * 9]} == {None}
