"""The types that settings have: each reads a value's text and shows it again.

Flags, environment variables and TOML values share one parser, so that a value means the same
wherever it is written.  A TOML value of the right type is turned into text first; ``toml`` says
which types those are.  Parsers raise ``ValueError`` with the part of the sentence that follows the
name and the value.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from balancer.settings.app import check_app
from balancer.settings.binds import parse_admin, parse_bind
from balancer.settings.cpus import MAX_WORKERS, usable_cpus
from balancer.settings.logformat import check_log_format
from balancer.settings.policy import check_policy, check_worker_policy
from balancer.settings.probe import check_probe
from balancer.settings.trust import parse_peer
from balancer.settings.units import parse_duration, parse_size, show_duration, show_size
from balancer.settings.upstream import MAX_WEIGHT, check_upstream, upstream_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from balancer.settings.binds import Bind

__all__ = [
    "ADMIN", "APP", "BINDS", "FILE", "FOLDER", "FOLDERS", "GROUP", "HOST", "LOG_FILE", "LOG_FORMAT",
    "NAME", "PATH", "PATTERNS", "PEERS", "PID_FILE", "POLICY", "PROBE", "RECALL", "ROOT_PATH",
    "SWITCH", "TOKEN", "UMASK", "UPSTREAMS", "USER", "VARIABLES", "WEIGHTS", "WORKERS",
    "WORKER_POLICY",
    "Inline", "Kind", "choice", "count", "duration", "percent", "size",
]  # fmt: skip

_NUMBERS = (int, float, str)
MAX_ID = 2**32 - 2  # the last one means "unchanged" to the system calls
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch  # RFC 9110 5.6.2
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?").fullmatch
_OCTAL = re.compile(r"(?:0o)?0?[0-7]{1,3}", re.ASCII).fullmatch
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


@dataclass(frozen=True, slots=True)
class Inline:
    """How a TOML file may also say a value: as a table with these keys.

    Attributes:
        keys: The type that each has.
        needed: The one that has to be there.
        text: What the table is as text; raises ``ValueError``.
    """

    keys: Mapping[str, type]
    needed: str
    text: Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of value.

    Attributes:
        metavar: What stands for the value in ``--help``.
        parse: Text to value; raises ``ValueError``.
        show: Value to text, which ``parse`` reads back.
        toml: The TOML types that ``parse`` gets the text of.
        wants: What a TOML value of another type should have been.
        many: The value is a tuple of what ``parse`` returns; the flag may be repeated.
        commas: One text may hold several of them; in the environment it always may.
        between: What is between several of them in the environment; None is white space, for those
            that hold commas themselves.
        inline: How a table says it, where one may.
    """

    metavar: str
    parse: Callable[[str], Any]
    show: Callable[[Any], str] = str
    toml: tuple[type, ...] = (str,)
    wants: str = "a string"
    many: bool = False
    commas: bool = False
    between: str | None = ","
    inline: Inline | None = None


def count(lowest: int = 0, highest: int = 2**31 - 1, *, off: bool = False) -> Kind:
    """A whole number; with ``off``, that word means 0."""

    def parse(text: str) -> int:
        if off and text == "off":
            return 0
        return _whole(text, lowest, highest)

    return Kind("N", parse, toml=(int, str), wants="a number")


def duration(lowest: float = 0.0, *, off: bool = False) -> Kind:
    """Seconds; with ``off``, that word means 0, which is then allowed below ``lowest``."""

    def parse(text: str) -> float:
        seconds = 0.0 if off and text == "off" else parse_duration(text)
        if seconds < lowest and not (off and seconds == 0):
            raise ValueError(f"must be at least {show_duration(lowest)}")
        return seconds

    return Kind("TIME", parse, show_duration, _NUMBERS, "a duration")


def size(lowest: int = 0, highest: int = 2**50, *, off: bool = False) -> Kind:
    """Bytes; with ``off``, that word means 0."""

    def parse(text: str) -> int:
        value = 0 if off and text == "off" else parse_size(text)
        if value < lowest:
            raise ValueError(f"must be at least {show_size(lowest)}")
        if value > highest:
            raise ValueError(f"must be at most {show_size(highest)}")
        return value

    return Kind("SIZE", parse, show_size, (int, str), "a size")


