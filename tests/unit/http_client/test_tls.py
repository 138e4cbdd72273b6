"""TLS towards the upstream: whom the pool trusts, and which kind of failure a wrong certificate is."""

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.http_client.connector import ConnectConfig
from gateway.http_client.failures import FailureKind, kind_of
from gateway.http_client.pool import ConnectionPool
from gateway.http_client.tls import resuming_context
from tests.unit.http_client.certificates import DAY, Authority, new_authority
from tests.unit.http_client.scripted_server import RESPONSE, Peer, Script, Server, answering, bodies, pool, sized


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("tls"), "private")


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """The private authority, which the environment names."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    return authority


async def failure(server: Server, *, tls_seconds: float = 20) -> FailureKind:
    async with pool(server, connecting=ConnectConfig(tls_seconds=tls_seconds)) as connections:
        with pytest.raises(OSError, match=r".") as failed:
            await bodies(connections, 1)
    return kind_of(failed.value)


async def test_ssl_cert_file_names_a_private_authority(trusted: Authority) -> None:
    async with Server(answering(RESPONSE), tls=trusted.server()) as server, pool(server) as connections:
        assert await bodies(connections, 2) == [b"[1]"] * 2


async def test_ssl_cert_dir_names_a_folder_of_authorities(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    # OpenSSL looks for files that are named for a hash of the authority's name, as `openssl rehash` does.
    process = await asyncio.create_subprocess_exec(
        "openssl", "x509", "-hash", "-noout", "-in", authority.file, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    (tmp_path / f"{printed.decode().strip()}.0").write_bytes(authority.file.read_bytes())
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))

    async with Server(answering(RESPONSE), tls=authority.server()) as server, pool(server) as connections:
        assert await bodies(connections, 1) == [b"[1]"]


async def test_a_certificate_of_an_unknown_authority_is_untrusted(authority: Authority) -> None:
    async with Server(answering(RESPONSE), tls=authority.server()) as server:
        assert await failure(server) is FailureKind.TLS_UNTRUSTED

    assert server.heads == []


async def test_a_certificate_of_another_host_is_untrusted(trusted: Authority) -> None:
    async with Server(answering(RESPONSE), tls=trusted.server(host="192.0.2.1")) as server:
        assert await failure(server) is FailureKind.TLS_UNTRUSTED


async def test_a_certificate_whose_time_is_over_has_expired(trusted: Authority) -> None:
    async with Server(answering(RESPONSE), tls=trusted.server(valid_until=datetime.now(UTC) - DAY)) as server:
        assert await failure(server) is FailureKind.TLS_EXPIRED


async def closing(_: Peer) -> None:
    """Closes the connection before anything is said."""


async def resetting(peer: Peer) -> None:
    peer.drop(reset=True)


async def plain(peer: Peer) -> None:
    await peer.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    await peer.abandoned()


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (closing, FailureKind.RESET),
        (resetting, FailureKind.RESET),
        (plain, FailureKind.TLS_FAILED),
        (Peer.abandoned, FailureKind.TLS_TIMEOUT),
    ],
)
async def test_a_server_without_tls_has_its_kind(script: Script, kind: FailureKind) -> None:
    async with Server(script) as server:
        server.url = server.url.replace("http:", "https:")
        seconds = 0.05 if kind is FailureKind.TLS_TIMEOUT else 20
        assert await failure(server, tls_seconds=seconds) is kind


class Sessions:
    """A script that answers one request a connection, and keeps whether each connection resumed a session."""

    def __init__(self) -> None:
        self.resumed: list[bool] = []

    async def __call__(self, peer: Peer) -> None:
        self.resumed.append(peer.resumes)
        await peer.request()
        await peer.send(sized(b"[1]", b"connection: close"))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_connection_resumes_the_session_of_an_earlier_one(trusted: Authority, version: ssl.TLSVersion) -> None:
    sessions, tls = Sessions(), trusted.server()
    tls.minimum_version = tls.maximum_version = version
    async with Server(sessions, tls=tls) as server, pool(server) as connections:
        await bodies(connections, 3)
        await asyncio.gather(*(bodies(connections, 1) for _ in range(10)))

    assert sessions.resumed == [False] + [True] * 12


async def test_a_session_that_the_server_does_not_know_begins_anew(trusted: Authority) -> None:
    now, sessions = [1000.0], Sessions()
    tls = resuming_context(lambda: now[0])
    for resumed in ([False, True], [False, True]):
        # Each server seals its tickets with keys of its own.
        async with Server(sessions, tls=trusted.server()) as server:
            connections = ConnectionPool(server.url, {}, tls=tls)
            await bodies(connections, 1)
            now[0] += 2
            await bodies(connections, 1)
            await connections.close()

        assert sessions.resumed == resumed
        sessions.resumed.clear()
        now[0] += 2


async def test_a_session_is_resumed_for_an_hour_at_most(trusted: Authority) -> None:
    now, sessions = [1000.0], Sessions()
    tls = resuming_context(lambda: now[0])
    async with Server(sessions, tls=trusted.server()) as server, pool(server, tls=tls) as connections:
        # Each renews it, and none sees the certificate but the first and the one after an hour.
        for minutes in (0, 30, 29, 2, 2):
            now[0] += 60 * minutes
            await bodies(connections, 1)

    assert sessions.resumed == [False, True, True, False, True]


async def test_a_session_does_not_make_another_servers_certificate_right(trusted: Authority, tmp_path: Path) -> None:
    sessions, tls = Sessions(), resuming_context()
    async with Server(sessions, tls=trusted.server()) as server:
        connections = ConnectionPool(server.url, {}, tls=tls)
        await bodies(connections, 2)
        await connections.close()

    stranger = new_authority(tmp_path, "stranger")
    async with Server(sessions, tls=stranger.server()) as server, pool(server, tls=tls) as connections:
        with pytest.raises(ssl.SSLCertVerificationError):
            await bodies(connections, 1)

    assert sessions.resumed == [False, True]
