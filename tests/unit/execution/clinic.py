"""A request to the gateway's own schema, about a clinic in memory."""

from collections.abc import Sequence
from datetime import timedelta

from gateway.domain.ehr import EhrProfile
from gateway.domain.models import CareUnit
from gateway.schema.build import build_views
from gateway.schema.context import Context
from gateway.schema.loaders import Loaders
from gateway.sources.catalog import Catalog
from gateway.sources.memory import Memory
from gateway.sources.profiles import Profiles
from gateway.sources.reading import Reading
from gateway.sources.snapshots import Snapshots
from gateway.sources.steps import StepSource
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
    memory = Memory(1_000_000)
    catalog = Catalog(clinic, lifetimes=NOTHING_KEPT, memory=memory, clock=lambda: 1_000.0)
    steps = StepSource(clinic, profiles, Snapshots(NOTHING_KEPT, memory, lambda: 1_000.0), lambda: 1_000.0)
    loaders = Loaders(catalog, steps, build_views(), Reading(1_000.0))
    return Context(loaders, profiles, START, timedelta(days=366))
