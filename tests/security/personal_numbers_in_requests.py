"""Requests with a personal number, in each of its spellings, in every place where a client can put one."""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlencode

import orjson

from gateway.domain.ids import NodeType, TimeslotIds, care_unit_id
from gateway.domain.models import CareUnitKey, Timeslot

# The documentation's own test person.
FORMS = {
    "twelve digits": "191212121212",
    "twelve digits and a hyphen": "19121212-1212",
    "ten digits": "1212121212",
    "ten digits and a hyphen": "121212-1212",
    "of somebody over a hundred": "121212+1212",
    "spaces": "19 121212 1212",
    "dots": "1912.12.12.1212",
    "percent encoded": "19121212%20-%201212",
    "base64": "MTkxMjEyMTIxMjEy",
}
UNIT = CareUnitKey("webdoc", "L0_1")
# Every argument of the schema: its type and where it is.
ARGUMENTS = [
    ("String", "careUnits(emr: $v) { id }"),
    ("ID!", "careUnit(id: $v) { id name }"),
    ("ID!", "node(id: $v) { id __typename }"),
    ("[ID!]!", "nodes(ids: $v) { id }"),
    ("DateTime", "careUnits { timeslots(start: $v) { start } }"),
    ("DateTime", "careUnits { resources { timeslots(end: $v) { start } } }"),
    ("Int", "careUnits { healthcareServices { timeslots(first: $v) { start } } }"),
    ("ID", "careUnits { timeslots(resourceId: $v) { start } }"),
    ("ID", "careUnits { timeslots(healthcareServiceId: $v) { start } }"),
    ("ID", "careUnits { resources { timeslots(healthcareServiceId: $v) { start } } }"),
    ("ID", "careUnits { healthcareServices { timeslots(resourceId: $v) { start } } }"),
    ("[ID!]", "careUnits { availability(filter: {resourceIds: $v}) { coverage { gaps { resourceId } } } }"),
    ("[String!]", "careUnits { availability(filter: {healthcareServiceNames: $v}) { timeslotCount } }"),
    ("String", "careUnits { availability(timeZone: $v) { timeslotCount } }"),
]
# Every kind of name that a document can hold, in documents that are right and in those that are not.
NAMES = """
{ NAME: emrs { NAME: code } }
{ NAME: careUnits(emr: "none") { id } }
{ NAME: nodes(ids: ["x"]) { NAME: id } }
{ NAME: careUnits { NAME: timeslots(first: -1) { start } } }
{ NAME: node(id: "x") { id } NAME: emrs { code } }
{ NAME: __type(name: "NAME") { name } }
{ NAME }
{ careUnits { NAME } }
{ careUnits { id { NAME } } }
{ careUnits(NAME: 1) { id } }
{ careUnits(emr: 1, emr: 2, NAME: 3) { id } }
{ careUnits(emr: { NAME: 1 }) { id } }
{ careUnits { timeslots(NAME: 1, NAME: 1) { start } } }
{ emrs { code(NAME: 1) } }
{ node(id: $NAME) { id } }
{ emrs @NAME { code } }
{ emrs { code @skip(NAME: 1) } }
{ emrs { code @skip(if: $NAME) } }
{ ...NAME }
{ ... on NAME { id } }
{ emrs { ... on NAME { id } } }
{ ...NAME } fragment NAME on Query { ...NAME }
{ ...NAME } fragment NAME on Emr { code }
{ ...NAME } fragment NAME on NAME { id }
{ ...NAME } fragment NAME on Query { emrs { code } } fragment NAME on Query { emrs { code } }
{ emrs { code } } fragment NAME on Query { emrs { code } }
query NAME { emrs { code } }
query NAME { emrs { code } } query NAME { emrs { code } }
query NAME { emrs { code } } query Other { emrs { code } }
query NAME { careUnits(emr: "none") { id } }
query NAME(NAME: Int) { emrs { code } }
query NAME($NAME: ID!) { node(id: $NAME) { id } }
query ($NAME: Int) { emrs { code } }
query ($NAME: NAME) { emrs { code } }
query ($NAME: Int, $NAME: Int) { emrs { code } }
mutation NAME { emrs { code } }
mutation { NAME }
subscription NAME { emrs { code } }
type NAME { id: ID }
NAME { emrs { code } }
"""
_JSON = "application/json"


