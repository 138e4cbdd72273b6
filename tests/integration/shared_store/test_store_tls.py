"""A store behind TLS: a connection stands with the right authority for the right host alone, else the log says why."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.shared_store.address import StoreAddress
from gateway.shared_store.errors import AwayReason
from tests.stand_ins.store_proxy import StoreProxy
from tests.stores import ECHO, Heard, Store, store_at, until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@dataclass
class Authority:
    """An authority that signs certificates, and its own in a file."""

    folder: Path
    title: str

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.title)])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        certificate = self._builder(self.name, self.key).add_extension(constraints, critical=True)
        self.file = self.folder / f"{self.title}.pem"
        self.file.write_bytes(certificate.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )

    def server_context(self, host: str) -> ssl.SSLContext:
        """What a server of that name shows."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        signed = self._builder(subject, key).add_extension(names, critical=False).sign(self.key, hashes.SHA256())
        both = self.folder / f"{self.title}-{host}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        both.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        return context


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("others"), "others")


@asynccontextmanager
async def listening(server: Store, tls: ssl.SSLContext | None) -> AsyncIterator[StoreProxy]:
    async with StoreProxy(server.socket, Path(), host="127.0.0.1", tls=tls) as proxy:
        yield proxy


async def first_event(address: StoreAddress) -> str:
    heard = Heard()
    async with store_at(address, heard) as store:
        await until(lambda: bool(heard.events))
        if store.is_up:
            assert (await store.run(ECHO, [], [b"x" * 300_000])).value == b"x" * 300_000
        return heard.events[0]


def at(port: int, ca: Path | None, host: str = "localhost") -> StoreAddress:
    return StoreAddress(host, port, is_encrypted=True, ca=ca)


async def test_the_right_authority_and_host_is_connected_to(server: Store, ours: Authority) -> None:
    async with listening(server, ours.server_context("localhost")) as proxy:
        assert await first_event(at(proxy.port, ours.file)) == "up"


@pytest.mark.parametrize("given", ["others", "none", "missing", "no certificate"])
async def test_another_authority_is_not_believed(
    server: Store, ours: Authority, others: Authority, given: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").write_text("none")
    ca = {"others": others.file, "missing": tmp_path / "none", "no certificate": tmp_path / "empty"}.get(given)
    async with listening(server, ours.server_context("localhost")) as proxy:
        assert await first_event(at(proxy.port, ca)) == AwayReason.TLS


async def test_another_host_is_not_believed(server: Store, ours: Authority) -> None:
    async with listening(server, ours.server_context("other.example")) as proxy:
        assert await first_event(at(proxy.port, ours.file)) == AwayReason.TLS


async def test_a_server_that_does_not_encrypt_is_not_believed(server: Store, ours: Authority) -> None:
    async with listening(server, None) as proxy:
        assert await first_event(at(proxy.port, ours.file)) == AwayReason.TLS


async def test_a_server_that_encrypts_is_not_reached_without(server: Store, ours: Authority) -> None:
    async with listening(server, ours.server_context("localhost")) as proxy:
        found = await first_event(StoreAddress("localhost", proxy.port))
        assert found in {AwayReason.UNREACHABLE, AwayReason.PROTOCOL}


async def test_an_unknown_host_or_a_closed_port_is_unreachable(ours: Authority) -> None:
    assert await first_event(StoreAddress("none.invalid", 1)) == AwayReason.UNREACHABLE
    assert await first_event(at(1, ours.file)) == AwayReason.UNREACHABLE
    assert await first_event(StoreAddress("x" * 300, 1)) == AwayReason.UNREACHABLE
    assert await first_event(StoreAddress(path="/x" * 100)) == AwayReason.UNREACHABLE
    assert await first_event(StoreAddress("a\0b", 1)) == AwayReason.UNREACHABLE
