"""Names over the wire: a real name server, and the rows that follow what it says."""

from __future__ import annotations

import logging
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import dns.rcode

from balancer.net.endpoints import EndpointTable
from balancer.net.endpoints.address import show_address
from balancer.settings.upstream import parse_upstream
from balancer.upstream.watcher import resolver as resolver_module
from balancer.upstream.watcher.hosts import Hosts
from balancer.upstream.watcher.names import Name
from balancer.upstream.watcher.resolver import Resolver
from balancer.upstream.watcher.roll import Roll
from tests.upstream.watcher.nameserver import NameServer, name_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

    from balancer.net.endpoints import EndpointRow

LONGEST = 30.0


@final
@dataclass
class Lab:
    table: EndpointTable
    roll: Roll
    names: list[Name]
    server: NameServer
    path: Path
    log: pytest.LogCaptureFixture

    @property
    def addresses(self) -> list[str]:
        return [show_address(row.address) for row in self.roll.rows()]

    def lines(self) -> list[str]:
        """What was logged since the last look."""
        lines = [f"{each.levelname} {each.getMessage()}" for each in self.log.records]
        self.log.clear()
        return lines


@asynccontextmanager
async def new_lab(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *texts: str, search: str = "."
) -> AsyncIterator[Lab]:
    caplog.set_level(logging.INFO, "balancer")
    conf = tmp_path / "resolv.conf"
    conf.write_text(f"nameserver 127.0.0.1\nsearch {search}\n")
    upstreams = dict(enumerate(map(parse_upstream, texts)))
    table = EndpointTable.create(rows=4)
    try:
        async with name_server() as server:
            roll = Roll(table, upstreams)
            hosts = Hosts(str(tmp_path / "hosts"))
            resolver = Resolver(str(conf), server.port)
            names = [Name(number, roll, hosts, resolver, LONGEST) for number in upstreams]
            yield Lab(table, roll, names, server, tmp_path, caplog)
    finally:
        table.close()


async def test_rows_follow_the_answers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with new_lab(tmp_path, caplog, "web.example:80") as lab:
        (name,) = lab.names
        lab.server.zone["web.example"] = ["7 A 10.0.0.1", "7 A 10.0.0.2", "20 AAAA fd00::1"]
        assert await name.refresh() == 7
        assert sorted(lab.addresses) == ["10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80"]
        assert sorted(lab.server.asked) == ["web.example A", "web.example AAAA"]
        assert len(lab.lines()) == 1
        version, before = lab.table.heads.version, lab.roll.rows()
        assert await name.refresh() == 7
        assert lab.table.heads.version == version, "nothing new is no news"
        assert lab.lines() == []

        lab.server.zone["web.example"] = ["60 A 10.0.0.2", "60 A 10.0.0.3"]
        assert await name.refresh() == LONGEST
        assert sorted(lab.addresses) == ["10.0.0.2:80", "10.0.0.3:80"]
        assert lab.table.heads.version != version
        stayed = [row for row in lab.roll.rows() if row in before]
        assert [show_address(row.address) for row in stayed] == ["10.0.0.2:80"]
        (line,) = lab.lines()
        assert line.startswith("INFO upstream web.example:80 has other addresses: + 10.0.0.3:80, -")


async def test_no_answer_changes_nothing_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with new_lab(tmp_path, caplog, "web.example:80") as lab:
        (name,) = lab.names
        lab.server.zone["web.example"] = ["2 A 10.0.0.1", "2 AAAA fd00::1"]
        await name.refresh()
        rows = lab.roll.rows()
        lab.lines()
        start = "WARNING upstream web.example:80: its name can't be looked up "
        keeps = ": it keeps the addresses that it has"

        lab.server.rcode = dns.rcode.SERVFAIL
        assert 1 <= await name.refresh() <= 5
        assert lab.lines() == [f"{start}(no name server knows an answer){keeps}"]
        await name.refresh()
        assert (lab.lines(), lab.roll.rows()) == ([], rows)

        lab.server.rcode = dns.rcode.NXDOMAIN
        await name.refresh()
        assert lab.lines() == [f"{start}(there is no such name){keeps}"]

        lab.server.rcode = None
        lab.server.zone["web.example"] = []
        await name.refresh()
        await name.refresh()
        assert lab.lines() == [f"{start}(it has no address){keeps}"]
        assert lab.roll.rows() == rows

        lab.server.zone["web.example"] = ["2 A 10.0.0.1", "2 AAAA fd00::1"]
        await name.refresh()
        assert lab.lines() == ["INFO upstream web.example:80: its name can be looked up again"]
        assert lab.roll.rows() == rows


