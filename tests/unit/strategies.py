"""What the properties draw; instants fall on a coarse grid, so that windows often touch and slots sit on their ends."""

from datetime import timedelta
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile, FanOut, FilterPolicy
from gateway.domain.queries import TimeslotQuery, UnitLists
from tests.unit.model_ehr import (
    RESOURCES,
    SERVICES,
    START,
    UNIT,
    UNLISTED_RESOURCE,
    UNLISTED_SERVICE,
    TrueSlot,
    window,
)

_half_days = st.integers(0, 120).map(lambda count: count / 2)
zones = st.sampled_from(["Europe/Stockholm", "Europe/Oslo", "America/Sao_Paulo", "Asia/Beirut"]).map(ZoneInfo)
longest_windows = st.sampled_from([None, timedelta(days=3), timedelta(days=7), timedelta(days=31)])
policies = st.sampled_from(FilterPolicy)
profiles = st.builds(
    EhrProfile,
    st.just(UNIT.emr),
    st.just("Model"),
    policies,
    longest_windows,
    zones,
    fan_out=st.sampled_from(FanOut),
)
lists = st.sampled_from([UnitLists.NONE, UnitLists.RESOURCES, UnitLists.SERVICES, UnitLists.BOTH])

slots = st.lists(
    st.builds(
        TrueSlot,
        st.tuples(_half_days, st.sampled_from([-1, 0, 1, 3600])).map(
            lambda at: START + timedelta(days=at[0], seconds=at[1])
        ),
        st.sampled_from([*RESOURCES, *RESOURCES, UNLISTED_RESOURCE, None]),
        st.sampled_from([*SERVICES, *SERVICES, UNLISTED_SERVICE, None]),
        st.sampled_from([True, True, True, False]),
        st.sampled_from([True, True, True, False]),
    ),
    max_size=25,
)


@st.composite
def queries(draw: st.DrawFn, strangers: tuple[str, ...] = ()) -> TimeslotQuery:
    """A query for the model's unit; `strangers` are ids that it does not have."""
    first = draw(st.one_of(st.integers(0, 12).map(lambda count: count / 2), _half_days))
    length = draw(st.sampled_from([0.5, 1, 2, 3, 3.5, 7, 10, 31, 45]))
    resource = draw(st.sampled_from([None, *RESOURCES, *strangers]))
    service = draw(st.sampled_from([None, *SERVICES, *strangers]))
    return TimeslotQuery(UNIT, window(first, first + length), resource, service)


# How far answers reach beyond the window of their call: EHRs may answer with whole days, or with all they have.
spills = st.sampled_from([timedelta(0), timedelta(0), timedelta(hours=12), timedelta(days=1), timedelta(days=400)])
query_sets = st.lists(queries(), min_size=1, max_size=8)
