"""Whom to trust, and the files that say so."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

import pytest

from balancer.errors import UsageError
from balancer.upstream.handshake import TlsTarget, make_context
from tests.support.certificates import authority, trust

if TYPE_CHECKING:
    from pathlib import Path


def test_a_context(tmp_path: Path) -> None:
    context = make_context(trust(tmp_path), verify=True)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.cert_store_stats()["x509"] == 1  # and none of the system's


def test_verification_can_be_off(tmp_path: Path) -> None:
    for ca in (None, trust(tmp_path)):
        context = make_context(ca, verify=False)
        assert context.verify_mode is ssl.CERT_NONE
        assert not context.check_hostname


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "can't read it: No such file or directory"),
        (b"", "this is no file of certificates"),
        (b"no certificate\n", "this is no file of certificates"),
        (b"-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n", "this is no file of"),
        (authority("ours").private_key_pem.bytes(), "this is no file of certificates"),
    ],
)
def test_a_bad_file(tmp_path: Path, content: bytes | None, why: str, verify: bool) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        make_context(str(path), verify=verify, where="ca.toml:3: upstream_ca")
    assert str(caught.value).startswith(f"ca.toml:3: upstream_ca {path}: {why}")


def test_a_folder_is_none_either(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--upstream-ca"):
        make_context(str(tmp_path), verify=True)


def test_a_system_without_authorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with pytest.raises(UsageError, match="no certificates of authorities"):
        make_context(None, verify=True)
    make_context(None, verify=False)


def test_a_system_with_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", trust(tmp_path))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    make_context(None, verify=True)


def test_no_session_is_kept_of_a_handshake_that_failed(tmp_path: Path) -> None:
    target = TlsTarget(make_context(trust(tmp_path), verify=True), "localhost")
    end = target.begin(ssl.MemoryBIO(), ssl.MemoryBIO())
    target.remember(end)
    assert target._session is None
    target.forget()


@pytest.mark.parametrize(
    ("host", "expected"),
    [("a.example", "a.example"), ("a.example.", "a.example"), ("fe80::1%lo", "fe80::1")],
)
def test_what_a_certificate_can_be_for(tmp_path: Path, host: str, expected: str) -> None:
    target = TlsTarget(make_context(trust(tmp_path), verify=True), host)
    end = target.begin(ssl.MemoryBIO(), ssl.MemoryBIO())
    assert end.server_hostname == expected
