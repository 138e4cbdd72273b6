"""A query that settles another is found exactly where looking at each of them finds one."""

from collections.abc import Sequence

from hypothesis import given, settings

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.queries import Containers, TimeslotQuery, holds_answer
from tests.unit.domain.plan_inputs import profiles, query_sets
from tests.unit.model_ehr import query
from tests.unit.pieces import calls_of


def containers(queries: Sequence[TimeslotQuery]) -> Containers:
    made = Containers()
    for each in queries:
        made.add(each)
    return made


@settings(max_examples=300, deadline=None)
@given(query_sets, query_sets, profiles)
def test_a_container_is_found_where_there_is_one(
    queries: Sequence[TimeslotQuery], asked: Sequence[TimeslotQuery], profile: EhrProfile
) -> None:
    made = containers(queries)

    for each in (*asked, *queries):
        found, another = made.of(each, profile), made.of_another(each, profile)

        assert (found is not None) == any(holds_answer(other, each, profile) for other in queries)
        assert found is None or (found in queries and holds_answer(found, each, profile))
        assert (another is not None) == any(other != each and holds_answer(other, each, profile) for other in queries)
        assert another is None or (another != each and holds_answer(another, each, profile))


def test_finding_a_container_takes_the_same_calls_among_many() -> None:
    def calls(count: int) -> int:
        made = containers([query(2 * number, 2 * number + 1, f"r{number % 3}") for number in range(count)])
        return calls_of(lambda: made.of(query(2 * count, 2 * count + 1, "r0"), EhrProfile("e", "E")))

    assert calls(2_000) == calls(20)
