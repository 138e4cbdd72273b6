"""What a plan is made from: queries, a profile, the lists that are loaded, and what is known of the unit's size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.planner import needed_lists, plan
from gateway.domain.queries import ListedIds, Plan, Step, TimeslotQuery, UnitLists, lacks_owner, partition
from gateway.domain.timeslots import TimeslotList, joined
from tests.unit import strategies
from tests.unit.model_ehr import RESOURCES, SERVICES, UNIT, TrueSlot, window


@dataclass(frozen=True)
class PlanInputs:
    """The lists `loaded` and the lists whose ids are `known`; a crowd of ids makes wide calls cost more."""

    loaded: UnitLists = UnitLists.NONE
    known: UnitLists = UnitLists.NONE
    crowd: int = 0

    def listed_ids(self, queries: Sequence[TimeslotQuery], profile: EhrProfile) -> ListedIds:
        """What the queries need, and what is known anyway."""
        need = needed_lists(queries, profile)
        # A crowd that every query is spread over would only be slow.
        crowd = tuple(f"x{number}" for number in range(self.crowd)) if need is UnitLists.NONE else ()
        return ListedIds(
            (*RESOURCES, *crowd) if need.resources or self.known.resources else None,
            (*SERVICES, *crowd) if need.services or self.known.services else None,
        )

    def plan(self, queries: Sequence[TimeslotQuery], profile: EhrProfile) -> Plan:
        return plan(queries, profile, self.listed_ids(queries, profile), self.loaded)

    def calls_to_confirm(self, unconfirmed: UnitLists, queries: Sequence[TimeslotQuery], profile: EhrProfile) -> int:
        """How many lists have to be fetched to confirm ids."""
        fetched = unconfirmed & ~(self.loaded | self.listed_ids(queries, profile).known)
        return fetched.resources + fetched.services


_few_lists = st.one_of(st.just(UnitLists.NONE), strategies.lists)
plan_inputs = st.builds(PlanInputs, _few_lists, _few_lists, st.sampled_from([0, 0, 20, 200]))
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
profiles_lacking_owner = profiles.filter(lambda profile: not (profile.names_resource and profile.names_service))
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
    """Slots that name just what the profile says they name; one that has no owner names none."""
    return [
        TrueSlot(
            slot.start,
            slot.resource or (RESOURCES[0] if profile.names_resource else None),
            slot.service or (SERVICES[0] if profile.names_service else None),
            profile.names_resource,
            profile.names_service,
        )
        for slot in slots
    ]


def share_of(wanted: TimeslotQuery, answers: Mapping[Step, TimeslotList]) -> TimeslotList | None:
    """A query's share of several answers; None where the slots of one of them do not tell."""
    shares = [partition(wanted, step, answer) for step, answer in answers.items()]
    return None if None in shares else joined(share for share in shares if share is not None)


def owners_lacking(wanted: TimeslotQuery, answers: Mapping[Step, TimeslotList]) -> UnitLists:
    """What the slots of several answers do not name."""
    return reduce(or_, (lacks_owner(wanted, step, answer) for step, answer in answers.items()), UnitLists.NONE)
