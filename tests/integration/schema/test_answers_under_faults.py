"""Whatever upstream call fails, and wherever: the answer is that of graphql-core's executor with the same resolvers."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import (
    DeadlineExceeded,
    GatewayError,
    NotFound,
    NotSupported,
    Overloaded,
    UpstreamInvalidAnswer,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamRejectedCredentials,
    UpstreamUnavailable,
)
from gateway.domain.ids import NodeType, care_unit_id, node_id
from gateway.domain.models import CareUnitKey
from gateway.engine.engine import Engine
from gateway.engine.lazy_list import FragmentCache
from gateway.fetch.cache_budget import CacheBudget, CacheConfig
from gateway.fetch.catalog import Catalog
from gateway.fetch.fetch_scope import FetchScope
from gateway.fetch.profiles import Profiles
from gateway.fetch.snapshots import Snapshots
from gateway.fetch.timeslot_calls import TimeslotCalls
from gateway.schema.context import Context
from gateway.schema.node import Nodes
from gateway.schema.query import build_schema, engine_config, execution_limits, node_types
from tests.unit.asking import NOTHING_KEPT
from tests.unit.engine.answering import WIDE
from tests.unit.engine.differential import Operation, check_operation
from tests.unit.engine.examples import EXAMPLES, RANDOMS
from tests.unit.engine.model_schema import core
from tests.unit.engine.random_documents import Maker
from tests.unit.schema.graph import NOW, UNLIMITED
from tests.unit.schema.world import Unit, World, mark

EMRS = ("one", "two")
PROFILES = [EhrProfile(emr, emr.title()) for emr in EMRS]
UNITS = [CareUnitKey(emr, unit) for emr in EMRS for unit in ("u1", "u2")]
ENDPOINTS = ("care-units", "resources", "healthcare-services", "timeslots")
ERRORS: list[type[GatewayError]] = [
    DeadlineExceeded,
    NotFound,
    NotSupported,
    Overloaded,
    UpstreamInvalidAnswer,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamRejectedCredentials,
    UpstreamUnavailable,
    # What is no error of the domain is a fault of the gateway.
    GatewayError,
]
PLACES = [("care-units", emr) for emr in EMRS] + [(endpoint, *key) for endpoint in ENDPOINTS[1:] for key in UNITS]
ZONES = ("Europe/Stockholm", "America/Havana")
NAMES = [mark("service", key, "s1").upper() for key in UNITS]
SCHEMA = build_schema()
CONFIG = engine_config(WIDE, execution_limits(work=10_000_000), max_errors=1_000_000, introspection=True)
ENGINE = Engine(SCHEMA, CONFIG)
PAUSING = Engine(SCHEMA, replace(CONFIG, execution=replace(CONFIG.execution, step_work=0.5)))


class FailingWorld(World):
    """A scheduling system some of whose calls fail; `failing` are the errors by call."""

    failing: dict[tuple[str, ...], Exception]

    async def _called(self, *call: str) -> None:
        await super()._called(*call)
        error = self.failing.get(call)
        if error is not None:
            raise error


def context(failing: dict[tuple[str, ...], type[Exception]]) -> Context:
    world = FailingWorld({key: Unit() for key in UNITS})
    world.failing = {call: error("sick") for call, error in failing.items()}
    profiles = Profiles(PROFILES)
    config = CacheConfig(NOTHING_KEPT, CacheBudget(1_000_000), lambda: 1_000.0, FragmentCache)
    calls = TimeslotCalls(world, profiles, Snapshots(config), lambda: 1_000.0)
    nodes = Nodes(Catalog(world, config), calls, node_types(), FetchScope(1_000.0))
    return Context(nodes, profiles, NOW, timedelta(days=366), limits=UNLIMITED)


def check(operation: Operation, failing: dict[tuple[str, ...], type[Exception]], engines: Sequence[Engine]) -> None:
    """Compare the answers of engines with that of graphql-core, where some calls fail."""
    story = check_operation(engines, core(SCHEMA), operation, lambda: context(failing), waits=True)
    asyncio.run(story)


RESOURCE = node_id(NodeType.RESOURCE, UNITS[0], "r1")
SERVICE = node_id(NodeType.HEALTHCARE_SERVICE, UNITS[2], "s1")
SLOTS = "{ start durationMinutes resource { name } healthcareService { name } careUnit { name resources { id } } }"
EVERYTHING = (
    f"{{ careUnits {{ id name resources {{ name careUnit {{ name }} timeslots {SLOTS} }} "
    f"healthcareServices {{ name timeslots {SLOTS} }} timeslots {SLOTS} }} "
    f'other: careUnits(emr: "two") {{ name resources {{ name careUnit {{ id }} }} timeslots {SLOTS} }} '
    f'node(id: "{RESOURCE}") {{ id ... on Resource {{ careUnit {{ name }} timeslots {SLOTS} }} }} '
    f'nodes(ids: ["{RESOURCE}", "{SERVICE}", "{care_unit_id(UNITS[3])}"]) {{ id '
    f"... on HealthcareService {{ careUnit {{ name }} timeslots {SLOTS} }} "
    f"... on CareUnit {{ timeslots {SLOTS} }} }} }}"
)


@pytest.mark.parametrize("error", [*ERRORS, ValueError], ids=lambda error: error.__name__)
def test_one_failing_list_gives_the_answer_of_graphql_core(error: type[Exception]) -> None:
    for place in PLACES:
        check(Operation(EVERYTHING, {}), {place: error}, [ENGINE])


def random_operation(random: Random) -> Operation:
    """An operation about what the world has."""
    ids = [
        *map(care_unit_id, UNITS * 4),
        *(node_id(NodeType.RESOURCE, key, "r1") for key in UNITS),
        *(node_id(NodeType.HEALTHCARE_SERVICE, key, "s2") for key in UNITS),
        "unknown",
    ]
    moments = [(NOW + timedelta(days=day)).isoformat() for day in (0, 1, 2, 40)]
    scalars: dict[str, Sequence[Any]] = {"ID": [*ids, "r1", "s1"], "DateTime": moments, "Int": [0, 1, 2, 3]}
    scalars["String"] = [*EMRS, *ZONES, *NAMES]
    scalars |= {"Date": ["2026-10-19", "2026-10-20", "2026-10-25"], "LocalTime": ["00:00", "09:00", "23:59:59"]}
    maker = Maker(
        core(SCHEMA), random, scalars, depth=random.choice([2, 3, 4, 5]), wrong_conditions=random.random() < 0.1
    )
    return Operation(*maker.operation())


@settings(max_examples=EXAMPLES)
@given(RANDOMS, st.dictionaries(st.sampled_from(PLACES), st.sampled_from([*ERRORS, ValueError]), max_size=5))
def test_random_operations_give_the_answer_of_graphql_core_whatever_fails(
    random: Random, failing: dict[tuple[str, ...], type[Exception]]
) -> None:
    check(random_operation(random), failing, [ENGINE, PAUSING])
