"""A request to the gateway's own schema, about a clinic in memory."""

from collections.abc import Sequence
from datetime import timedelta

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.models import CareUnit
from gateway.engine.lazy_list import FragmentCache
from gateway.fetch.cache_budget import CacheBudget, CacheConfig
from gateway.fetch.catalog import Catalog
from gateway.fetch.fetch_scope import FetchScope
from gateway.fetch.profiles import Profiles
from gateway.fetch.snapshots import Snapshots
from gateway.fetch.timeslot_calls import TimeslotCalls
from gateway.schema.context import Context
from gateway.schema.node import Nodes
from gateway.schema.query import node_types
from tests.unit.asking import NOTHING_KEPT
from tests.unit.model_ehr import DAY, RESOURCES, SERVICES, START, UNIT, ModelEhr, TrueSlot

PROFILE = EhrProfile(UNIT.emr, "Model")
SLOTS = [
    TrueSlot(START + each * DAY / 3, resource, service, names_resource=each % 2 == 0)
    for each in range(12)
    for resource, service in ((RESOURCES[0], SERVICES[0]), (RESOURCES[1], SERVICES[1]))
]


class Clinic(ModelEhr):
    """The model's care unit, in a list."""

    async def care_units(self, emr: str) -> Sequence[CareUnit]:
        return [CareUnit(UNIT.care_unit, name=f"of {emr}")]


def request() -> Context:
    clinic = Clinic(SLOTS, PROFILE)
    profiles = Profiles([PROFILE])
    config = CacheConfig(NOTHING_KEPT, CacheBudget(1_000_000), lambda: 1_000.0, FragmentCache)
    catalog = Catalog(clinic, config)
    steps = TimeslotCalls(clinic, profiles, Snapshots(config), lambda: 1_000.0)
    nodes = Nodes(catalog, steps, node_types(), FetchScope(1_000.0))
    return Context(nodes, profiles, START, timedelta(days=366))
