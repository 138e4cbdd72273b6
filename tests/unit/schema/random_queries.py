"""Random queries about a world: root fields under aliases, lists of nodes, and references back and forth."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random

from gateway.domain.ids import NodeType, TimeslotIds, care_unit_id, node_id
from gateway.domain.models import CareUnitKey, Timeslot
from tests.unit.schema.graph import NOW
from tests.unit.schema.world import World

_DEEPEST = 4


@dataclass(frozen=True)
class Root:
    """A root field under its alias: what stands after its name, and the care units that its ids are of."""

    alias: str
    field: str
    rest: str
    keys: tuple[CareUnitKey, ...] = ()
    emr: str | None = None

    @property
    def text(self) -> str:
        """How it stands in a query."""
        argument = "" if self.emr is None else f'(emr: "{self.emr}")'
        return f"{self.alias}: {self.field}{argument} {self.rest}"


def random_roots(world: World, emrs: Sequence[str], random: Random) -> list[Root]:
    """Some root fields."""
    return [_root(f"a{number}", world, emrs, random) for number in range(random.randint(1, 4))]


def document(roots: Sequence[Root]) -> str:
    """The query that asks for them."""
    return "{ " + " ".join(root.text for root in roots) + " }"


def _root(alias: str, world: World, emrs: Sequence[str], random: Random) -> Root:
    key = random.choice([*world.units])
    field = random.choice(["emrs", "emr", "careUnits", "careUnits", "careUnit", "timeslot", "node", "nodes", "nodes"])
    match field:
        case "emrs":
            return Root(alias, "emrs", random.choice(["{ code name }", f"{{ code {_of_emr(random, 1)} }}"]))
        case "emr":
            return Root(alias, "emr", f'(code: "{random.choice(emrs)}") {{ id code {_of_emr(random, 0)} }}')
        case "careUnits":
            return Root(alias, "careUnits", f"{{ {_of_unit(random, 0)} }}", emr=random.choice([None, *emrs]))
        case "nodes":
            found = [_any_id(world, random) for _ in range(random.randint(1, 5))]
            ids = ", ".join(f'"{text}"' for _, text in found)
            return Root(alias, "nodes", f"(ids: [{ids}]) {{ {_of_node(random)} }}", tuple(key for key, _ in found))
        case "careUnit":
            text, selection = care_unit_id(key), _of_unit(random, 0)
        case "timeslot":
            text, selection = _timeslot_id(world, key, random), _of_slot(random, 1)
        case _:
            (key, text), selection = _any_id(world, random), _of_node(random)
    return Root(alias, field, f'(id: "{text}") {{ {selection} }}', (key,))


def _any_id(world: World, random: Random) -> tuple[CareUnitKey, str]:
    key = random.choice([*world.units])
    unit = world.units[key]
    match random.choice(["unit", "resource", "service", "timeslot"]):
        case "timeslot":
            return key, _timeslot_id(world, key, random)
        case "unit":
            return key, care_unit_id(key)
        case "resource":
            return key, node_id(NodeType.RESOURCE, key, random.choice([*unit.resources, "nobody"]))
        case _:
            return key, node_id(NodeType.HEALTHCARE_SERVICE, key, random.choice([*unit.services, "nothing"]))


def _timeslot_id(world: World, key: CareUnitKey, random: Random) -> str:
    """The id of a slot that is free, or of one that never was."""
    slots = [*world.free(key), Timeslot(NOW.isoformat(), None, random.choice([None, "nobody"]))]
    return TimeslotIds(key)(random.choice(slots))


def _of_emr(random: Random, depth: int) -> str:
    return f"careUnits {{ {_of_unit(random, depth)} }}"


def _of_node(random: Random) -> str:
    return (
        f"__typename id ... on CareUnit {{ {_of_unit(random, 1)} }} ... on Timeslot {{ {_of_slot(random, 2)} }} "
        f"... on Resource {{ {_of_member(random, 1)} }} ... on HealthcareService {{ {_of_member(random, 1)} }}"
    )


def _of_unit(random: Random, depth: int) -> str:
    parts = ["id", "name", "emrId leyrId emr { code }", "timeZone"]
    if depth < _DEEPEST:
        parts += [
            f"emr {{ {_of_emr(random, depth + 2)} }}",
            f"resources {{ {_of_member(random, depth + 1)} }}",
            f"healthcareServices {{ {_of_member(random, depth + 1)} }}",
            f"timeslots(first: 3{_window(random)}{_filters(random)}) {{ {_of_slot(random, depth + 1)} }}",
            f"availability{_availability_arguments(random)} {{ {_of_availability(random, depth + 1)} }}",
        ]
    return _some(parts, random)


def _of_member(random: Random, depth: int) -> str:
    parts = ["id", "name leyrId"]
    if depth < _DEEPEST:
        parts += [
            f"careUnit {{ {_of_unit(random, depth + 1)} }}",
            f"timeslots(first: 2{_window(random)}) {{ {_of_slot(random, depth + 1)} }}",
        ]
    return _some(parts, random)


def _window(random: Random) -> str:
    first = random.choice([0, 0, 1, 5])
    start, end = NOW + timedelta(days=first), NOW + timedelta(days=first + random.choice([1, 2, 30]))
    return random.choice(["", f', start: "{start.isoformat()}", end: "{end.isoformat()}"'])


def _filters(random: Random) -> str:
    resource, service = random.choice(["r0", "r1", "nobody"]), random.choice(["s0", "s1", "nothing"])
    return random.choice(["", "", "", f', resourceId: "{resource}"', f', healthcareServiceId: "{service}"'])


def _availability_arguments(random: Random) -> str:
    start, end = NOW + timedelta(days=random.choice([0, 1])), NOW + timedelta(days=random.choice([2, 30]))
    instants = f'{{instants: {{start: "{start.isoformat()}", end: "{end.isoformat()}"}}}}'
    span = random.choice(["{days: {count: 3}}", "null", instants])
    one, other = random.choice(["r0", "r1", "nobody"]), random.choice(["s0", "s1", "nothing"])
    filters = [f'resourceIds: ["{one}"]', f'resourceIds: ["r0", "{one}"]', f'healthcareServiceIds: ["{other}"]']
    return f"(range: {span}, filter: {{{random.choice(['', '', *filters, 'weekdays: [MONDAY]'])}}})"


def _of_availability(random: Random, depth: int) -> str:
    parts = ["timeslotCount start end", "distinctStartCount", "coverage { gaps { careUnitId resourceId code } }"]
    parts += ["days { date timeslotCount }", "times(first: 2) { start }"]
    if depth < _DEEPEST - 1:
        slot = _of_slot(random, depth + 2)
        parts += [
            f"first {{ {slot} }}",
            f"timeslots(first: 2) {{ nodes {{ {slot} }} }}",
            f"byResource {{ resourceId timeslotCount resource {{ {_of_member(random, depth + 2)} }} }}",
            f"byHealthcareService {{ healthcareServiceId careUnit {{ id name }} first {{ {slot} }} }}",
        ]
    return _some(parts, random)


def _of_slot(random: Random, depth: int) -> str:
    parts = ["id start resourceId", "durationMinutes healthcareServiceId"]
    if depth < _DEEPEST:
        parts += [
            f"careUnit {{ {_of_unit(random, depth + 1)} }}",
            f"resource {{ {_of_member(random, depth + 1)} }}",
            f"healthcareService {{ {_of_member(random, depth + 1)} }}",
        ]
    return _some(parts, random)


def _some(parts: Sequence[str], random: Random) -> str:
    first, *rest = parts
    return " ".join([first, *(part for part in rest if random.random() < 0.4)])
