"""Variables that mean nothing: a sentence each, with a suggestion."""

from __future__ import annotations

import pytest

from balancer.settings.environment import unknown_variables
from balancer.settings.table import SETTINGS


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("BALANCER_WORKRS", "; did you mean BALANCER_WORKERS?"),
        ("BALANCER_workers", "; did you mean BALANCER_WORKERS?"),
        ("BALANCER_MAX-REQUESTS", "; did you mean BALANCER_MAX_REQUESTS?"),
        ("BALANCER_UPSTREAM", "; did you mean BALANCER_UPSTREAMS?"),
        ("BALANCER_ZZZ", ""),
    ],
)
def test_a_slip_of_the_finger(name: str, hint: str) -> None:
    assert unknown_variables({name: "3"}) == [f"{name}: there is no such setting{hint}"]
    assert unknown_variables({name: ""}) == []


def test_what_means_something() -> None:
    known = {name: "x" for setting in SETTINGS.values() for name in setting.variables}
    ours = dict.fromkeys(
        ["BALANCER_WORKER_ID", "BALANCER_WORKER_SLOT", "BALANCER_UPGRADE", "BALANCER_UPGRADE_FD",
         "BALANCER_NAME", "BALANCER_CONTROL"],
        "x",
    )  # fmt: skip
    assert unknown_variables({**known, **ours, "PORT": "x", "BALANCERS": "x"}) == []


def test_several_are_named_in_order() -> None:
    said = unknown_variables({"BALANCER_ZB": "1", "BALANCER_ZA": "1"})
    assert [text.partition(":")[0] for text in said] == ["BALANCER_ZA", "BALANCER_ZB"]
