"""Errors as clients see them."""

import json
from typing import Any

import pytest
import structlog
from graphql import GraphQLError, parse
from graphql.error import located_error
from structlog.testing import LogCapture

from gateway.domain.errors import GatewayError, NotFound, Origin, UpstreamRateLimited, UpstreamUnavailable
from gateway.engine.errors import InvalidDocumentError
from gateway.http.error_responses import ErrorFormatter, extensions_of

OURS = "request-1"


def of_names(message: str, nodes: Any = None, path: list[str | int] | None = None) -> GraphQLError:
    """An error of a rule that quotes names alone, as the engine gives it."""
    return GraphQLError(message, nodes, path=path, original_error=InvalidDocumentError(message))


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
def test_extensions_hold_code_retryable_reference_origin_and_retry_after(
    error: GatewayError, extensions: dict[str, object]
) -> None:
    assert extensions_of(error, OURS) == extensions


def test_a_domain_error_keeps_its_message_location_and_path(formatter: ErrorFormatter, log: LogCapture) -> None:
    node = parse("{ a }").definitions[0]
    nested = GraphQLError("wrapped", original_error=NotFound("gone"))

    (formatted,), _ = formatter.formatted([GraphQLError("x", [node], path=["a", 0], original_error=nested)], OURS)

    assert formatted["message"] == "gone"
    assert formatted["path"] == ["a", 0]
    assert formatted["locations"] == [{"line": 1, "column": 1}]
    assert formatted["extensions"]["code"] == "NOT_FOUND"
    assert log.entries == []


def test_a_field_error_about_an_argument_is_the_clients(formatter: ErrorFormatter) -> None:
    node = parse("{ a }").definitions[0]
    argument = GraphQLError("Argument 'id' has invalid value: Int cannot represent non-integer value: x", [node])

    (formatted,), _ = formatter.formatted([located_error(argument, [node], ["a"])], OURS)

    assert formatted["extensions"]["code"] == "BAD_USER_INPUT"


def test_a_field_error_about_a_value_that_cannot_be_written_is_a_fault(
    formatter: ErrorFormatter, log: LogCapture
) -> None:
    node = parse("{ a }").definitions[0]
    unwritable = GraphQLError("Int cannot represent non 32-bit signed integer value: 4000000000")

    (formatted,), _ = formatter.formatted([located_error(unwritable, [node], ["a"])], OURS)

    assert formatted["extensions"]["code"] == "INTERNAL"
    assert [entry["event"] for entry in log.entries] == ["operation.fault"]


def test_an_error_of_graphql_core_is_bad_user_input(formatter: ErrorFormatter) -> None:
    (formatted,), _ = formatter.formatted([of_names("Cannot query field 'x' on type 'Query'.")], OURS)

    assert formatted["message"] == "Cannot query field 'x' on type 'Query'."
    assert formatted["extensions"] == {
        "code": "BAD_USER_INPUT",
        "retryable": False,
        "reference": OURS,
        "origin": "client",
    }
    assert formatted.keys() == {"message", "extensions"}


def test_a_fault_is_masked_and_logged_by_type_and_place(formatter: ErrorFormatter, log: LogCapture) -> None:
    def fail() -> None:
        raise KeyError("Tolvan Tolvansson")

    with pytest.raises(KeyError) as fault:
        fail()

    (formatted,), _ = formatter.formatted(
        [GraphQLError("Tolvan", path=["careUnits"], original_error=fault.value)], OURS
    )

    assert formatted["extensions"]["code"] == "INTERNAL"
    assert formatted["extensions"]["reference"] == OURS
    assert log.entries[0]["kind"] == "KeyError"
    assert log.entries[0]["reference"] == OURS
    assert "fail" in log.entries[0]["places"][-1]
    assert "Tolvan" not in json.dumps([formatted, log.entries])


def test_document_errors_with_the_same_message_become_one(formatter: ErrorFormatter) -> None:
    first, second = parse("{ a b }").definitions[0].selection_set.selections  # type: ignore[attr-defined] # one kind
    unknown = "Unknown type 'T'."

    formatted, omitted = formatter.formatted(
        [
            of_names(unknown, first),
            of_names("Unknown type 'U'.", first),
            of_names(unknown, second),
            of_names(unknown, second, path=["a"]),
            of_names(unknown, second, path=["b"]),
        ],
        OURS,
    )

    assert [each["message"] for each in formatted] == [unknown, "Unknown type 'U'.", unknown, unknown]
    assert formatted[0]["locations"] == [{"line": 1, "column": 3}, {"line": 1, "column": 5}]
    assert [each.get("path") for each in formatted] == [None, None, ["a"], ["b"]]
    assert omitted == 0


def test_errors_and_locations_beyond_the_limit_are_counted_as_omitted(formatter: ErrorFormatter) -> None:
    node = parse("{ a }").definitions[0]
    many = [GraphQLError("x", node, path=["a", number], original_error=NotFound("gone")) for number in range(33)]
    same = [of_names("Unknown type 'T'.", [node] * 3) for _ in range(33)]

    paths, omitted = formatter.formatted(many, OURS)
    (merged,), none = formatter.formatted(same, OURS)

    assert [each["path"] for each in paths] == [["a", number] for number in range(20)]
    assert omitted == 13
    assert len(merged["locations"]) == 20
    assert none == 0


@pytest.mark.parametrize(
    "message",
    [
        "Too many validation errors, error limit reached. Validation aborted.",
        "Too many errors processing variables, error limit reached. Execution aborted.",
        "Validation aborted.",
    ],
)
def test_an_aborted_validation_counts_as_an_omitted_error(message: str, formatter: ErrorFormatter) -> None:
    formatted, omitted = formatter.formatted([of_names("Unknown type 'T'."), of_names(message)], OURS)

    assert [each["message"] for each in formatted] == ["Unknown type 'T'."]
    assert omitted == 1


def test_a_fault_among_omitted_errors_is_logged_and_each_fault_once(formatter: ErrorFormatter, log: LogCapture) -> None:
    errors = [GraphQLError("x", path=[number], original_error=NotFound("gone")) for number in range(20)]
    errors += [GraphQLError("x", path=[20 + number], original_error=KeyError("Tolvan")) for number in range(9)]
    errors += [GraphQLError("x", path=[30], original_error=ValueError("Tolvan"))]

    formatted, omitted = formatter.formatted(errors, OURS)

    assert omitted == 10
    assert "Tolvan" not in json.dumps([formatted, log.entries])
    assert [entry["kind"] for entry in log.entries] == ["KeyError", "ValueError"]


def test_an_error_of_graphql_core_about_a_result_is_a_fault(formatter: ErrorFormatter, log: LogCapture) -> None:
    error = GraphQLError("Expected Iterable, but did not find one for field 'Tolvan'.", path=["a"])

    (formatted,), _ = formatter.formatted([error], OURS)

    assert formatted["extensions"]["code"] == "INTERNAL"
    assert log.entries[0]["kind"] == "GraphQLError"
    assert "Tolvan" not in json.dumps([formatted, log.entries])


def test_a_value_that_a_scalar_cannot_parse_is_bad_user_input(formatter: ErrorFormatter, log: LogCapture) -> None:
    error = GraphQLError(
        "Expected value of type 'Date', but encountered error 'Tolvan'", original_error=ValueError("x")
    )

    (formatted,), _ = formatter.formatted([error], OURS)

    assert formatted["extensions"]["code"] == "BAD_USER_INPUT"
    assert "Tolvan" not in formatted["message"]
    assert log.entries == []
