"""What plans are made of and in: queries, what slots name, the lists at hand, what is known of the unit's size."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.planner import needed_lists, plan
from gateway.domain.queries import ListedIds, Plan, TimeslotQuery, UnitLists
from tests.unit import strategies
from tests.unit.model_ehr import RESOURCES, SERVICES, UNIT, TrueSlot, window


@dataclass(frozen=True)
class PolicyDependencies:
    """The lists `at_hand` and the lists whose ids are `known`; a crowd makes wide calls dear."""

    at_hand: UnitLists = field(default_factory=UnitLists)
    known: UnitLists = field(default_factory=UnitLists)
    crowd: int = 0

    def listed_ids(self, queries: Sequence[TimeslotQuery], profile: EhrProfile) -> ListedIds:
        """What the queries need, and what is known anyway."""
        need = needed_lists(queries, profile.filter_policy, self.at_hand)
        # A crowd that every query is spread over would only be slow.
        crowd = tuple(f"x{number}" for number in range(self.crowd)) if need == UnitLists() else ()
        return ListedIds(
            (*RESOURCES, *crowd) if need.resources or self.known.resources else None,
            (*SERVICES, *crowd) if need.services or self.known.services else None,
        )

    def plan(self, queries: Sequence[TimeslotQuery], profile: EhrProfile) -> Plan:
        return plan(queries, profile, self.listed_ids(queries, profile), self.at_hand)

    def costing_a_call(self, doubts: UnitLists, queries: Sequence[TimeslotQuery], profile: EhrProfile) -> int:
        """How many lists have to be fetched to vouch for ids."""
        listed_ids = self.listed_ids(queries, profile)
        return (doubts.resources and not self.at_hand.resources and listed_ids.resources is None) + (
            doubts.services and not self.at_hand.services and listed_ids.services is None
        )


_few_lists = st.one_of(st.just(UnitLists()), strategies.lists)
surroundings = st.builds(PolicyDependencies, _few_lists, _few_lists, st.sampled_from([0, 0, 20, 200]))
_plain = st.just(EhrProfile(UNIT.emr, "Model"))
profiles = st.one_of(
    _plain,
    st.builds(
        lambda profile, lacks_owner: profile.after_lacking_owner(
            resource=lacks_owner.resources, service=lacks_owner.services
        ),
        st.one_of(_plain, strategies.profiles),
        _few_lists,
    ),
)
nameless_profiles = profiles.filter(lambda profile: not (profile.names_resource and profile.names_service))
# A few queries that have much to do with each other: no call is saved elsewhere that would make up for one too many.
_windows = st.sampled_from([window(0, 9), window(0, 9), window(2, 4), window(9, 12), window(30, 31)])
_filters = st.tuples(st.sampled_from([None, *RESOURCES]), st.sampled_from([None, *SERVICES]))
_close_queries = st.builds(lambda window, filters: TimeslotQuery(UNIT, window, *filters), _windows, _filters)
query_sets = st.one_of(
    strategies.query_sets,
    st.lists(_close_queries, min_size=1, max_size=4),
    st.lists(_close_queries, max_size=3).map(lambda queries: [*queries, TimeslotQuery(UNIT, window(0, 9))]),
)


def as_named_by(profile: EhrProfile, slots: Sequence[TrueSlot]) -> list[TrueSlot]:
    """Slots that name just what the profile says they name."""
    return [
        TrueSlot(slot.start, slot.resource, slot.service, profile.names_resource, profile.names_service)
        for slot in slots
    ]
