"""The clients that pages and programs use, against running gateways: queries, errors, persisted documents."""

import json
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, TraceConfig
from gql import Client, gql
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.exceptions import TransportQueryError

from tests.audit.npm import install
from tests.e2e.requirement import need_node
from tests.harness import Gateway

HERE = Path(__file__).parent
QUERY = "query Clinic($id: ID!, $first: Int) { careUnit(id: $id) { id name timeslots(first: $first) { id start } } }"
WRONG = QUERY.replace("name", "telephone")
CLIENTS = ("apollo3", "apollo4", "urql", "graphql-request", "relay")
HASHING = ("apollo3", "apollo4", "urql")


def variables_for(gateway: Gateway) -> dict[str, Any]:
    return {"id": gateway.data("{ careUnits { id } }")["careUnits"][0]["id"], "first": 3}


def without_typenames(found: Any) -> Any:
    """What was asked for; Apollo's clients ask for each type too."""
    if isinstance(found, list):
        return [without_typenames(each) for each in found]
    if isinstance(found, dict):
        return {name: without_typenames(value) for name, value in found.items() if name != "__typename"}
    return found


class Report:
    """What the clients of Node.js gave and sent, and what they should have given."""

    def __init__(self, found: dict[str, Any], data: dict[str, Any]) -> None:
        self.found, self._data = found, data

    def sent(self, client: str, how: str) -> list[str]:
        """The requests of a client that got the data each time."""
        asked = self.found[client][how]
        assert asked["given"]
        assert all(without_typenames(each.get("data")) == self._data for each in asked["given"]), asked["given"]
        sent: list[str] = asked["sent"]
        return sent


@pytest.fixture
def report(serve_gateway: Callable[..., Gateway], tmp_path: Path) -> Report:
    need_node()
    install(HERE)
    manifest = tmp_path / "persisted-documents.json"
    manifest.write_text(json.dumps({sha256(QUERY.encode()).hexdigest(): QUERY}), encoding="utf-8")
    automatic, off = serve_gateway(), serve_gateway(gateway_automatic_documents=False)
    trusted = serve_gateway(gateway_documents=manifest, gateway_documents_only=True)
    variables = variables_for(automatic)
    asked = {
        **{
            name: f"{each.url}/graphql" for name, each in (("automatic", automatic), ("off", off), ("trusted", trusted))
        },
        "query": QUERY,
        "variables": variables,
        "wrong": WRONG,
        "documentId": sha256(QUERY.encode()).hexdigest(),
    }
    done = subprocess.run(
        ["node", "clients.js"],
        cwd=HERE,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    data = automatic.data(QUERY, **variables)
    assert len(data["careUnit"]["timeslots"]) == 3
    return Report(json.loads(done.stdout), data)


def test_clients_of_pages_get_data_codes_and_persisted_documents(report: Report) -> None:
    for client in CLIENTS:
        assert report.sent(client, "plain") == ["POST query"] * 2
        assert report.found[client]["wrong"]["given"] == [{"code": "BAD_USER_INPUT"}]
    assert report.sent("urql", "get") == ["GET query"]

    for client in HASHING:
        unknown, registered, known = report.sent(client, "hashed")
        assert (unknown, known) == ("GET hash", "GET hash")
        assert registered in {"GET hash query", "POST hash query"}
        # Told that hashes are not supported, a client stops sending hashes alone.
        first, *later = report.sent(client, "unsupported")
        assert first == "POST hash"
        assert len(later) == 2
        assert set(later) <= {"POST query", "POST hash query"}
    assert report.sent("relay", "trusted") == ["POST id"]

    # All of it went over the connections of the first two requests; Node.js opens another one where it is quick.
    assert report.found["connections"] <= 2


async def test_gql_of_python_gets_data_and_codes_over_one_connection(gateway: Gateway) -> None:
    variables, opened = variables_for(gateway), []
    tracing = TraceConfig()

    async def count(_: ClientSession, __: object, ___: object) -> None:
        opened.append(1)

    tracing.on_connection_create_end.append(count)
    transport = AIOHTTPTransport(f"{gateway.url}/graphql", client_session_args={"trace_configs": [tracing]})
    # With the schema that the gateway serves it checks a query before it is sent.
    sdl = gateway.http.get("/schema.graphql").text
    async with Client(transport=transport, schema=sdl) as session:
        asked = gql(QUERY)
        asked.variable_values = variables
        data = [await session.execute(asked) for _ in range(3)]
        asked.variable_values = {**variables, "id": "nonsense"}
        with pytest.raises(TransportQueryError) as refused:
            await session.execute(asked)

    assert data == [gateway.data(QUERY, **variables)] * 3
    assert refused.value.errors is not None
    assert refused.value.errors[0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert refused.value.data == {"careUnit": None}
    assert len(opened) == 1