def choice(*words: str) -> Kind:
    """One of some words."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return Kind("NAME", parse)


def percent() -> Kind:
    """A whole number from 0 to 100, perhaps with the sign."""

    def parse(text: str) -> int:
        return _whole(text.removesuffix("%").rstrip(), 0, 100)

    return Kind("PERCENT", parse, toml=(int, str), wants="a number")


def _whole(text: str, lowest: int, highest: int) -> int:
    sign, digits = text[:1], text.removeprefix("-")
    # int() also takes 1_000, ' 7 ' and the digits of other scripts
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 18:
        raise ValueError("not a whole number")
    value = -int(digits) if sign == "-" else int(digits)
    if value < lowest:
        raise ValueError(f"must be at least {lowest}")
    if value > highest:
        raise ValueError(f"must be at most {highest}")
    return value


def _workers(text: str) -> int:
    return usable_cpus() if text == "auto" else _whole(text, 1, MAX_WORKERS)


def _weight(text: str) -> int:
    return _whole(text, 1, MAX_WEIGHT)


def _recall(text: str) -> float | None:
    if text == "off":
        return None
    seconds = parse_duration(text)
    if seconds < 0.001:
        raise ValueError("must be at least 1ms; off turns the timed recall off")
    return seconds


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("not a path")
    return text


def _root_path(text: str) -> str:
    path = text.rstrip("/")
    if path and (not path.startswith("/") or not path.isascii() or not path.isprintable()):
        raise ValueError("must begin with / and be ASCII (escape the rest as in a URL)")
    return path


def _pattern(text: str) -> str:
    if not text or "\0" in text or "**" in text:
        raise ValueError("not a pattern like *.html (** means nothing in one)")
    return text


def _variable(text: str) -> str:
    name, equals, _ = text.partition("=")
    if not name or not equals or "\0" in text:
        raise ValueError("must be NAME=VALUE")
    return text


def _pid_file(text: str) -> str:
    if text.isdecimal():
        raise ValueError(f"that is the pid file; did you mean -b :{text}?")
    return _path(text)


def _log_file(text: str) -> str | None:
    if text in {"-", "off"}:
        return None if text == "off" else text
    # every worker opens it, and again after each rotation: the app may have changed the folder
    return os.path.abspath(_path(text))


def _file(text: str) -> str:
    # who reads it may be in another folder by then
    return os.path.abspath(_path(text))


def _name(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > 64:
        raise ValueError("a name has 1 to 64 printable characters")
    return text


def _token(text: str) -> str:
    if not _TOKEN(text):
        raise ValueError("a name has ASCII letters, digits and the likes of - and _, and no blanks")
    return text


def _host(text: str) -> str:
    if not _HOST(text):
        raise ValueError("must be what stands in Host: NAME, NAME:PORT or [IPV6]:PORT")
    return text


def _switch(text: str) -> bool:
    word = text.lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("must be true or false")
    return word in _TRUE


def _show_switch(value: bool) -> str:
    return "true" if value else "false"


def _show_log_file(value: str | None) -> str:
    return "off" if value is None else value


def _show_recall(value: float | None) -> str:
    return "off" if value is None else show_duration(value)


def _user(text: str) -> int:
    if text.isascii() and text.isdecimal():
        return _whole(text, 0, MAX_ID)
    import pwd  # for those who give a name

    try:
        return pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError):
        raise ValueError("there is no such user") from None


def _group(text: str) -> int:
    if text.isascii() and text.isdecimal():
        return _whole(text, 0, MAX_ID)
    import grp

    try:
        return grp.getgrnam(text).gr_gid
    except (KeyError, ValueError):
        raise ValueError("there is no such group") from None


def _umask(text: str) -> int:
    if not _OCTAL(text):
        raise ValueError("not an octal number from 0 to 777, such as 022")
    return int(text, 8)


def _admin(text: str) -> Bind | None:
    return None if text == "off" else parse_admin(text)


ADMIN = Kind("ADDRESS", _admin)
BINDS = Kind("ADDRESS", parse_bind, wants="a string or a list of strings", many=True)
WORKERS = Kind("N", _workers, toml=(int, str), wants="a number")
RECALL = Kind("TIME", _recall, _show_recall, _NUMBERS, "a duration")
PATH = Kind("PATH", _path)
FILE = Kind("FILE", _file)
FOLDER = Kind("FOLDER", _path)
FOLDERS = Kind("FOLDER", _path, wants="a string or a list of strings", many=True)
PATTERNS = Kind("PATTERN", _pattern, wants="a string or a list of strings", many=True)
VARIABLES = Kind("NAME=VALUE", _variable, wants="a string or a list of strings", many=True)
ROOT_PATH = Kind("PATH", _root_path)
PEERS = Kind("ADDRESS", parse_peer, wants="a string or a list of strings", many=True, commas=True)
UPSTREAMS = Kind(
    "UPSTREAM", check_upstream, wants="a string or a list of strings", many=True, between=None,
    inline=Inline(
        {"address": str, "weight": int, "max": int, "backup": bool}, "address", upstream_text
    ),
)  # fmt: skip
POLICY = Kind("POLICY", check_policy)
WORKER_POLICY = Kind("POLICY", check_worker_policy)
WEIGHTS = Kind(
    "N,N…", _weight, toml=(int, str), wants="a number or a list of them", many=True, commas=True
)
PROBE = Kind("PROBE", check_probe)
TOKEN = Kind("NAME", _token)
HOST = Kind("HOST", _host)
PID_FILE = Kind("FILE", _pid_file, toml=(int, str), wants="a string")
LOG_FILE = Kind("FILE", _log_file, _show_log_file)
LOG_FORMAT = Kind("FORMAT", check_log_format)
NAME = Kind("NAME", _name)
APP = Kind("APP", check_app)
SWITCH = Kind("", _switch, _show_switch, (bool,), "true or false")
# A number in a file is decimal in one and octal in the next, and 22 is a mask in both.
UMASK = Kind("MASK", _umask, "{:03o}".format, wants='an octal number in quotes, such as "022"')
USER = Kind("USER", _user, toml=(int, str), wants="a user's name or number")
GROUP = Kind("GROUP", _group, toml=(int, str), wants="a group's name or number")
