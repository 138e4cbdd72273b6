"""Arguments and ids that no honest client sends: as variables and in the document, for every argument of the schema."""

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLArgument, GraphQLObjectType, build_schema, get_named_type

from tests.harness import Gateway, Simulator
from tests.security.raw_requests import CLIENTS_FAULTS

SCHEMA = build_schema((Path(__file__).parents[2] / "schema.graphql").read_text(encoding="utf-8"))
# How a query gets to an object of a type.
WAYS = {
    "Query": "{ %s }",
    "Mutation": "{ %s }",
    "CareUnit": "{ careUnits { %s } }",
    "HealthcareService": "{ careUnits { healthcareServices { %s } } }",
    "Resource": "{ careUnits { resources { %s } } }",
    "Availability": "{ careUnits { availability { %s } } }",
    "FreeTime": "{ careUnits { availability { times { %s } } } }",
    "AvailabilityDay": "{ careUnits { availability { days { %s } } } }",
    "CareUnitAvailability": "{ careUnits { availability { byCareUnit { %s } } } }",
    "HealthcareServiceAvailability": "{ careUnits { availability { byHealthcareService { %s } } } }",
    "ResourceAvailability": "{ careUnits { availability { byResource { %s } } } }",
}
WRONG_FOR_ALL: list[Any] = [{}, {"__proto__": {}}, {"id": "x"}, [[]], [{}], [None, {}]]
WRONG_FOR_TEXT: list[Any] = [True, False, 1.5, *WRONG_FOR_ALL]
_KEY, _ID = "idempotency-key-of-tests", "Q2FyZVVuaXQ6eA=="
_DETAILS: dict[str, Any] = {"firstName": "Tolvan", "lastName": "Tolvansson"}
BOOKED: dict[str, Any] = {"idempotencyKey": _KEY, "timeslotIds": [_ID], "patient": {"details": _DETAILS}}
CHANGED = {"idempotencyKey": _KEY, "appointmentId": "x"}
WRONG_INPUTS: list[Any] = ["", 1, True, {}, {"id": "x"}, {"__proto__": {}}, [[]], {"idempotencyKey": None}]
WRONG_PATIENTS: list[Any] = [
    None, "", 1, [], {}, {"leyrId": None}, {"leyrId": "a", "emrId": "b"}, {"leyrId": {}}, {"details": {}},
    {"details": {**_DETAILS, "phones": [None]}}, {"details": {**_DETAILS, "x": 1}}, {"nationalNumber": {"number": "1"}},
    {"nationalNumber": {"country": "XX", "number": "1"}}, {"nationalNumber": {"country": "SE", "number": 1912}},
]  # fmt: skip
WRONG_OF_BOOKING: dict[str, list[Any]] = {
    "BookAppointmentInput": [
        *({**BOOKED, "patient": each} for each in WRONG_PATIENTS), {**BOOKED, "timeslotIds": None},
        {**BOOKED, "timeslotIds": [None]}, {**BOOKED, "timeslotIds": [{}]}, {**BOOKED, "comment": 1},
        {**BOOKED, "resourceId": {}}, {**BOOKED, "idempotencyKey": 1},
    ],
    "ConfirmAppointmentInput": [CHANGED, {**CHANGED, "code": None}, {**CHANGED, "code": 123456}],
    "CancelAppointmentInput": [{**CHANGED, "comment": {}}, {**CHANGED, "appointmentId": None}],
    "RescheduleAppointmentInput": [CHANGED, {**CHANGED, "timeslotId": [[]]}],
}  # fmt: skip
WRONG: dict[str, list[Any]] = {
    "ID": WRONG_FOR_TEXT,
    "String": [0, -1, *WRONG_FOR_TEXT],
    "Boolean": ["", "true", 0, 1, 1.5, *WRONG_FOR_ALL],
    "AvailabilityFilter": [
        "", 1, True, {"id": "x"}, {"__proto__": {}}, [[]], {"weekdays": ["FUNDAY"]}, {"weekdays": [0]},
        {"weekdays": [None]},
        {"resourceIds": [None]}, {"resourceIds": [{}]}, {"healthcareServiceNames": [1]}, {"timeOfDay": {}},
        {"timeOfDay": {"from": "08:00"}}, {"timeOfDay": {"from": "25:00", "to": "08:00"}},
        {"timeOfDay": {"from": "08:00", "to": "08:00"}}, {"timeOfDay": {"from": "08:00Z", "to": "09:00"}},
        {"minimumNoticeMinutes": -1}, {"minimumDurationMinutes": -1}, {"minimumNoticeMinutes": 2**31},
    ],
    "AvailabilityRange": [
        "", 1, True, {}, {"id": "x"}, {"__proto__": {}}, [[]], {"days": None},
        {"instants": None}, {"days": {}, "instants": None},
        {"days": {}, "instants": {"start": "2026-12-01T09:00:00Z", "end": "2026-12-02T09:00:00Z"}},
        {"days": {"count": 0}},
        {"days": {"count": None}}, {"days": {"count": 2**31 - 1}}, {"days": {"from": "2026-02-30"}},
        {"days": {"from": ""}},
        {"days": {"from": "9999-12-31", "count": 90}}, {"days": {"from": "2026-12-01T00:00:00Z"}}, {"instants": {}},
        {"instants": {"start": "2026-12-01T09:00:00Z", "end": "2026-12-01T09:00:00Z"}},
        {"instants": {"start": "2026-12-02T09:00:00Z", "end": "2026-12-01T09:00:00Z"}},
    ],
    **{name: [*WRONG_INPUTS, *more] for name, more in WRONG_OF_BOOKING.items()},
    "Int": ["1", "", True, 1.5, 1e10, -1, 2**31, 2**63, 2**64 - 1, -(2**31) - 1, "\u0661", *WRONG_FOR_ALL],
    "DateTime": [
        0, 1_767_225_600, 1.5, True, *WRONG_FOR_ALL,
        "", " ", "now", "tomorrow", "2026", "2026-12-01", "2026-12-01T09:00:00", "2026-12-01 09:00:00Z",
        "2026-12-01T09:00:00+99:99", "2026-12-01T09:00:00+24:00", "2026-12-01T09:00:00+0100", "2026-12-01T09:00:00+1",
        "2026-12-01T24:00:00Z", "2026-12-31T23:59:60Z", "2026-12-01T09:60:00Z", "2026-02-29T09:00:00Z",
        "2026-13-01T09:00:00Z", "2026-00-01T09:00:00Z", "2026-12-00T09:00:00Z", "2026-W49-2T09:00:00Z",
        "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "10000-01-01T00:00:00Z",
        "+12026-12-01T09:00:00Z", "-2026-12-01T09:00:00Z", "2026-12-01T09:00:00Zulu",
        "2026-12-01T09:00:00[Europe/Oslo]",
        "2026-12-01T09:00:00Z\n", "\n2026-12-01T09:00:00Z", "2026-12-01T09:00:00Z\0",
        "\uff12\uff10\uff12\uff16-12-01T09:00:00Z",
        "2026-12-01T09:00:00\u221201:00", "Tue, 01 Dec 2026 09:00:00 GMT", "2026-12-01T09:00:00Z" * 500,
    ],
}  # fmt: skip
ODD: dict[str, list[Any]] = {
    "ID": ["", " ", 0, -1, 2**63, "\0"],
    "String": ["", " ", "\0", "é", "../etc", "WEBDOC", "webdoc\r\nx-evil: 1", "x" * 50_000],
    "Int": [0, 1, 2**31 - 1, 1e3, 1.0, -0.0],
    "Boolean": [True, False],
    "AvailabilityFilter": [
        {},
        {"resourceIds": []},
        {"resourceIds": ["", "\0"]},
        {"healthcareServiceNames": ["", "\0", "x" * 20_000]},
        {"weekdays": []},
        {"weekdays": ["MONDAY"] * 1_000},
        {"minimumNoticeMinutes": 2**31 - 1},
        {"minimumDurationMinutes": 2**31 - 1},
        {"timeOfDay": {"from": "00:00", "to": "23:59:59"}},
        {"timeOfDay": {"from": "22:00", "to": "06:00"}},
    ],
    "AvailabilityRange": [
        {"days": {}},
        {"days": {"from": None}},
        {"days": {"from": "0001-01-01", "count": 1}},
        {"days": {"from": "9999-12-31", "count": 1}},
        {"instants": {"start": "0001-01-02T00:00:00Z", "end": "0001-01-03T00:00:00Z"}},
        {"instants": {"start": "9999-12-30T00:00:00Z", "end": "9999-12-31T23:59:59.999999Z"}},
    ],
    "BookAppointmentInput": [
        BOOKED,
        {**BOOKED, "timeslotIds": [_ID] * 1_000},
        {**BOOKED, "timeslotIds": []},
        {**BOOKED, "comment": "\0" * 10_000},
        {**BOOKED, "idempotencyKey": "\0" * 20},
        {**BOOKED, "patient": {"leyrId": "../.."}},
        {**BOOKED, "patient": {"nationalNumber": {"country": "NO", "number": "\u0661" * 11}}},
        {**BOOKED, "patient": {"details": {**_DETAILS, "firstName": "\U0001f3ca" * 10_000}}},
        {**BOOKED, "patient": {"details": {**_DETAILS, "emails": ["@" * 1_000] * 900}}},
    ],
    "ConfirmAppointmentInput": [{**CHANGED, "code": ""}, {**CHANGED, "code": "1" * 10_000}],
    "CancelAppointmentInput": [CHANGED, {**CHANGED, "appointmentId": "." * 20_000}],
    "RescheduleAppointmentInput": [{**CHANGED, "timeslotId": _ID}, {**CHANGED, "timeslotId": ""}],
    "DateTime": [
        "1900-01-01T00:00:00Z",
        "9000-12-31T23:59:59.999999999999Z",
        "2026-12-01T09:00z",
        "2026-12-01T09:00-00:00",
    ],
}
LITERALS = [
    "{}", "[]", "[[[]]]", "{a: {b: 1}}", "{days: null}", "{instants: null}", "{days: {}, instants: null}",
    "true", "WORD", "__proto__", "$undefined", "-1", "1.5", "1e400", "-1e400",
    "99999999999999999999", "9" * 4_000, '""', '" "', '"\\u0000"', '"""\n\n"""', '"\\n\\r"', '"\U0001f3ca"', "null",
    '"x" "y"',
]  # fmt: skip


