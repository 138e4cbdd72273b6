"""Free times depend on the field's arguments, the profile and upstream alone, over real HTTP."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from gateway.server.serving import listening_socket, serve_in_thread
from tests.harness import CACHES_ON, Gateway
from tests.stand_ins.versioned_leyr import START, OwnedSlot, VersionedLeyr

UNIT = care_unit_id(CareUnitKey("takecare", "u1"))
WINDOW = 'start: "2026-10-13T00:00:00Z", end: "2026-10-20T00:00:00Z"'
BESIDE = [
    "",
    "resources { name }",
    "healthcareServices { name }",
    f"resources {{ timeslots({WINDOW}) {{ start }} }}",
    f"healthcareServices {{ timeslots({WINDOW}) {{ start }} }}",
    f'more: timeslots({WINDOW}, resourceId: "r1") {{ start }}',
]
# Times of somebody, of something, of neither, and of those whom the lists leave out.
OWNERS = [("r1", None), ("r2", "s1"), (None, "s2"), (None, None), ("r9", "s1"), ("r3", "s9"), ("r9", "s9")]
SLOTS = [OwnedSlot(START + timedelta(hours=number), *owner) for number, owner in enumerate(OWNERS)]


@pytest.fixture
def leyr() -> VersionedLeyr:
    return VersionedLeyr(free=set(SLOTS), wants_filter=True)


@pytest.fixture
def gateway_with(
    leyr: VersionedLeyr, serve_gateway: Callable[..., Gateway], tmp_path: Path
) -> Iterator[Callable[..., Gateway]]:
    """Gateways in front of this Leyr, each with a table of its own in the profiles file."""
    with serve_in_thread(leyr, listening_socket("127.0.0.1", 0)) as url:

        def start(profile: str, **settings: object) -> Gateway:
            profiles = tmp_path / "profiles.toml"
            profiles.write_text(f"[takecare]\n{profile}\n")
            known = {"leyr_base_url": f"{url}/api", "leyr_emrs": ("takecare",), "leyr_profiles": profiles}
            return serve_gateway(**{**CACHES_ON, **known, **settings})

        yield start


def starts(gateway: Gateway, field: str = "", beside: str = "") -> list[str]:
    """When the slots begin that a field gives."""
    selection = f"asked: timeslots({WINDOW}{field}) {{ start }} {beside}"
    found = gateway.data(f'{{ careUnit(id: "{UNIT}") {{ {selection} }} }}')["careUnit"]["asked"]
    return [slot["start"] for slot in found]


def expected(*owners: tuple[str | None, str | None]) -> list[str]:
    return [slot.start.isoformat() for slot in SLOTS if (slot.resource, slot.service) in owners]


OF_SERVICES = [("r2", "s1"), (None, "s2"), ("r9", "s1")]
OF_RESOURCES = [("r1", None), ("r2", "s1"), ("r3", "s9")]


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize(
    ("fan_out", "owners"),
    [("services", OF_SERVICES), ("resources", OF_RESOURCES), ("both", [*OF_SERVICES, *OF_RESOURCES])],
)
def test_slots_of_a_care_unit_are_the_union_over_the_fan_out_whatever_stands_beside(
    fan_out: str, owners: list[tuple[str | None, str | None]], beside: str, gateway_with: Callable[..., Gateway]
) -> None:
    gateway = gateway_with(f'fan_out = "{fan_out}"')

    cold = starts(gateway, beside=beside)
    warm = starts(gateway)

    assert cold == warm == expected(*owners)


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("policy", ["any_one", "resource", "service", "none_required"])
def test_slots_of_a_resource_are_those_of_a_call_with_its_filter_whatever_stands_beside(
    policy: str, beside: str, leyr: VersionedLeyr, gateway_with: Callable[..., Gateway]
) -> None:
    leyr.wants_filter = policy != "none_required"
    gateway = gateway_with(f'filter_policy = "{policy}"')
    for earlier in BESIDE:
        gateway.data(f'{{ careUnit(id: "{UNIT}") {{ id {earlier} }} }}')

    found = starts(gateway, ', resourceId: "r1"', beside)

    # Where a service is wanted too, one that is not listed finds nothing.
    assert found == (expected() if policy == "service" else expected(("r1", None)))


@pytest.mark.parametrize("fan_out", ["services", "resources", "both"])
def test_answers_that_cannot_hold_slots_outside_every_filter_say_so_each_time(
    fan_out: str, gateway_with: Callable[..., Gateway]
) -> None:
    gateway = gateway_with(f'fan_out = "{fan_out}"')
    document = f'{{ careUnit(id: "{UNIT}") {{ timeslots({WINDOW}) {{ start }} }} }}'

    told = [gateway.ask(document)["extensions"]["gateway"].get("incomplete") for _ in range(4)]
    of_one = gateway.ask(document.replace("timeslots(", 'timeslots(resourceId: "r1", '))["extensions"]["gateway"]

    entry = {"endpoint": "timeslots", "emr": "takecare", "reason": "outside_every_filter", "count": 1}
    assert told == [[entry]] * 4
    assert "incomplete" not in of_one


def test_slots_of_everybody_are_found_without_a_filter_where_none_is_wanted(
    leyr: VersionedLeyr, gateway_with: Callable[..., Gateway]
) -> None:
    leyr.wants_filter = False
    gateway = gateway_with('filter_policy = "none_required"')

    found = [starts(gateway, beside=beside) for beside in BESIDE]

    assert found == [[slot.start.isoformat() for slot in SLOTS]] * len(BESIDE)
