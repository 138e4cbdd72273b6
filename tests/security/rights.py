"""Callers with different access to the simulated EHRs: what each may see, and the operations that all of them send."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from random import Random
from typing import Any, NamedTuple

import orjson

from gateway.domain.ehr_profile import shipped_profile
from gateway.domain.ids import NodeType, care_unit_id, node_id
from gateway.domain.models import Access, CareUnitKey
from tests.harness import Simulator

# Pridok's ids are small numbers and nobody here may see it; takecare wants a filter; physica's ids are awkward.
EMRS = ("webdoc", "kaddio", "takecare", "physica", "pridok")
_LISTS = {NodeType.RESOURCE: "resources", NodeType.HEALTHCARE_SERVICE: "healthcare-services"}
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_WORD = re.compile(r"[^\s,;:'\"`()]+")


@dataclass(frozen=True)
class Rights:
    """A caller with a key, and what it may see."""

    name: str
    access: Access

    @property
    def headers(self) -> dict[str, str]:
        return {"x-api-key": f"key of {self.name}"}

    @property
    def table(self) -> str:
        """The caller's table in a keys file; requests are not counted here."""
        digest = sha256(self.headers["x-api-key"].encode()).hexdigest()
        lines = [f"[{self.name}]", f'key_sha256 = "{digest}"', "rate_per_second = 1_000_000.0", "burst = 1_000_000"]
        lines.append("calls_per_minute = 1_000_000")
        if self.access.emrs is not None:
            lines.append(f"emrs = {sorted(self.access.emrs)}")
        if self.access.care_units is not None:
            lines.append(f"care_units = {sorted(map(care_unit_id, self.access.care_units))}")
        return "\n".join(lines) + "\n"


class Thing(NamedTuple):
    """Something with a node id, and all texts that tell of it."""

    id: str
    key: CareUnitKey
    leyr_id: str
    kind: NodeType
    texts: frozenset[str]


def things(simulator: Simulator) -> list[Thing]:
    """All there is in the EHRs, as Leyr tells it."""
    return list(chain.from_iterable(_things(simulator, emr) for emr in EMRS))


def _things(simulator: Simulator, emr: str) -> Iterator[Thing]:
    start = f"/emrs/{emr}/care-units"
    for unit in simulator.rest(start):
        key = CareUnitKey(emr, unit["id"])
        yield _thing(care_unit_id(key), key, NodeType.CARE_UNIT, unit)
        for kind, name in _LISTS.items():
            for each in simulator.rest(f"{start}/{_quoted(unit['id'])}/{name}"):
                yield _thing(node_id(kind, key, each["id"]), key, kind, each)


def _quoted(leyr_id: str) -> str:
    return "".join(f"%{byte:02X}" for byte in leyr_id.encode())


def _thing(text: str, key: CareUnitKey, kind: NodeType, told: dict[str, Any]) -> Thing:
    names = {told.get("name"), told.get("emr_id"), f"{told.get('first_name')} {told.get('last_name')}"}
    return Thing(text, key, told["id"], kind, frozenset({text, told["id"], *filter(None, names)}))


def hidden_texts(world: Iterable[Thing], access: Access) -> frozenset[str]:
    """What must not come out: all that tells of what is hidden, and of nothing that may be seen."""
    seen, hidden = set[str](), set[str]()
    for emr in EMRS:
        (seen if access.sees_emr(emr) else hidden).update({emr, shipped_profile(emr).name})
    for thing in world:
        (seen if access.sees(thing.key) else hidden).update(thing.texts)
    return frozenset(hidden - seen)


def texts_in(answer: dict[str, Any], ask: "Ask") -> set[str]:
    """Every string of an answer, and every word of its messages.

    What it took to answer tells the ids that the operation itself named without saying whether they exist.
    """
    explained = _strings(answer.get("extensions")) - set(map(str, orjson.loads(ask.variables).values()))
    messages = [error["message"] for error in answer.get("errors", ())]
    return explained.union(_strings(answer.get("data")), _strings(answer.get("errors")), *map(_WORD.findall, messages))


def _strings(found: Any) -> set[str]:
    return {orjson.loads(each) for each in _STRING.findall(orjson.dumps(found).decode())}


class Ask(NamedTuple):
    """An operation, which any caller may send; `variables` in JSON."""

    query: str
    variables: str = "{}"

    @property
    def sha256(self) -> str:
        return sha256(self.query.encode()).hexdigest()