def arguments() -> Iterator[Any]:
    for kind in SCHEMA.type_map.values():
        # What a taken time leads to is reached by booking alone, and is tried by the tests of mutations.
        if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__") and kind.name != "TimeslotTaken":
            for field_name, field in kind.fields.items():
                for name, argument in field.args.items():
                    yield pytest.param(kind.name, field_name, name, argument, id=f"{kind.name}.{field_name}.{name}")


EVERY_ARGUMENT = pytest.mark.parametrize(("kind", "field", "name", "argument"), list(arguments()))


def asked(kind: str, field: str, given: str, variable: str = "") -> str:
    operation = "mutation" if kind == "Mutation" else "query"
    return f"{operation}{variable} {WAYS[kind]}" % f"{field}({given}) {{ __typename }}"


def codes(answer: dict[str, Any]) -> set[str]:
    return {error["extensions"]["code"] for error in answer.get("errors", ())}


@EVERY_ARGUMENT
def test_wrong_variables_are_refused(
    kind: str, field: str, name: str, argument: GraphQLArgument, target: Gateway
) -> None:
    query = asked(kind, field, f"{name}: $v", f"($v: {argument.type})")
    taken = {}
    for value in WRONG[get_named_type(argument.type).name]:
        answer = target.ask(query, v=value)
        if codes(answer) != {"BAD_USER_INPUT"}:
            taken[repr(value)[:60]] = answer
    assert taken == {}