async def test_each_family_stays_for_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver_module, "PATIENCE", 0.3)
    async with new_lab(tmp_path, caplog, "web.example:80") as lab:
        (name,) = lab.names
        lab.server.zone["web.example"] = ["2 A 10.0.0.1", "2 AAAA fd00::1"]
        await name.refresh()
        lab.lines()
        lab.server.zone["web.example"] = ["2 A 10.0.0.2", "2 AAAA fd00::2"]
        lab.server.silent = {"AAAA"}
        await name.refresh()
        assert sorted(lab.addresses) == ["10.0.0.2:80", "[fd00::1]:80"]
        assert "(no name server answers in time)" in lab.lines()[0]
        lab.server.silent.clear()
        await name.refresh()
        assert sorted(lab.addresses) == ["10.0.0.2:80", "[fd00::2]:80"]


async def test_nobody_is_asked_for_what_the_hosts_file_knows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with new_lab(tmp_path, caplog, "web.example:80", "localhost:81") as lab:
        web, local = lab.names
        (tmp_path / "hosts").write_text("10.0.0.9 web.example\n127.0.0.1 localhost\n")
        assert await web.refresh() == LONGEST
        await local.refresh()
        assert lab.addresses == ["10.0.0.9:80", "127.0.0.1:81"]
        assert lab.server.asked == []
        (tmp_path / "hosts").write_text("")
        lab.server.zone["web.example"] = ["9 A 10.0.0.1"]
        await web.refresh()
        assert lab.addresses[0] == "127.0.0.1:81"
        assert lab.addresses[1:] == ["10.0.0.1:80"]


async def test_search_domains_and_aliases(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with new_lab(tmp_path, caplog, "web:80", search="one.example two.example") as lab:
        (name,) = lab.names
        lab.server.zone["web.two.example"] = ["10 CNAME real.example."]
        lab.server.zone["real.example"] = ["20 A 10.0.0.1"]
        assert await name.refresh() == 10
        assert lab.addresses == ["10.0.0.1:80"]
        assert "web.one.example A" in lab.server.asked


async def test_an_answer_too_long_for_a_datagram(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with new_lab(tmp_path, caplog, "web.example:80") as lab:
        lab.server.zone["web.example"] = [f"9 A 10.0.0.{last}" for last in range(100)]
        await lab.names[0].refresh()
        assert len(lab.addresses) == 100


async def test_an_address_is_one_upstreams(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with new_lab(tmp_path, caplog, "a.example:80", "b.example:80") as lab:
        one, two = lab.names
        lab.server.zone["a.example"] = ["9 A 10.0.0.1", "9 A 10.0.0.2"]
        lab.server.zone["b.example"] = ["9 A 10.0.0.2"]
        await one.refresh()
        lab.lines()
        await two.refresh()
        await two.refresh()
        assert lab.lines() == [
            "WARNING upstream b.example:80: another upstream's already: 10.0.0.2:80"
        ]
        assert [row.upstream for row in lab.roll.rows()] == [0, 0]
        lab.server.zone["a.example"] = ["9 A 10.0.0.1"]
        await one.refresh()
        await two.refresh()
        assert {row.upstream: show_address(row.address) for row in lab.roll.rows()} == {
            0: "10.0.0.1:80",
            1: "10.0.0.2:80",
        }


async def test_a_full_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with new_lab(tmp_path, caplog, "a.example:80", "b.example:80") as lab:
        one, two = lab.names
        many = [f"9 A 10.0.{n // 250}.{n % 250}" for n in range(256)]
        lab.server.zone["a.example"] = many[:255]
        lab.server.zone["b.example"] = ["9 A 10.1.0.1", "9 A 10.1.0.2"]
        await one.refresh()
        await two.refresh()
        (refused,) = [line for line in lab.lines() if line.startswith("WARNING")]
        assert "upstream b.example:80: there is no room for 10.1.0." in refused
        # a full table can still exchange one for another
        lab.server.zone["a.example"] = many[1:]
        await one.refresh()
        assert "10.0.1.5:80" in lab.addresses
        assert "10.0.0.0:80" not in lab.addresses
        assert not [line for line in lab.lines() if line.startswith("WARNING")]


async def test_a_change_never_leaves_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with new_lab(tmp_path, caplog, "a.example:80") as lab:
        (name,) = lab.names
        lab.server.zone["a.example"] = ["9 A 10.0.0.1"]
        await name.refresh()
        seen: list[int] = []

        class Audience:
            def placed(self, _: EndpointRow) -> None:
                seen.append(len(lab.roll.rows()))

            def removed(self, _: EndpointRow) -> None:
                seen.append(len(lab.roll.rows()))

        lab.roll.audience = Audience()
        lab.server.zone["a.example"] = ["9 A 10.0.0.2"]
        await name.refresh()
        assert seen == [2, 1]


async def test_without_name_servers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with new_lab(tmp_path, caplog, "a.example:80") as lab:
        (tmp_path / "resolv.conf").unlink()
        await lab.names[0].refresh()
        (line,) = lab.lines()
        assert "resolv.conf names no name server" in line


async def test_what_stays_keeps_its_interface(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with new_lab(tmp_path, caplog, "a.example:80") as lab:
        lab.table.place(0, (socket.AF_INET6, ("fe80::1", 80, 0, 3)), weight=1, now=0.0)
        before = lab.roll.rows()
        await lab.names[0].refresh()
        assert lab.roll.rows() == before
