"""Upstreams: every form, its options, and what is none."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.settings.kinds import UPSTREAMS
from balancer.settings.upstream import (
    MAX_WEIGHT,
    Upstream,
    check_upstream,
    check_upstreams,
    parse_upstream,
)

FORMS = "write HOST:PORT, http://HOST:PORT, https://HOST:PORT, [IPV6]:PORT or unix:/PATH"
BLANK = (
    "there is a blank in it; name each upstream by itself, and its options behind commas "
    "without blanks: HOST:PORT,weight=2"
)
PORT_OR_APP = (
    "the port must be a number from 1 to 65535; an app is served by another command: balancer serve"
)
OPTIONS = "there are weight=N, max=N and backup"
NO_HOST = f"not the name or address of a host; {FORMS}"
NO_IPV4 = "not an IPv4 address; write four numbers, as in 127.0.0.1"
NO_IPV6 = "not an IPv6 address; write [::1]:9000"
NO_PORT = "the port must be a number from 1 to 65535"
NO_WEIGHT = "weight must be a whole number from 1 to 256"
NO_MAX = "max must be a whole number from 0 to 2147483647"
NO_TCP = "there are no tcp:// upstreams yet; only HTTP servers can be stood in front of"
NO_PATH = (
    "an upstream has no path, since requests keep their own; leave away the / and what follows"
)


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port"),
    [
        ("127.0.0.1:9000", "http", "127.0.0.1", 9000),
        ("localhost", "http", "localhost", 80),
        ("my_app.internal.:65535", "http", "my_app.internal.", 65535),
        ("http://app:1", "http", "app", 1),
        ("HTTP://App", "http", "App", 80),
        ("https://app", "https", "app", 443),
        ("https://app:80", "https", "app", 80),
        ("[::1]", "http", "::1", 80),
        ("[fe80::1%eth0]:9000", "http", "fe80::1%eth0", 9000),
        ("https://[::ffff:127.0.0.1]:8443", "https", "::ffff:127.0.0.1", 8443),
        ("tcp:80", "http", "tcp", 80),
        ("1.2.3.4.example", "http", "1.2.3.4.example", 80),
        ("a" * 63 + ".b", "http", "a" * 63 + ".b", 80),
    ],
)
def test_servers(text: str, scheme: str, host: str, port: int) -> None:
    upstream = parse_upstream(text)
    assert upstream == Upstream(text, scheme, host, port)
    assert parse_upstream(str(upstream)).server == upstream.server


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("unix:/run/app.sock", "/run/app.sock"),
        ("unix:///run/app.sock", "/run/app.sock"),
        ("unix:/a?b#c@d e", "/a?b#c@d e"),
        ("unix:/" + "x" * 106, "/" + "x" * 106),
    ],
)
def test_unix_sockets(text: str, path: str) -> None:
    upstream = parse_upstream(text)
    assert upstream == Upstream(text, "http", "", 80, path)
    assert parse_upstream(str(upstream)).server == upstream.server


@pytest.mark.parametrize(
    ("options", "weight", "most", "backup"),
    [
        (",weight=1", 1, 0, False),
        (",weight=256", 256, 0, False),
        (",max=0", 1, 0, False),
        (",max=100", 1, 100, False),
        (",backup", 1, 0, True),
        (",backup,max=7,weight=3", 3, 7, True),
        (", weight=3 , backup", 3, 0, True),
    ],
)
@pytest.mark.parametrize("address", ["app:80", "https://[::1]", "unix:/run/x"])
def test_options(address: str, options: str, weight: int, most: int, backup: bool) -> None:
    upstream = parse_upstream(address + options)
    assert (upstream.weight, upstream.max, upstream.backup) == (weight, most, backup)
    assert upstream.text == address + options
    assert upstream.server == parse_upstream(address).server


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", f"no host; {FORMS}"),
        ("http://", f"no host; {FORMS}"),
        (",weight=2", f"no host; {FORMS}"),
        ("9000", "a port needs a host; did you mean 127.0.0.1:9000?"),
        (":9000", "no host; did you mean 127.0.0.1:9000?"),
        ("app:", NO_PORT),
        ("app:0", NO_PORT),
        ("app:65536", NO_PORT),
        ("app:http", PORT_OR_APP),
        ("app:-1", NO_PORT),
        ("app:٣", NO_PORT),
        ("[::1]:", NO_PORT),
        ("::1", "an IPv6 address needs brackets; write [::1]:9000"),
        ("[::1", NO_IPV6),
        ("[::1]9000", NO_IPV6),
        ("[127.0.0.1]:80", NO_IPV6),
        ("[::1%a b]:80", BLANK),
        ("127.1:80", NO_IPV4),
        ("300.0.0.1", NO_IPV4),
        ("010.0.0.1", NO_IPV4),
        ("127.0.0.1.:80", NO_IPV4),
        ("a b:80", BLANK),
        ("-x:80", NO_HOST),
        ("*:80", NO_HOST),
        ("a..b", NO_HOST),
        ("a" * 64, NO_HOST),
        (".".join(["abcdefg"] * 32), NO_HOST),
        ("app\n", BLANK),
        ("app\0", NO_HOST),
        ("münchen", "a name has ASCII letters only; write the form that begins with xn--"),
        ("tcp://app:80", NO_TCP),
        ("TCP://app:80,backup", NO_TCP),
        ("ftp://app", f"ftp:// is no scheme of an upstream; {FORMS}"),
        ("app/x", NO_PATH),
        ("://app", NO_PATH),
        ("http://unix:/run/x", NO_PATH),
        (
            "http://app?x",
            (
                "an upstream has no query, since requests keep their own; leave away the ? and "
                "what follows"
            ),
        ),
        (
            "app:80#x",
            (
                "an upstream has no fragment, since requests keep their own; leave away the # and "
                "what follows"
            ),
        ),
        (
            "http://me:pw/?@app",
            "an upstream has no user or password; leave away what is before the @",
        ),
        ("unix:", "the path must begin with /; write unix:/PATH"),
        ("unix:run/x", "the path must begin with /; write unix:/PATH"),
        ("unix:/run/", "the path is a folder; write unix:/PATH"),
        ("unix:/run/\0", "the path has characters that can't be printed"),
        ("unix:/" + "ü" * 60, "the path has more than 107 bytes, which no socket can have"),
        ("app,weight=0", NO_WEIGHT),
        ("app,weight=-1", NO_WEIGHT),
        ("app,weight=257", NO_WEIGHT),
        ("app,weight=1.5", NO_WEIGHT),
        ("app,weight=", NO_WEIGHT),
        ("app,weight", NO_WEIGHT),
        ("app,weight=٣", NO_WEIGHT),
        ("app,max=-1", NO_MAX),
        ("app,max=2147483648", NO_MAX),
        ("app,max", NO_MAX),
        ("app,backup=1", "the option backup has no value; write ,backup alone"),
        ("app,backup=", "the option backup has no value; write ,backup alone"),
        ("app,", "nothing follows a comma; take it away or name an option"),
        ("app,,backup", "nothing follows a comma; take it away or name an option"),
        ("app,=3", f"unknown option ''; {OPTIONS}"),
        ("app,wieght=3", f"unknown option 'wieght'; {OPTIONS}"),
        ("app,Weight=3", f"unknown option 'Weight'; {OPTIONS}"),
        ("a:80,b:80", "b:80 is another upstream: a blank belongs before it, no comma"),
        ("app,max=1,max=1", "the option max is there twice"),
        ("app,backup,weight=2,backup", "the option backup is there twice"),
    ],
)
def test_no_upstreams(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        parse_upstream(text)
    assert str(caught.value) == problem


def test_the_kind_keeps_the_text_and_checks_it() -> None:
    assert UPSTREAMS.parse("app:80,weight=3") == check_upstream("app:80,weight=3")
    assert UPSTREAMS.show("app:80,weight=3") == "app:80,weight=3"
    with pytest.raises(ValueError, match="weight must be"):
        UPSTREAMS.parse("app:80,weight=0")
    assert "a,max=1 b".split(UPSTREAMS.between) == ["a,max=1", "b"]


@pytest.mark.parametrize(
    "texts",
    [
        ["a"],
        ["a", "b,backup"],
        ["a:80", "a:81", "https://a:80", "unix:/a", "unix:/b"],
        ["[::1]:80", "127.0.0.1:80"],
    ],
)
def test_upstreams_that_can_stand_together(texts: list[str]) -> None:
    check_upstreams([parse_upstream(text) for text in texts])


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ([], "no upstream; name at least one server, such as 127.0.0.1:9000"),
        (
            ["a,backup", "b,backup"],
            (
                "a,backup: is a backup, and so is every other upstream; leave the word away at one "
                "of them"
            ),
        ),
        (
            ["a:80", "b", "http://A.,weight=2"],
            (
                "http://A.,weight=2: is the same server as a:80; name it once (weight=2 gives it "
                "twice the load)"
            ),
        ),
        (
            ["[::1]", "[0:0::1]:80"],
            (
                "[0:0::1]:80: is the same server as [::1]; name it once (weight=2 gives it twice "
                "the load)"
            ),
        ),
        (
            ["unix:/a", "unix:///a,backup"],
            (
                "unix:///a,backup: is the same server as unix:/a; name it once (weight=2 gives it "
                "twice the load)"
            ),
        ),
    ],
)
def test_upstreams_that_cannot_stand_together(texts: list[str], problem: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        check_upstreams([parse_upstream(text) for text in texts])
    assert str(caught.value) == problem


schemes = st.sampled_from(["", "http://", "https://", "unix:", "tcp://", "HTTPS://"])
hosts = st.one_of(
    st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map("[{}]".format),
    st.text(max_size=10),
)
ports = st.one_of(st.just(""), st.integers(-1, 70000).map(":{}".format), st.text(max_size=5))
pieces = st.sampled_from(["weight", "max", "backup", "=", "0", "1", "256", "99999999999", " ", "x"])
options = st.lists(st.lists(pieces, max_size=4).map("".join).map(",{}".format), max_size=3)
near = st.builds("{}{}{}{}".format, schemes, hosts, ports, options.map("".join))


@given(st.text() | near | st.text(st.characters(), max_size=8))
def test_any_text_is_an_upstream_that_reads_back_or_a_value_error(text: str) -> None:
    try:
        upstream = parse_upstream(text)
    except ValueError as error:
        if type(error) is not ValueError:
            raise  # an encoding's says nothing to a user
        return
    assert upstream.text == text
    assert upstream == parse_upstream(text)
    plain = parse_upstream(str(upstream))
    assert plain.server == upstream.server
    same = dataclasses.replace(upstream, text=plain.text, weight=1, max=0, backup=False)
    assert plain == same
    assert 1 <= upstream.weight <= MAX_WEIGHT
    assert 0 < upstream.port < 65536
    assert bool(upstream.host) != (upstream.path is not None)
    assert upstream.scheme in {"http", "https"}


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("a", "a"), ("a:80", "a"), ("a:8080", "a:8080"), ("https://a", "a"),
        ("https://a:80", "a:80"), ("[::1]", "[::1]"), ("[fe80::1%eth0]:81", "[fe80::1]:81"),
        ("unix:/a", "localhost"),
    ],
)  # fmt: skip
def test_the_host_of_who_has_none(text: str, authority: str) -> None:
    assert parse_upstream(text).authority == authority


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a:1 b:2", "there is a blank in it; name each upstream by itself"),
        ("a:1,b:2", "b:2 is another upstream: a blank belongs before it, no comma"),
        ("weight=2", "weight=2 is an option; it stands behind an upstream and a comma"),
        ("main:app", "; an app is served by another command: balancer serve"),
    ],
)
def test_what_people_write_instead(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        parse_upstream(text)


def test_a_slash_that_says_nothing() -> None:
    assert str(parse_upstream("http://a:81/")) == "http://a:81"
