"""Httpx2Client: the word for why there is no connection."""

import errno
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpcore2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.http_client.connector import ConnectConfig
from gateway.http_client.failures import TransportError
from gateway.http_client.httpx2_client import Httpx2Client
from gateway.http_client.httpx2_exchange import failure_of
from tests.unit.http_client.scripted_server import RESPONSE, Peer, Server, answering, bodies, opened


async def failure(server: Server, **options: object) -> str | None:
    async with opened(Httpx2Client, server, **options) as client:
        with pytest.raises(TransportError) as failed:
            await bodies(client, 1)
        return failed.value.kind


@pytest.fixture(scope="module")
def expired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1 that was good until yesterday, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.not_valid_before(now - timedelta(days=9)).not_valid_after(now - timedelta(days=1))
    builder = builder.add_extension(
        x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
    )
    certificate = builder.serial_number(x509.random_serial_number()).sign(key, hashes.SHA256())
    pem = tmp_path_factory.mktemp("expired") / "both.pem"
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    held = key.private_bytes(serialization.Encoding.PEM, *form)
    pem.write_bytes(held + certificate.public_bytes(serialization.Encoding.PEM))
    return pem


async def test_a_certificate_that_nobody_trusts_and_one_that_has_expired_are_told_apart(
    tls: ssl.SSLContext, expired: Path
) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.load_cert_chain(expired)
    async with Server(answering(RESPONSE), tls=tls) as server:
        assert await failure(server) == "tls_untrusted"
    async with Server(answering(RESPONSE), tls=old) as server:
        assert await failure(server, tls=ssl.create_default_context(cafile=str(expired))) == "tls_expired"
        assert server.heads == []


async def test_a_port_where_nobody_listens_is_refused() -> None:
    async with Server(answering(RESPONSE)) as server:
        pass
    assert await failure(server) == "refused"


@pytest.mark.parametrize("host", ["nowhere.invalid", f"{'a' * 64}.example"])
async def test_a_name_that_does_not_exist_or_cannot_is_not_found(host: str) -> None:
    async with Server(answering(RESPONSE)) as server:
        server.url = server.url.replace("127.0.0.1", host)
        assert await failure(server) == "name_not_found"


async def test_a_handshake_that_is_not_answered_is_a_tls_timeout() -> None:
    async with Server(Peer.abandoned) as server:
        server.url = server.url.replace("http:", "https:")
        assert await failure(server, connecting=ConnectConfig(tls_seconds=0.05)) == "tls_timeout"


async def test_a_server_that_speaks_no_tls_has_failed_at_that() -> None:
    async def plain(peer: Peer) -> None:
        await peer.send(RESPONSE)
        await peer.abandoned()

    async with Server(plain) as server:
        server.url = server.url.replace("http:", "https:")
        assert await failure(server) == "tls_failed"


async def test_a_connection_that_ends_before_the_answer_is_a_reset() -> None:
    async def dropped(peer: Peer) -> None:
        await peer.request()
        peer.drop(reset=True)

    async with Server(dropped) as server:
        assert await failure(server) == "reset"


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9\r\n", b"<html>plain", b"220 mail ESMTP\r\n", b"h"])
async def test_what_begins_as_no_answer_does_is_not_waited_for(answer: bytes) -> None:
    async def other(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await peer.abandoned()

    async with Server(other) as server:
        assert await failure(server) == "not_http"


async def test_an_answer_may_come_byte_by_byte() -> None:
    async with (
        Server(answering(*(bytes([each]) for each in RESPONSE))) as server,
        opened(Httpx2Client, server) as client,
    ):
        assert await bodies(client, 2) == [b"[1]"] * 2


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EHOSTUNREACH, "no_route"), (errno.ENETUNREACH, "no_route"), (errno.ETIMEDOUT, "connect_timeout")],
)
def test_an_address_that_no_route_leads_to(number: int, kind: str) -> None:
    # What anyio raises where all of several addresses failed.
    error = httpcore2.ConnectError()
    error.__cause__ = OSError("All connection attempts failed")
    error.__cause__.__cause__ = ExceptionGroup("several", [OSError(number, "secret"), OSError(number, "secret")])

    failed = failure_of(error, has_ended=False)

    assert failed.kind == kind
    assert "secret" not in str(failed)


async def test_the_deadline_of_a_call_includes_its_connection() -> None:
    async with Server(Peer.abandoned) as server:
        server.url = server.url.replace("http:", "https:")
        async with opened(Httpx2Client, server, connecting=ConnectConfig(tls_seconds=60)) as client:
            with pytest.raises(TimeoutError):
                await client.get("/", max_bytes=9, timeout_seconds=0.05)