@dataclass(frozen=True)
class Request:
    """A request with a personal number in it; `target` is percent-encoded already."""

    method: str = "POST"
    target: str = "/graphql"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def post(query: object, *, headers: dict[str, str] | None = None, **more: object) -> Request:
    return Request(headers={"content-type": _JSON, **(headers or {})}, body=orjson.dumps({"query": query, **more}))


def get(target: str = "/graphql", method: str = "GET", **parameters: str) -> Request:
    return Request(method, f"{target}?{urlencode(parameters)}", {"x-requested-with": "fetch"})


def digits_of(number: str) -> str:
    """Only the digits, for places that take nothing else."""
    plain = b64decode(number).decode() if number.startswith("MT") else unquote(number)
    return re.sub(r"\D", "", plain)


def name_of(number: str) -> str:
    """As a GraphQL name; in digits, since nobody can tell what the letters of a name say in base64."""
    written = digits_of(number) if number == FORMS["base64"] else unquote(number)
    return "n" + re.sub(r"\W", "_", written)


def variables(number: str) -> Iterator[Request]:
    digits, name = digits_of(number), name_of(number)
    values: list[Any] = [
        number,
        int(digits),
        float(f"{digits}.5"),
        [number],
        [int(digits)],
        {number: number},
        [[number]],
    ]
    for kind, place in ARGUMENTS:
        for value in values:
            yield post(f"query($v: {kind}) {{ {place} }}", variables={"v": value})
    yield post("query($v: Boolean!) { emrs { code @include(if: $v) } }", variables={"v": number})
    yield post("{ emrs { code } }", variables={name: number, number: {number: number}})
    yield post("query($v: Int = 1) { careUnits { timeslots(first: $v) { start } } }", variables={number: 1})


def literals(number: str) -> Iterator[Request]:
    digits, name = digits_of(number), name_of(number)
    written = [
        f'"{number}"', f'"""{number}"""', digits, f"-{digits}", f"{digits}.5", f"{digits}e1", name, f'["{number}"]',
        f"[{digits}]", f'{{ {name}: "{number}" }}', f"{{ v: {digits} }}", f"${name}",
    ]  # fmt: skip
    for kind, place in ARGUMENTS:
        for literal in written:
            yield post(f"{{ {place.replace('$v', literal)} }}")
        yield post(f'query($v: {kind} = "{number}") {{ {place} }}')
    yield post(f'{{ emrs {{ code @include(if: "{number}") }} }}')
    yield post(f"# {number}\n{{ emrs {{ code }} }}")
    yield post(f'{{ emrs {{ code }} "{number}" }}')
    yield post(f"{{ emrs {{ code }} }} {digits}")
    yield post(f'{{ emrs {{ code }} }} "{number}')
    yield post(number)
    stray = name if number == FORMS["base64"] else number
    yield post(f"query {{ emrs {{ {stray} }} }}")


def names(number: str) -> Iterator[Request]:
    ask, n = "{ emrs { code } }", name_of(number)
    for document in NAMES.strip().splitlines():
        yield post(document.replace("NAME", n))
    for operation_name in (n, number):
        yield post(ask, operationName=operation_name)
        yield post(f"query {n} {ask} query Other {ask}", operationName=operation_name)