_UNIT = "id leyrId emrId name emr { code name }"
_SLOT = f"""
  start end resourceId healthcareServiceId
  resource {{ id leyrId name careUnit {{ id name }} }}
  healthcareService {{ id leyrId emrId name careUnit {{ leyrId name emr {{ code }} }} }}
  careUnit {{ {_UNIT} resources {{ id name }} }}"""
UNITS = f"query($emr: String) {{ careUnits(emr: $emr) {{ {_UNIT} }} }}"
LISTED = f"""query($emr: String) {{ careUnits(emr: $emr) {{
  resources {{ id leyrId emrId name careUnit {{ {_UNIT} }} timeslots(first: 1) {{ start resourceId }} }}
  healthcareServices {{ id leyrId emrId name careUnit {{ id }} }}
}} }}"""
_SLOTS = f"query($id: ID!) {{ careUnit(id: $id) {{ {_UNIT} timeslots(first: 3) {{ {_SLOT} }} }} }}"
_OF = """query($id: ID!, $resource: ID, $service: ID) { careUnit(id: $id) {
  byResource: timeslots(resourceId: $resource, first: 2) { start resourceId resource { name } careUnit { name } }
  byService: timeslots(healthcareServiceId: $service, first: 2) { start healthcareService { id name } }
} }"""
_ANY = f"""
  __typename id
  ... on CareUnit {{ {_UNIT} resources {{ id name }} }}
  ... on Resource {{ leyrId name careUnit {{ {_UNIT} }} timeslots(first: 2) {{ {_SLOT} }} }}
  ... on HealthcareService {{ leyrId emrId name careUnit {{ id healthcareServices {{ name }} }} }}"""
_NODE = f"query($id: ID!) {{ node(id: $id) {{ {_ANY} }} }}"
_NODES = f"query($ids: [ID!]!) {{ nodes(ids: $ids) {{ {_ANY} }} }}"
_SEVERAL = f"""query($emr: String, $id: ID!, $ids: [ID!]!) {{
  emrs {{ code name }} all: careUnits {{ {_UNIT} }} some: careUnits(emr: $emr) {{ {_UNIT} }}
  one: careUnit(id: $id) {{ name timeslots(first: 1) {{ {_SLOT} }} }} nodes(ids: $ids) {{ id }}
}}"""


def ask(query: str, **variables: Any) -> Ask:
    """An operation with variables."""
    return Ask(query, orjson.dumps(variables).decode())


def asks(world: Sequence[Thing], random: Random) -> list[Ask]:
    """A pool of operations about all there is, so that each holds what one of the callers may not see."""
    units = [thing for thing in world if thing.kind is NodeType.CARE_UNIT]
    by_kind = {kind: [thing for thing in world if thing.kind is kind] for kind in _LISTS}
    found = [Ask("{ emrs { code name timeZone } }"), Ask(f"{{ careUnits {{ {_UNIT} resources {{ name }} }} }}")]
    found += [ask(query, emr=emr) for query in (UNITS, LISTED) for emr in (*EMRS, "elsewhere")]
    for unit in units:
        found.append(ask(_SLOTS, id=unit.id))
        # The same without variables is compiled and kept for itself.
        found.append(Ask(_SLOTS.replace("$id", f'"{unit.id}"', 2).replace(f'query("{unit.id}": ID!) ', "")))
        resource, service = (_near(unit, by_kind[kind], random) for kind in _LISTS)
        found.append(ask(_OF, id=unit.id, resource=resource.leyr_id, service=service.id))
        found.append(ask(_OF, id=unit.id, resource=resource.id, service=service.leyr_id))
    for thing in random.sample(world, 40):
        found.append(ask(_NODE, id=thing.id))
    for _ in range(15):
        ids = [each.id for each in random.sample(world, 6)]
        found.append(ask(_NODES, ids=ids))
        found.append(ask(_SEVERAL, emr=random.choice(EMRS), id=random.choice(units).id, ids=ids))
    return found


def _near(unit: Thing, among: list[Thing], random: Random) -> Thing:
    """By chance one of the care unit's own or one of the whole EHR."""
    emr = [thing for thing in among if thing.key.emr == unit.key.emr]
    own = [thing for thing in emr if thing.key == unit.key]
    return random.choice(own if random.random() < 0.5 else emr)
