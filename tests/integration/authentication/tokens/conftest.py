"""A gateway that trusts an issuer's keys, and the server that publishes them."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.server.serving import serve_in_thread
from tests.harness import CACHES_ON, NOW, Clock, Gateway
from tests.stand_ins.canned_application import CannedApplication, CannedResponse
from tests.unit.auth.issuer import (
    AUDIENCE,
    ISSUER,
    key_set,
    private_key,
    public_jwk,
    said,
    signed,
)

EMRS = "{ emrs { code } }"
UNITS = "{ careUnits { id } }"
IN_TEN_MINUTES = NOW.timestamp() + 600
RSA, EC, ED = "RS256", "ES256", "EdDSA"
KEYS = key_set(*(public_jwk(private_key(algorithm), kid) for algorithm, kid in ((RSA, "k1"), (EC, "k2"), (ED, "k3"))))
NEW_KEYS = key_set(public_jwk(private_key(EC, "new"), "k4"))
JWT: dict[str, Any] = {"gateway_auth": "jwt", "gateway_jwt_issuer": ISSUER, "gateway_jwt_audience": AUDIENCE}
Serve = Callable[..., Gateway]


def published(keys: bytes, status: int = 200) -> CannedResponse:
    return CannedResponse(status, keys, ((b"content-type", b"application/jwk-set+json"),))


class KeyServer(CannedApplication):
    """Publishes an issuer's key set on a port of this machine, which is closed until it opens."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__(published(KEYS))
        self._stack = stack
        # Bound but not listened on, so that connections are refused and no other process gets the port.
        self._bound = stack.enter_context(socket.socket())
        self._bound.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._bound.getsockname()[1]}/keys"

    def open(self) -> None:
        self._bound.listen()
        self._stack.enter_context(serve_in_thread(self, self._bound))

    @property
    def asked(self) -> int:
        """How often its keys were fetched."""
        return self.calls.count("/keys?")


@pytest.fixture
def closed_key_server() -> Iterator[KeyServer]:
    with ExitStack() as stack:
        yield KeyServer(stack)


@pytest.fixture
def key_server(closed_key_server: KeyServer) -> KeyServer:
    closed_key_server.open()
    return closed_key_server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def serve(serve_gateway: Serve, clock: Clock) -> Serve:
    """Start a gateway that trusts the keys at a place, its caches on."""

    def start(place: str | Path, **settings: Any) -> Gateway:
        return serve_gateway(clock=clock, **JWT, gateway_jwt_jwks=str(place), **CACHES_ON, **settings)

    return start


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_bytes(KEYS)
    return path


@pytest.fixture
def gateway(serve: Serve, key_file: Path) -> Gateway:
    return serve(key_file)


def token(algorithm: str = RSA, kid: str | None = "k1", which: str = "first", **claims: Any) -> str:
    return signed(said(**{"exp": IN_TEN_MINUTES, **claims}), algorithm, kid, which)


def new_token() -> str:
    return token(EC, "k4", "new")


def post(gateway: Gateway, bearer: str | None, query: str = EMRS, **headers: str) -> Any:
    credential = {} if bearer is None else {"authorization": f"Bearer {bearer}"}
    return gateway.http.post("/graphql", json={"query": query}, headers={**credential, **headers})
