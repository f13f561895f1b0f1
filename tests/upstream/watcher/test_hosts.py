"""Names that are known without asking."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from balancer.upstream.watcher.hosts import Hosts, parse_hosts

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """\
# a comment
127.0.0.1 localhost
::1\tlocalhost ip6-localhost
10.0.0.7  Web.Example web # its address
10.0.0.8 web
10.0.0.8 web web
fe80::1%eth0 odd
nonsense
1.2.3 short
"""


def test_the_file_is_read() -> None:
    assert parse_hosts(TEXT) == {
        "localhost": ("127.0.0.1", "::1"),
        "ip6-localhost": ("::1",),
        "web.example": ("10.0.0.7",),
        "web": ("10.0.0.7", "10.0.0.8"),
    }


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    parse_hosts(text)


def test_a_change_of_the_file_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    hosts = Hosts(str(path))
    assert hosts.find("web") == ()
    path.write_text("10.0.0.1 web\n")
    assert hosts.find("WEB.") == ("10.0.0.1",)
    other = tmp_path / "new"
    other.write_text("10.0.0.2 web\n")
    os.replace(other, path)
    assert hosts.find("web") == ("10.0.0.2",)
    path.unlink()
    assert hosts.find("web") == ("10.0.0.2",), "it may be there again in a moment"


def test_localhost_is_never_asked_for(tmp_path: Path) -> None:
    hosts = Hosts(str(tmp_path / "none"))
    assert hosts.find("localhost") == hosts.find("a.LOCALHOST.") == ("127.0.0.1", "::1")
    assert hosts.find("notlocalhost") == ()
