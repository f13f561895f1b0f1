"""The pieces that heads are made of, as regular expressions over bytes (RFC 9110, 9112, 3986)."""

from __future__ import annotations

import re

__all__ = ["BARE_LF", "FIRST_BYTE", "HOST", "TOKEN", "VALID_HOST", "VALUE"]

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
VALUE = rb"[\t\x20-\x7e\x80-\xff]"  # RFC 9110 5.5 without the CTLs that h11 lets pass
# RFC 3986 authority without userinfo; a comma is a legal sub-delim that smuggles lists, so not here
HOST = (
    rb"(?:(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})+|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?"
)

VALID_HOST = re.compile(HOST).fullmatch
FIRST_BYTE = re.compile(TOKEN).match
BARE_LF = re.compile(rb"(?<!\r)\n").search