@EVERY_ARGUMENT
def test_odd_variables_break_nothing(
    kind: str, field: str, name: str, argument: GraphQLArgument, target: Gateway
) -> None:
    query = asked(kind, field, f"{name}: $v", f"($v: {argument.type})")
    broken = {}
    for value in [None, *ODD[get_named_type(argument.type).name]]:
        answer = target.ask(query, v=value)
        if not codes(answer) <= CLIENTS_FAULTS:
            broken[repr(value)[:60]] = answer
    assert broken == {}


@EVERY_ARGUMENT
def test_odd_literals_break_nothing(
    kind: str, field: str, name: str, argument: GraphQLArgument, target: Gateway
) -> None:
    assert argument is not None
    broken = {}
    for literal in LITERALS:
        answer = target.ask(asked(kind, field, f"{name}: {literal}"))
        if not codes(answer) <= CLIENTS_FAULTS:
            broken[literal[:60]] = answer
    assert broken == {}


BAD_IDS = {
    "nothing": "",
    "blank": " ",
    "dot": ".",
    "dots": "..",
    "encoded dots": "%2e%2e",
    "way up": "../../../etc/passwd",
    "way up in Windows": "..\\..\\windows\\win.ini",
    "encoded way up": "..%2f..%2fadmin",
    "twice encoded way up": "%252e%252e%252f",
    "separators": "a/b/c",
    "query": "x?admin=1",
    "fragment": "x#y",
    "URL": "http://elsewhere.example/",
    "new header": "x\r\nX-Evil: 1",
    "encoded new header": "x%0d%0aX-Evil:%201",
    "NUL": "x\0y",
    "delete": "\x7f",
    "C1 control": "\x85",
    "right to left": "\u202ex",
    "beyond the BMP": "\U0001f3ca",
    "not normal": "e\u0301",
    "long": "x" * 60_000,
    "injected SQL": "' OR 1=1; --",
    "injected template": "{{7*7}}${7*7}",
    "format": "%s%n{0}",
    "not base64": "!!!!",
    "base64 of nothing": "====",
    "base64 of bytes": "/////w==",
    "base64 of base64": "UTJGeVpWVnVhWFE2ZDJWaVpHOWpMMHd3WHpFPQ==",
    "personal number": "191212121212",
}
# As base64 of UTF-8: node ids that the gateway never gave out.
BAD_NODES = [
    "", ":", "CareUnit", "CareUnit:", "CareUnit:/", "CareUnit:webdoc", "CareUnit:webdoc/", "CareUnit:/L0_1",
    "CareUnit:webdoc/L0_1/R1", "CareUnit:webdoc/..", "CareUnit:webdoc/%2e%2e", "CareUnit:webdoc/%2E%2E",
    "CareUnit:../L0_1", "CareUnit:webdoc/L0_1%00", "CareUnit:webdoc/%ff", "CareUnit:webdoc/%",
    "CareUnit:webdoc/L0%5f1", "careunit:webdoc/L0_1", "CareUnit :webdoc/L0_1", "CareUnit:webdoc/L0_1 ",
    "CareUnit:webdoc/L0_1\n", "CareUnit:WEBDOC/L0_1", "CareUnit:nowhere/L0_1", "CareUnit:webdoc/" + "x" * 40_000,
    "CareUnit:webdoc/nothing", "Resource:webdoc/L0_1", "Resource:webdoc/L0_1/", "Resource:webdoc//R1",
    "Resource:webdoc/L0_1/R1/R1", "Resource:webdoc/L0_1/..", "Resource:webdoc/L0_1/../R1",
    "Resource:webdoc/L0_1/%2e%2e%2fadmin", "Resource:webdoc/L0_1/nothing", "Resource:" + "/".join("123456789"),
    "HealthcareService:webdoc/L0_1/R1", "HealthcareService:webdoc/L0_1", "Query:x", "Query:", "Timeslot:webdoc/L0_1/1",
    "Node:webdoc/L0_1", "__Type:Query", "CareUnit:webdoc/\ud83c", "Emr:", "Emr:nowhere", "Emr:WEBDOC", "Emr:webdoc/R1",
    "Emr:%77ebdoc", "Emr:..", "Timeslot:", "Timeslot:webdoc,L0_1", "Timeslot:webdoc,L0_1,2026-10-20T09:00:00Z,*,*,*",
    "Timeslot:webdoc,..,dmhTdua,*,*,*", "Timeslot:nowhere,L0_1,dmhTdua,*,*,*", "Timeslot:webdoc,L0_1,dmhTdua,*,../x,*",
    "Timeslot:webdoc,L0_1,dmhTdua,*,..,*", "Timeslot:webdoc,L0_1," + "Z" * 40_000 + ",*,*,*",
]  # fmt: skip


def bad_ids() -> Iterator[Any]:
    for name, text in BAD_IDS.items():
        yield pytest.param(text, id=name)
    for text in BAD_NODES:
        encoded = b64encode(text.encode(errors="surrogatepass")).decode()
        yield pytest.param(encoded, id=json.dumps(text[:40]))


@pytest.mark.parametrize("node_id", list(bad_ids()))
def test_an_id_that_was_never_given_out_finds_nothing(node_id: str, target: Gateway, simulator: Simulator) -> None:
    query = "query($id: ID!) { node(id: $id) { id } careUnit(id: $id) { id } nodes(ids: [$id, $id]) { id } }"

    answer = target.ask(query, id=node_id)

    assert answer["data"] == {"node": None, "careUnit": None, "nodes": [None, None]}
    assert len(answer["errors"]) == 4
    assert codes(answer) <= {"BAD_USER_INPUT", "NOT_FOUND"}
    # Whether the lists that would know it are remembered from other tests depends on their order.
    assert {call["endpoint"] for call in simulator.calls()} <= {"care_units", "resources", "healthcare_services"}
