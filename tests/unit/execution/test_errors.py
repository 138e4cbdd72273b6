"""Errors as clients see them."""

import json

import pytest
import structlog
from graphql import GraphQLError, parse
from structlog.testing import LogCapture

from gateway.domain.errors import GatewayError, NotFound, Origin, UpstreamRateLimited, UpstreamUnavailable
from gateway.execution.errors import ErrorFormatter, extensions_of

OURS = "request-1"


@pytest.fixture
def log() -> LogCapture:
    return LogCapture()


@pytest.fixture
def formatter(log: LogCapture) -> ErrorFormatter:
    return ErrorFormatter(
        structlog.wrap_logger(None, processors=[log], wrapper_class=structlog.make_filtering_bound_logger(0))
    )


@pytest.mark.parametrize(
    ("error", "extensions"),
    [
        (
            NotFound("gone"),
            {"code": "NOT_FOUND", "retryable": False, "reference": OURS, "origin": "client"},
        ),
        (
            UpstreamUnavailable("sick", origin=Origin.EHR, retryable=True, reference="leyrs"),
            {"code": "UPSTREAM_UNAVAILABLE", "retryable": True, "reference": "leyrs", "origin": "ehr"},
        ),
        (
            UpstreamRateLimited("slow down", retryable=True, retry_after=0.0),
            {
                "code": "UPSTREAM_RATE_LIMITED",
                "retryable": True,
                "reference": OURS,
                "origin": "leyr",
                "retryAfter": 0.0,
            },
        ),
    ],
)
def test_extensions_say_what_a_client_needs_to_act(error: GatewayError, extensions: dict[str, object]) -> None:
    assert extensions_of(error, OURS) == extensions


def test_a_domain_error_keeps_its_message_place_and_path(formatter: ErrorFormatter, log: LogCapture) -> None:
    node = parse("{ a }").definitions[0]
    nested = GraphQLError("wrapped", original_error=NotFound("gone"))

    (formatted,) = formatter.formatted([GraphQLError("x", [node], path=["a", 0], original_error=nested)], OURS)

    assert formatted["message"] == "gone"
    assert formatted["path"] == ["a", 0]
    assert formatted["locations"] == [{"line": 1, "column": 1}]
    assert formatted["extensions"]["code"] == "NOT_FOUND"
    assert log.entries == []


def test_an_error_of_graphql_is_the_clients(formatter: ErrorFormatter) -> None:
    (formatted,) = formatter.formatted([GraphQLError("Cannot query field 'x'")], OURS)

    assert formatted["message"] == "Cannot query field 'x'"
    assert formatted["extensions"] == {
        "code": "BAD_USER_INPUT",
        "retryable": False,
        "reference": OURS,
        "origin": "client",
    }
    assert formatted.keys() == {"message", "extensions"}


def test_a_fault_is_masked_and_logged_by_kind_and_place(formatter: ErrorFormatter, log: LogCapture) -> None:
    def fail() -> None:
        raise KeyError("Tolvan Tolvansson")

    with pytest.raises(KeyError) as fault:
        fail()

    (formatted,) = formatter.formatted([GraphQLError("Tolvan", path=["careUnits"], original_error=fault.value)], OURS)

    assert formatted["extensions"]["code"] == "INTERNAL"
    assert formatted["extensions"]["reference"] == OURS
    assert log.entries[0]["kind"] == "KeyError"
    assert log.entries[0]["reference"] == OURS
    assert "fail" in log.entries[0]["places"][-1]
    assert "Tolvan" not in json.dumps([formatted, log.entries])
