"""What the tests of HTTP clients run on: both event loops, and both clients."""

import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from gateway.http_client.httpx2_client import Httpx2Client
from gateway.http_client.pool import ConnectionPool, HttpClient

ClientType: TypeAlias = Callable[..., HttpClient]


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture(scope="session", params=[ConnectionPool, Httpx2Client])
def client(request: pytest.FixtureRequest) -> ClientType:
    """A class that keeps the contract of HttpClient."""
    found: ClientType = request.param
    return found


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1 and leyr.example, good for a day, in one file."""
    pem = tmp_path_factory.mktemp("tls") / "both.pem"
    kind = ["-x509", "-days", "1", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1,DNS:leyr.example"]
    key = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(pem)]
    made = subprocess.run(["openssl", "req", *kind, *key], check=True, capture_output=True)
    pem.write_bytes(pem.read_bytes() + made.stdout)
    return pem


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    """The server's end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trust(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))
