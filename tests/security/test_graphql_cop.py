"""The probes of graphql-cop, a scanner for careless GraphQL servers; the gateway as it ships gives none a finding.

Each probe sends what the scanner sends, in the manner of python-requests, and says whether the answer is a finding.
"""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.harness import Gateway

USER_AGENT = "graphql-cop/1.14"
CIRCULAR = "{ __schema { types { " + "fields { type { " * 4 + "name" + " } }" * 4 + " } } }"
CIRCULAR_FRAGMENTS = """
query cop { __schema { ...A } }
fragment A on __Schema { __typename ...B }
fragment B on __Schema { ...A }
"""


@pytest.fixture
def scanner(target: Gateway) -> Iterator[httpx.Client]:
    """Sends the headers that python-requests sends."""
    with scanner_of(target) as client:
        yield client


def scanner_of(gateway: Gateway) -> httpx.Client:
    headers = {"user-agent": USER_AGENT, "accept": "*/*", "accept-encoding": "gzip, deflate"}
    return httpx.Client(base_url=gateway.url, headers=headers, follow_redirects=True, timeout=20)


def answered(response: httpx.Response) -> Any:
    """The answer's JSON, nothing where it is none."""
    try:
        return response.json()
    except ValueError:
        return {}


def asked(client: httpx.Client, query: str) -> Any:
    body = {"query": query, "operationName": "cop"}
    found = answered(client.post("/graphql", json=body, headers={"x-graphql-cop-test": "probe"}))
    assert isinstance(found, dict)
    return found


def data(answer: Any) -> dict[str, Any]:
    return (answer.get("data") or {}) if isinstance(answer, dict) else {}


def alias_overloading(client: httpx.Client) -> bool:
    aliases = " ".join(f"alias{number}: __typename" for number in range(101))
    return "alias100" in data(asked(client, f"query cop {{ {aliases} }}"))


def batching(client: httpx.Client) -> bool:
    batch = [{"query": "query cop { __typename }"} for _ in range(10)]
    return len(answered(client.post("/graphql", json=batch))) >= 10


def circular_fragments(client: httpx.Client) -> bool:
    return "errors" not in asked(client, CIRCULAR_FRAGMENTS)


def circular_introspection(client: httpx.Client) -> bool:
    # The scanner wants more than 25 types, as large schemas have; any is too many.
    return "__schema" in data(asked(client, f"query cop {CIRCULAR}"))


def directive_overloading(client: httpx.Client) -> bool:
    # An error for each directive shows that all were looked at.
    return len(asked(client, f"query cop {{ __typename {'@aa' * 10} }}").get("errors", ())) >= 10


def field_duplication(client: httpx.Client) -> bool:
    return "__typename" in data(asked(client, f"query cop {{ {'__typename ' * 500} }}"))


def field_suggestions(client: httpx.Client) -> bool:
    # The scanner asks the first alone; the second stands nearer to what people mistype.
    queries = ("query cop { __schema { directive } }", "query cop { careUnit { nam } }")
    return any("did you mean" in str(asked(client, query)).lower() for query in queries)


def graphiql(client: httpx.Client) -> bool:
    words = ("graphiql.min.css", "GraphQL Playground", "GraphiQL", "graphql-playground")
    paths = ("/graphiql", "/playground", "/console", "/graphql")
    pages = [client.get(path, headers=headers).text for path in paths for headers in ({}, {"accept": "text/html"})]
    return any(word in page for page in pages for word in words)


def introspection(client: httpx.Client) -> bool:
    return "__schema" in data(asked(client, "query cop { __schema { types { name fields { name } } } }"))


def mutation_by_get(client: httpx.Client) -> bool:
    response = client.get("/graphql", params={"query": "mutation cop {__typename}"})
    return "__typename" in data(answered(response))


def query_by_get(client: httpx.Client) -> bool:
    response = client.get("/graphql", params={"query": "query cop {__typename}"})
    return "__typename" in data(answered(response))


def query_by_form(client: httpx.Client) -> bool:
    form = {"query": "query cop {__typename}"}
    responses = (client.post("/graphql", data=form), client.post("/graphql", params=form))
    return any("__typename" in data(answered(response)) for response in responses)


def tracing(client: httpx.Client) -> bool:
    answer = asked(client, "query cop { __typename }")
    told = [answer, *answer.get("errors", ())]
    leaks = [{"tracing", "exception"} & set(each.get("extensions") or ()) for each in told]
    return any(leaks) or "stacktrace" in str(answer).lower()


def unhandled_error(client: httpx.Client) -> bool:
    answer = asked(client, "qwerty cop { abc }")
    assert answer["errors"]
    return "exception" in str(answer).lower()


PROBES = [
    alias_overloading,
    batching,
    circular_fragments,
    circular_introspection,
    directive_overloading,
    field_duplication,
    field_suggestions,
    graphiql,
    introspection,
    mutation_by_get,
    query_by_form,
    query_by_get,
    tracing,
    unhandled_error,
]


def test_the_scanner_takes_the_gateway_for_a_graphql_server(scanner: httpx.Client) -> None:
    assert data(asked(scanner, "query cop { __typename }")) == {"__typename": "Query"}


@pytest.mark.parametrize("probe", PROBES)
def test_a_probe_finds_nothing(probe: Callable[[httpx.Client], bool], scanner: httpx.Client) -> None:
    assert not probe(scanner)


def test_probes_find_what_an_open_gateway_allows(serve_gateway: Callable[..., Gateway]) -> None:
    with scanner_of(serve_gateway(gateway_introspection=True)) as client:
        assert [probe.__name__ for probe in PROBES if probe(client)] == ["field_suggestions", "introspection"]
