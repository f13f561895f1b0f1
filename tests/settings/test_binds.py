"""Binds: every form, its string, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.settings import Bind, FdBind, TcpBind, UnixBind, parse_bind

FORMS = "write HOST:PORT, :PORT, [IPV6]:PORT, unix:PATH or fd://N"


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("127.0.0.1:8000", TcpBind("127.0.0.1", 8000)),
        (":8000", TcpBind("0.0.0.0", 8000)),
        ("localhost", TcpBind("localhost", 8000)),
        ("localhost:0", TcpBind("localhost", 0)),
        ("my_service.example:65535", TcpBind("my_service.example", 65535)),
        ("[::1]:80", TcpBind("::1", 80)),
        ("[::]", TcpBind("::", 8000)),
        ("[fe80::1%eth0]:80", TcpBind("fe80::1%eth0", 80)),
        ("unix:/run/x.sock", UnixBind("/run/x.sock")),
        ("unix:///run/x.sock", UnixBind("/run/x.sock")),
        ("unix:x.sock", UnixBind("x.sock")),
        ("fd://3", FdBind(3)),
        ("fd:3", FdBind(3)),
    ],
)
def test_binds(text: str, bind: Bind) -> None:
    assert parse_bind(text) == bind
    assert parse_bind(str(bind)) == bind


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", f"empty; {FORMS}"),
        ("8000", "a port needs a colon; did you mean :8000?"),
        ("host:", "the port must be a number from 0 to 65535"),
        ("host:http", "the port must be a number from 0 to 65535"),
        ("host:65536", "the port must be a number from 0 to 65535"),
        ("host:-1", "the port must be a number from 0 to 65535"),
        ("host:٣", "the port must be a number from 0 to 65535"),
        ("::1", "an IPv6 address needs brackets; write [::1]:8000"),
        ("[::1", "not an IPv6 address; write [::1]:8000"),
        ("[::1]8000", "not an IPv6 address; write [::1]:8000"),
        ("[127.0.0.1]:80", "not an IPv6 address; write [::1]:8000"),
        ("http://host:80", f"a bind has no scheme; {FORMS}"),
        ("a b:80", f"not an address; {FORMS}"),
        ("-x:80", f"not an address; {FORMS}"),
        ("*:80", f"not an address; {FORMS}"),
        ("unix:", "no path; write unix:PATH"),
        ("unix:/run/", "the path is a folder; write unix:PATH"),
        ("unix:/" + "x" * 107, "the path has more than 107 bytes, which no socket can have"),
        ("fd://x", "not a file descriptor; write fd://3"),
        ("fd://-1", "not a file descriptor; write fd://3"),
        ("fd://2147483648", "not a file descriptor; write fd://3"),
    ],
)
def test_no_binds(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        parse_bind(text)
    assert str(caught.value) == problem


ports = st.integers(0, 65535)
names = st.from_regex(r"[a-z][a-z0-9.-]{0,20}[a-z]", fullmatch=True)
paths = st.text(st.characters(exclude_characters="\0", codec="ascii"), min_size=1, max_size=90)
binds = st.one_of(
    st.builds(TcpBind, names, ports),
    st.builds(TcpBind, st.ip_addresses().map(str), ports),
    st.builds(UnixBind, paths.filter(lambda path: path[-1] != "/" and path[:3] != "///")),
    st.builds(FdBind, st.integers(0, 2**31 - 1)),
)


@given(binds)
def test_a_shown_bind_reads_back(bind: Bind) -> None:
    assert parse_bind(str(bind)) == bind


@given(st.text())
def test_any_text_is_a_bind_that_reads_back_or_a_value_error(text: str) -> None:
    try:
        bind = parse_bind(text)
    except ValueError:
        return
    assert parse_bind(str(bind)) == bind
