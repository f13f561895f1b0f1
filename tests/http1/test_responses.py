"""Response heads, apart from a connection."""

from __future__ import annotations

from typing import Any

import pytest

from balancer.http1.errors import MisuseError
from balancer.http1.responses import read_fields, render_fields, render_trailers


@pytest.mark.parametrize("render", [read_fields, render_fields, render_trailers])
@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize(
    ("field", "culprit"),
    [(("x-a", b"b"), "'x-a'"), ((b"x-a", "b"), "'b'"), ((b"x", "b" * 200), "'bbb")],
)
def test_a_str_is_refused_by_name(render: Any, kind: Any, field: Any, culprit: str) -> None:  # noqa: ANN401
    with pytest.raises(MisuseError, match=f"header .*: {culprit}.* is a str"):
        render(kind([field]))