def headers(number: str) -> Iterator[Request]:
    digits = digits_of(number)
    hexadecimal = digits.ljust(32, "e")
    values = {
        "x-request-id": [number, hexadecimal, f"{hexadecimal[:8]}-{hexadecimal[8:12]}-eeee-eeee-eeeeeeeeeeee"],
        "traceparent": [number, f"00-{hexadecimal}-00f067aa0ba902b7-01", f"00-{'e' * 32}-{hexadecimal[:16]}-01"],
        "tracestate": [f"clinic={number}"],
        "user-agent": [number],
        "cookie": [f"patient={number}"],
        "authorization": [number, f"Bearer {number}", f"Basic {b64encode(number.encode()).decode()}"],
        "x-api-key": [number],
        "accept": [number, f"text/{number}", f"{_JSON};patient={number}", f"{_JSON};q=0.5, {number}/*;q=0.1"],
        "accept-encoding": [number, f"gzip;q=0.5, {number}"],
        "accept-language": [number],
        "content-type": [number, f"text/{number}", f"{_JSON}; charset={number}", f"{_JSON}; patient={number}"],
        "content-encoding": [number],
        "cache-control": [number, f"max-age=0, patient={number}"],
        "x-gateway-explain": [number, f"1{number}"],
        "if-none-match": [f'W/"{number}"'],
        "origin": [number, f"https://{quote(number)}.example"],
        "referer": [f"https://clinic.example/{quote(number)}"],
        "x-forwarded-for": [number],
        "x-apollo-operation-name": [number],
        "host": [f"{digits}.example"],
        number if re.fullmatch(r"[\w.+-]+", number) else f"x-{digits}": [number],
    }
    for name, given in values.items():
        for value in given:
            yield post("{ careUnits { resources { id } } }", headers={name: value})
            asked = get(query="{ careUnits { resources { id } } }")
            yield Request(asked.method, asked.target, {**asked.headers, name: value})


def urls(number: str) -> Iterator[Request]:
    ask, name = "{ emrs { code } }", name_of(number)
    hexadecimal = digits_of(number).ljust(64, "e")
    persisted = orjson.dumps({"persistedQuery": {"version": 1, "sha256Hash": hexadecimal}}).decode()
    for path in ("", "graphql/", "graphql/assets/", "livez/", "readyz/"):
        yield get(f"/{path}{quote(number)}")
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
        yield get(method=method, query=f'{{ node(id: "{number}") {{ id }} }}')
    given: list[dict[str, str]] = [
        {number: number},
        {"query": number},
        {"documentId": number},
        {"extensions": persisted},
        {"query": f"{{ {name}: emrs {{ code }} }}"},
        {"query": f"query {name} {ask}"},
        *({"query": ask, key: number} for key in ("operationName", "variables", "extensions", "documentId", number)),
        {"query": ask, "extensions": persisted},
        {"query": ask, "variables": orjson.dumps({name: number}).decode()},
    ]
    for parameters in given:
        yield get(**parameters)
    for kind, place in ARGUMENTS:
        values = orjson.dumps({"v": number}).decode()
        yield get(query=f"query($v: {kind}) {{ {place} }}", variables=values)


def bodies(number: str) -> Iterator[Request]:
    ask = "{ emrs { code } }"
    digits = digits_of(number)
    persisted = {"version": 1, "sha256Hash": digits.ljust(64, "e")}
    for body in (number, f'"{number}"', f"[{digits}]", f'{{"{number}": ', f'{{"query": {digits}}}', digits * 40):
        yield Request(headers={"content-type": _JSON}, body=body.encode())
    yield Request(body=f"query={quote(number)}".encode())
    yield post([number])
    yield post({number: number})
    more: list[dict[str, Any]] = [
        {number: number}, {"documentId": number}, {"documentId": int(digits)}, {"operationName": int(digits)},
        {"variables": number}, {"variables": [number]}, {"extensions": number}, {"extensions": {number: number}},
        {"extensions": {"persistedQuery": number}}, {"extensions": {"persistedQuery": {"version": int(digits)}}},
        {"extensions": {"persistedQuery": persisted}},
    ]  # fmt: skip
    for fields in more:
        yield post(ask, **fields)
        yield post(None, **fields)


def uncached_node_id(node_type: NodeType, key: CareUnitKey, leyr_id: str) -> str:
    """The node id of something, made beside the cache of the gateway's own process."""
    return b64encode(f"{node_type}:{'/'.join(quote(part, safe='') for part in (*key, leyr_id))}".encode()).decode()


