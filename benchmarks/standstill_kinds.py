"""What the standstill benchmark sends: hostile documents, upstream lists and clients, one `Kind` each.

To add a kind, add it to one of the tables below; nothing else knows them by name.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from benchmarks.hostile_upstream import Manner
from gateway.domain.ids import TimeslotIds
from gateway.domain.models import CareUnitKey, Timeslot

MIB = 2**20
REFUSED = frozenset({"OPERATION_TOO_LARGE"})
INVALID = frozenset({"BAD_USER_INPUT"})
UPSTREAM_FAILED = frozenset({"UPSTREAM_INVALID_ANSWER", "UPSTREAM_UNAVAILABLE"})
_MANY_REQUESTS = {"GATEWAY_RATE_PER_SECOND": "1000000", "GATEWAY_RATE_BURST": "1000000"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How a kind's request is sent: by so many clients at once, so many times in all, for so many seconds at most.

    A slow client takes `slow_bytes` every two seconds and leaves at the end; others leave after `leaves_after` seconds,
    if it is set. With `distinct`, `#` in the document is the number of the request.
    """

    clients: int = 1
    requests: int = 1
    seconds: float = 20.0
    slow_bytes: int | None = None
    leaves_after: float | None = None
    distinct: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A hostile request and the upstream that it meets.

    `codes` are the error codes that its answer may hold; it may always be answered without errors. `emr` is the
    hostile EHR.
    """

    name: str
    document: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    headers: Sequence[str] = ()
    manner: Manner = field(default_factory=Manner)
    emr: str = "webdoc"
    settings: Mapping[str, str] = field(default_factory=dict)
    codes: frozenset[str] = frozenset()
    load: Load = field(default_factory=Load)

    def scaled(self, factor: float) -> "Kind":
        """The same with smaller lists and fewer requests."""
        load = replace(self.load, requests=max(self.load.clients, int(self.load.requests * factor)))
        return replace(self, manner=self.manner.scaled(factor), load=load)


def node_id(kind: str, *parts: str) -> str:
    """A node id of the hostile EHR `webdoc`."""
    return b64encode(f"{kind}:{'/'.join(('webdoc', *parts))}".encode()).decode()


def timeslot_ids(today: datetime, count: int, minutes: int) -> Iterator[str]:
    """The node ids of so many slots of a care unit, one each so many minutes."""
    ids = TimeslotIds(CareUnitKey("webdoc", "u0"))
    for number in range(count):
        start = today + timedelta(days=1, minutes=minutes * number)
        end = start + timedelta(minutes=20 + number)
        yield ids(Timeslot(start.isoformat(), end.isoformat(), f"r{number % 7}", f"s{number % 5}"))


def nested(levels: int, leaf: str) -> str:
    """Resources of a care unit in each other, so many levels, through their care unit."""
    return "{careUnits{" + "resources{careUnit{" * (levels - 1) + f"resources{{{leaf}}}" + "}}" * (levels - 1) + "}}"


def numbered(form: str, count: int) -> str:
    """Pieces that differ: `#` is the number, `+` the next one."""
    return " ".join(form.replace("#", str(each)).replace("+", str(each + 1)) for each in range(count))


def nested_by_fragments(levels: int, leaf: str) -> str:
    """As `nested`, each level in a fragment of its own."""
    inner = numbered("fragment F# on CareUnit{resources{careUnit{...F+}}}", levels - 1)
    return f"{{careUnits{{...F0}}}} {inner} fragment F{levels - 1} on CareUnit{{resources{{{leaf}}}}}"


def windows(today: datetime, count: int, form: str) -> str:
    """Fields with windows of five hours on days to come; `START` and `END` in the form are their times."""
    pieces = []
    for number, piece in enumerate(numbered(f"{form}\n", count).splitlines()):
        start = today + timedelta(days=1 + number, hours=5)
        end = start + timedelta(hours=5)
        pieces.append(piece.replace("START", f'"{start.isoformat()}"').replace("END", f'"{end.isoformat()}"'))
    return " ".join(pieces)


_LINKS_BELOW = {
    "U": ("CareUnit", "resources{...R<}healthcareServices{...H<}timeslots{...T<}"),
    "R": ("Resource", "careUnit{...U<}timeslots{...T<}"),
    "H": ("HealthcareService", "careUnit{...U<}timeslots{...T<}"),
    "T": ("Timeslot", "careUnit{...U<}resource{...R<}healthcareService{...H<}"),
}
_LEVELS = 5
WIDE_FRAGMENTS = (
    '{x:node(id:"x"){...N}careUnits{timeslots{start}}}'
    "fragment N on Node{...on CareUnit{...U5}...on Resource{...R5}...on HealthcareService{...H5}}"
    + "".join(
        f"fragment {letter}{level} on {name}{{{links.replace('<', str(level - 1))}}}"
        for letter, (name, links) in _LINKS_BELOW.items()
        for level in range(1, _LEVELS + (letter != "T"))
    )
    + "fragment U0 on CareUnit{id}fragment R0 on Resource{careUnit{id}}fragment H0 on HealthcareService{careUnit{id}}"
    "fragment T0 on Timeslot{start careUnit{id}}"
)
"""More than 2,000 positions of 1,700 characters, which stand under a node that does not exist."""

_THIRTY = Manner(resources=30)
_MULTIPLYING = (
    *(
        Kind(name=f"{levels} levels of 30 resources, slots first: 0",
             document=nested(levels, "timeslots(first:0){start}"), manner=_THIRTY, codes=REFUSED)
        for levels in (3, 4)
    ),
    Kind(name="4 levels of 45 resources, slots first: 0", document=nested(4, "timeslots(first:0){start}"),
         manner=Manner(resources=45), codes=REFUSED),
    *(
        Kind(name=f"{levels} levels of 30 resources in fragments, {what}", document=nested_by_fragments(levels, leaf),
             manner=_THIRTY, codes=REFUSED)
        for levels in (2, 3, 4)
        for what, leaf in (("__typename", "__typename"), ("id and name", "id name"))
    ),
    Kind(name="30 aliases of 10,000 resources",
         document=f"{{careUnits{{{numbered('a#:resources{id name leyrId}', 30)}}}}}",
         manner=Manner(resources=10_000), codes=REFUSED),
    Kind(name="30 aliases of 3,300 slots", document=f"{{careUnits{{{numbered('a#:timeslots{start end}', 30)}}}}}",
         manner=Manner(timeslots=3_300), codes=REFUSED),
)  # fmt: skip

_FAILING_LINK = "query($i:ID!){node(id:$i){...on Resource{timeslots{start careUnit{name}}}}}"
_RESOURCE = {"i": node_id("Resource", "u0", "r0")}
_LINKS = "{careUnits{timeslots{start resource{name}healthcareService{name}}}}"
_SKIPPED = 'query($b:Boolean=true){x:node(id:"x"){id @include(if:$b)}careUnits{timeslots{start}}}'
_FILTERED = 'a#:availability(filter:{weekdays:[MONDAY,FRIDAY],timeOfDay:{from:"08:00",to:"17:00"}}){first{start}}'
_FAILURES = (
    *(
        Kind(name=f"non-null careUnit of {slots:,} slots fails", document=_FAILING_LINK, variables=_RESOURCE,
             manner=Manner(resources=1, timeslots=slots, failing=("care-units",)), codes=UPSTREAM_FAILED)
        for slots in (20_000, 90_000)
    ),
    Kind(name="both linked lists of 100,000 slots fail", document=_LINKS,
         manner=Manner(timeslots=100_000, failing=("resources", "healthcare-services")), codes=UPSTREAM_FAILED),
    *(
        Kind(name=f"@include({what}) beside 80,000 slots", document=_SKIPPED, variables=variables,
             manner=Manner(timeslots=80_000), codes=INVALID)
        for what, variables in (("null", {"b": None}), ("absent", {}))
    ),
    Kind(name="fragments of many positions beside 95,000 slots", document=WIDE_FRAGMENTS,
         manner=Manner(timeslots=95_000), codes=INVALID | REFUSED),
    Kind(name="null for a non-null argument with a default",
         document='query($i:ID="x"){a:careUnit(id:$i){id}careUnits{id}}', variables={"i": None}, codes=INVALID),
)  # fmt: skip

_UPSTREAM = (
    Kind(name="600,000 tiny items", document="{careUnits{resources{id}}}", codes=REFUSED | UPSTREAM_FAILED,
         manner=Manner(resources=600_000, resources_as="ids", timeslots=1)),
    Kind(name="300 care units of 10,000 slots", document="{careUnits{timeslots(first:5){start}}}", codes=REFUSED,
         manner=Manner(care_units=300, timeslots=10_000), load=Load(seconds=60)),
    Kind(name="450 care units of 10,000 resources", document="{careUnits{resources{id}}}", codes=REFUSED,
         manner=Manner(care_units=450, resources=10_000), load=Load(seconds=60)),
    Kind(name="100,000 slots in random order, two offsets", document="{careUnits{timeslots{start}}}",
         manner=Manner(timeslots=100_000, order="random", offsets=2)),
    Kind(name="100,000 slots with ids", document="{careUnits{timeslots{id start end}}}",
         manner=Manner(timeslots=100_000)),
    Kind(name="100,000 slots with links", document=_LINKS, manner=Manner(timeslots=100_000)),
    Kind(name="times of each day of each resource with 100,000 slots", manner=Manner(timeslots=100_000),
         document="{careUnits{availability{byResource{days{date times{start timeslotCount}}}}}}"),
    Kind(name="28 aliases of days of 100,000 slots", manner=Manner(timeslots=100_000),
         document=f"{{careUnits{{availability{{{numbered('a#:days{date distinctStartCount}', 28)}}}}}}}"),
    Kind(name="20 filters of 100,000 slots", manner=Manner(timeslots=100_000),
         document=f"{{careUnits{{{numbered(_FILTERED, 20)}}}}}"),
    Kind(name="a name of 9.9 MiB", document="{careUnits{resources{name}}}", codes=UPSTREAM_FAILED,
         manner=Manner(resources=1, name_bytes=int(9.9 * MIB))),
    Kind(name="JSON 100,000 deep", document="{careUnits{resources{id}}}", codes=UPSTREAM_FAILED,
         manner=Manner(resources=1, resources_as="deep")),
)  # fmt: skip

_LARGE_ANSWER = f"{{careUnits{{{numbered('a#:resources{id name leyrId emrId}', 30)}}}}}"
_LARGE = Manner(resources=10_000, name_bytes=100)
_TRAFFIC = (
    *(
        Kind(name=f"an answer of about 60 MB, {encoding}", document=_LARGE_ANSWER, manner=_LARGE, codes=REFUSED,
             headers=(f"accept-encoding: {encoding}",))
        for encoding in ("gzip", "zstd")
    ),
    Kind(name="20 clients at once, each an answer of about 60 MB in gzip", document=_LARGE_ANSWER, manner=_LARGE,
         headers=("accept-encoding: gzip", "cache-control: no-cache"),
         codes=REFUSED | {"OVERLOADED", "RATE_LIMITED"}, load=Load(clients=20, requests=20)),
    Kind(name="five clients take 3 kB of 60 MB every 2 s", document=_LARGE_ANSWER, manner=_LARGE, codes=REFUSED,
         headers=("cache-control: no-cache",), load=Load(clients=5, requests=5, slow_bytes=3_000, seconds=15)),
    *(
        Kind(name=f"25,000 different documents, caches of {mebibytes} MiB", document="{careUnits{a#:id}}",
             settings={**_MANY_REQUESTS, "GATEWAY_CACHE_MAX_MB": mebibytes},
             load=Load(clients=8, requests=25_000, distinct=True, seconds=60))
        for mebibytes in ("1", "64")
    ),
    Kind(name="40 lists with names of 4 MB, caches of 16 MiB", document="{careUnits{resources{id}}}",
         manner=Manner(care_units=40, resources=1, name_bytes=4_000_000), settings={"GATEWAY_CACHE_MAX_MB": "16"},
         codes=REFUSED),
    Kind(name="eight clients with no-cache for 5 s", document="{careUnits{resources{id}}}",
         headers=("cache-control: no-cache",), codes=frozenset({"RATE_LIMITED", "OVERLOADED"}),
         load=Load(clients=8, requests=100_000, seconds=5)),
    Kind(name="550 clients ask an EHR that takes 4.5 s", document="{careUnits{timeslots(first:#){start}}}",
         manner=Manner(seconds=4.5), settings=_MANY_REQUESTS, headers=("cache-control: no-cache",),
         codes=frozenset({"RATE_LIMITED", "OVERLOADED", "DEADLINE_EXCEEDED", "UPSTREAM_UNAVAILABLE"}),
         load=Load(clients=550, requests=550, distinct=True)),
)  # fmt: skip

_LEAVING = (
    Kind(name="3 levels of 45 resources, slots first: 0, from a client that leaves after 0.1 s",
         document=nested(3, "timeslots(first:0){start}"), manner=Manner(resources=45), codes=REFUSED,
         load=Load(leaves_after=0.1)),
    Kind(name="600,000 tiny items, for a client that leaves after 0.5 s", document="{careUnits{resources{id}}}",
         manner=Manner(resources=600_000, resources_as="ids", timeslots=1), codes=REFUSED | UPSTREAM_FAILED,
         load=Load(leaves_after=0.5)),
)  # fmt: skip

_OPEN = {"GATEWAY_INTROSPECTION": "on"}
_TYPES = numbered(
    "a#:__schema{types{name description fields{name args{name description type{name}}type{fields{name description"
    " args{name description type{name ofType{name ofType{name}}}}type{name}}}}}}",
    10,
)
_DOCUMENTS = (
    Kind(name="990 unknown fields", document=f"{{careUnits{{{numbered('u#', 990)}}}}}", codes=INVALID),
    Kind(name="490 unknown fragments", document=f"{{careUnits{{{numbered('...F#', 490)}}}}}", codes=INVALID),
    Kind(name="110 fields of one key with arguments that differ", codes=INVALID,
         document=f"{{careUnits{{{numbered('timeslots(first:#){start}', 110)}}}}}"),
    Kind(name="29 fragments that overlap in one key", codes=INVALID,
         document=f"{{careUnits{{{numbered('...F#', 29)}}}}}"
         + numbered(f"fragment F# on CareUnit{{{'name ' * 20}x:f#}}", 29)),
    Kind(name="60 doubling fragments", codes=INVALID | REFUSED,
         document="{careUnits{...F0}}" + numbered("fragment F# on CareUnit{resources{careUnit{...F+ ...F+}}}", 60)
         + "fragment F60 on CareUnit{id}"),
    Kind(name="tokens and aliases at their limits",
         document=f"{{careUnits{{{numbered('a#:id', 30)} {'name ' * 900}}}}}"),
    Kind(name="5,000 lines before an error in each line", codes=INVALID,
         document="{careUnits{" + "\n" * 4_900 + numbered("u#", 90) + "}}"),
    Kind(name="a string of 64 kB", document='{node(id:"' + "x" * 65_000 + '"){id}}', codes=INVALID),
    Kind(name="12,500 ids of a wrong type", document="query($v:[ID!]!){nodes(ids:$v){id}}",
         variables={"v": [1.5] * 12_500}, codes=INVALID),
    Kind(name="12,500 short ids", document="query($v:[ID!]!){nodes(ids:$v){id}}",
         variables={"v": ["x"] * 12_500}, codes=INVALID | REFUSED | {"NOT_FOUND"}),
    Kind(name="ten introspections of the fields of each field's type", document=f"{{{_TYPES}}}", settings=_OPEN,
         codes=INVALID | REFUSED),
    Kind(name="introspection 150 deep", settings=_OPEN, codes=INVALID | REFUSED,
         document="{__schema{types{" + "ofType{" * 150 + "name" + "}" * 150 + "}}}"),
)  # fmt: skip


def _planned(today: datetime) -> Iterator[Kind]:
    """Kinds whose windows depend on the day."""
    ids = [node_id("CareUnit", f"u{number}") for number in range(1_000)]
    asked = windows(today, 28, "t#:timeslots(start:START,end:END){start}")
    yield Kind(
        name="nodes of 1,000 ids x 28 windows",
        document=f"query($v:[ID!]!){{nodes(ids:$v){{...on CareUnit{{{asked}}}}}}}",
        variables={"v": ids},
        manner=Manner(care_units=1_000),
        codes=REFUSED | INVALID,
    )
    for minutes in (1, 47):
        yield Kind(
            name=f"nodes of 800 timeslots, one each {minutes} minutes",
            document="query($v:[ID!]!){nodes(ids:$v){id}}",
            variables={"v": list(timeslot_ids(today, 800, minutes))},
            manner=Manner(care_units=1, timeslots=10_000),
            codes=REFUSED,
        )
    yield Kind(
        name="any_one EHR, 28 windows under resources",
        document=f"{{careUnits{{resources{{{asked}}}}}}}",
        manner=Manner(resources=30),
        emr="takecare",
        codes=REFUSED,
    )


def kinds(today: datetime) -> Sequence[Kind]:
    """All kinds; `today` is the midnight of the day whose windows they ask for."""
    return (*_MULTIPLYING, *_FAILURES, *_UPSTREAM, *_planned(today), *_TRAFFIC, *_LEAVING, *_DOCUMENTS)
