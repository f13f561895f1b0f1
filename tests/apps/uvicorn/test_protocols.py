"""What is used of uvicorn is there, in both HTTP classes, and its modules stay as they are."""

from __future__ import annotations

import asyncio
from types import FunctionType, ModuleType
from typing import Any

import pytest
from uvicorn.protocols.http import h11_impl, httptools_impl

from balancer.apps.uvicorn.cycle import Cycle
from balancer.apps.uvicorn.front import Front
from balancer.apps.uvicorn.protocols import http_class
from balancer.core.requestid import RequestIds
from balancer.errors import RunError
from balancer.http1.tally import NullStats, Tally
from balancer.settings import TrustedPeers

CYCLE = "RequestResponseCycle"


def make(base: type[asyncio.Protocol]) -> type:
    nobody: Any = None
    front = Front(nobody, TrustedPeers(()), RequestIds(""), Tally(NullStats()))
    return http_class(base, nobody, front, max_requests=1)


@pytest.mark.parametrize(
    ("module", "name"), [(h11_impl, "H11Protocol"), (httptools_impl, "HttpToolsProtocol")]
)
def test_a_class_of_ours_makes_cycles_of_ours(module: ModuleType, name: str) -> None:
    theirs = getattr(module, CYCLE)
    made = make(getattr(module, name))
    assert getattr(module, CYCLE) is theirs
    assert not issubclass(theirs, Cycle)
    methods = [each for each in vars(made).values() if isinstance(each, FunctionType)]
    (cycle,) = {each.__globals__[CYCLE] for each in methods if CYCLE in each.__code__.co_names}
    assert issubclass(cycle, theirs)
    assert issubclass(cycle, Cycle)


def test_a_uvicorn_that_works_in_another_way_is_refused() -> None:
    class Other(asyncio.Protocol):
        """Makes no cycles."""

    with pytest.raises(RunError, match=r"^uvicorn \S+ is not known to --engine uvicorn$"):
        make(Other)