def ids(number: str) -> Iterator[Request]:
    """Node ids as the gateway would have given them out, had Leyr named something after a person."""
    other = CareUnitKey("webdoc", number)
    made = [
        number,
        care_unit_id(other),
        care_unit_id(CareUnitKey(number, "L0_1")),
        uncached_node_id(NodeType.RESOURCE, UNIT, number),
        uncached_node_id(NodeType.RESOURCE, other, "R1"),
        uncached_node_id(NodeType.HEALTHCARE_SERVICE, UNIT, number),
        b64encode(f"Patient:{number}".encode()).decode(),
        b64encode(f"CareUnit:webdoc/{number}/{number}/{number}".encode()).decode(),
        quote(care_unit_id(other), safe=""),
    ]
    whole = "{ id __typename ... on Resource { timeslots { start } } ... on HealthcareService { timeslots { start } } }"
    for made_id in made:
        yield post(f'{{ node(id: "{made_id}") {whole} }}')
        yield post(f'{{ nodes(ids: ["{made_id}", "{made_id}"]) {{ id }} }}')
        yield post(f'{{ careUnit(id: "{made_id}") {{ id name resources {{ id }} timeslots {{ start }} }} }}')
        yield get(query=f'{{ node(id: "{made_id}") {{ id }} }}')
        for argument in ("resourceId", "healthcareServiceId"):
            yield post(f'{{ careUnits {{ id timeslots({argument}: "{made_id}") {{ start }} }} }}')


def bookings(number: str) -> Iterator[Request]:
    """Everywhere in what mutations take, and in what is asked about appointments."""
    slot = TimeslotIds(UNIT)(Timeslot("2027-01-04T09:00:00+01:00", None, "R1", "S1"))
    key, typename = f"{number}-idempotency-key", "{ __typename }"
    details = {"firstName": "Tolvan", "lastName": "Tolvansson"}
    country: dict[str, Any] = {"country": "SE", "number": number}
    patients: list[dict[str, Any]] = [
        {"leyrId": number}, {"emrId": number}, {"nationalNumber": country}, {"nationalNumber": {"country": number}},
        {"details": {**details, "nationalNumber": country}}, {"details": {**details, "firstName": number}},
        {"details": {**details, "phones": [number]}}, {"details": {**details, "emails": [f"{number}@example.com"]}},
    ]  # fmt: skip
    whole: dict[str, Any] = {"idempotencyKey": key, "timeslotIds": [slot], "patient": {"details": details}}
    inputs = [*({**whole, "patient": each} for each in patients), {**whole, "comment": number}, {**whole, "x": number}]
    inputs += [{**whole, "timeslotIds": [number]}, {**whole, "resourceId": number}, {number: number}]
    for given in inputs:
        yield post(
            f"mutation($i: BookAppointmentInput!) {{ bookAppointment(input: $i) {typename} }}", variables={"i": given}
        )
    for step in ("Confirm", "Cancel", "Reschedule"):
        given = {"idempotencyKey": key, "appointmentId": number, "code": number, "comment": number}
        wanted = {"Confirm": ("code",), "Cancel": ("comment",), "Reschedule": ("comment",)}[step]
        given = {name: each for name, each in given.items() if name in {"idempotencyKey", "appointmentId", *wanted}}
        given |= {"timeslotId": slot} if step == "Reschedule" else {}
        document = f"mutation($i: {step}AppointmentInput!) {{ {step.lower()}Appointment(input: $i) {typename} }}"
        yield post(document, variables={"i": given})
    yield post(f'mutation {{ bookAppointment(input: {{patient: {{leyrId: "{number}"}}}}) {typename} }}')
    default = f'mutation($p: PatientInput = {{leyrId: "{number}"}})'
    yield post(f"{default} {{ bookAppointment(input: {{patient: $p}}) {typename} }}")
    for place in (f"bookingOutcome(idempotencyKey: $v) {typename}", "appointment(id: $v) { id }"):
        kind = "ID!" if place.startswith("appointment(") else "String!"
        for value in (number, key):
            yield post(f"query($v: {kind}) {{ {place} }}", variables={"v": value})


ROUTES = [bookings, variables, literals, names, headers, urls, bodies, ids]
