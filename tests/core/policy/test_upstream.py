"""What the texts of ``--upstream-policy`` mean."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.policy import make_policy
from balancer.core.policy.ewma import Ewma
from balancer.core.policy.first import First
from balancer.core.policy.p2c import P2C
from balancer.core.policy.random_choice import RandomChoice
from balancer.core.policy.rendezvous import Rendezvous
from balancer.core.policy.smooth_weighted import SmoothWeighted
from balancer.settings.policy import KeySource, PolicyChoice, parse_policy
from tests.core.policy.makers import name_of

GOOD = {
    "round-robin": (PolicyChoice("round-robin"), SmoothWeighted),
    "p2c": (PolicyChoice("p2c"), P2C),
    "random": (PolicyChoice("random"), RandomChoice),
    "ewma": (PolicyChoice("ewma"), Ewma),
    "first": (PolicyChoice("first"), First),
    "hash:ip": (PolicyChoice("hash", KeySource.IP), Rendezvous),
    "hash:uri": (PolicyChoice("hash", KeySource.URI), Rendezvous),
    "hash:header:X-User": (PolicyChoice("hash", KeySource.HEADER, "x-user"), Rendezvous),
    "hash:cookie:Session": (PolicyChoice("hash", KeySource.COOKIE, "Session"), Rendezvous),
}
BAD = {
    "": "must be one of round-robin, .*hash:cookie:NAME",
    "fastest": "must be one of",
    "Round-Robin": "must be one of",
    "round-robin:": "round-robin takes nothing after it",
    "p2c:3": "p2c takes nothing after it; only hash has a key: hash:ip, ",
    "hash": "hash needs a key; write hash:ip, ",
    "hash:": "hash needs a key",
    "hash:path": "can't hash by 'path'; write hash:ip, ",
    "hash:ip:x": "hash:ip takes no name; write hash:ip",
    "hash:uri:": "hash:uri takes no name",
    "hash:header": "hash:header needs the header's name; write hash:header:NAME",
    "hash:cookie:": "hash:cookie needs the cookie's name",
    "hash:header:X User": "'X User' can't be a header's name",
    "hash:cookie:a=b": "'a=b' can't be a cookie's name",
    "hash:header:a\n": r"'a\\n' can't be a header's name",
}


class TestTexts:
    @pytest.mark.parametrize("text", GOOD)
    def test_good(self, text: str) -> None:
        choice, policy = GOOD[text]
        assert parse_policy(text) == choice
        assert isinstance(make_policy(choice, random.Random().random, name_of), policy)
        assert str(choice).lower() == text.lower()
        assert parse_policy(str(choice)) == choice

    @pytest.mark.parametrize("text", BAD)
    def test_bad(self, text: str) -> None:
        with pytest.raises(ValueError, match=f"^{BAD[text]}"):
            parse_policy(text)

    @given(st.text() | st.builds("hash:{}:{}".format, st.text(), st.text()))
    def test_anything_is_good_or_one_sentence(self, text: str) -> None:
        try:
            choice = parse_policy(text)
        except ValueError as error:
            told = str(error)
        else:
            told = ""
            assert parse_policy(str(choice)) == choice
        assert "\n" not in told
