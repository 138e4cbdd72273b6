"""What the gateway knows about the configured EHRs, and learns."""

import pytest

from gateway.domain.ehr import EhrProfile, FilterPolicy
from gateway.domain.errors import BadUserInput, FilterRequired, NotSupported
from gateway.domain.planning import Step
from gateway.sources.profiles import Profiles
from tests.unit.model_ehr import UNIT, window

PLAIN = EhrProfile("model", "Model")


def test_the_first_is_the_default() -> None:
    profiles = Profiles([PLAIN, EhrProfile("other", "Other")])

    assert profiles.default is PLAIN
    assert [each.code for each in profiles.all] == ["model", "other"]


def test_none_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Profiles([])


def test_an_unknown_code_is_refused_without_quoting_it() -> None:
    with pytest.raises(BadUserInput) as refusal:
        Profiles([PLAIN]).of("<script>")

    assert "model" in refusal.value.message
    assert "script" not in refusal.value.message


@pytest.mark.parametrize(
    ("resource", "service", "error", "learned"),
    [
        (None, None, FilterRequired, FilterPolicy.ANY_ONE),
        (None, None, NotSupported, FilterPolicy.ANY_ONE),
        ("r1", None, FilterRequired, FilterPolicy.SERVICE),
        (None, "s1", FilterRequired, FilterPolicy.RESOURCE),
        ("r1", None, NotSupported, None),
        (None, "s1", NotSupported, None),
        ("r1", "s1", FilterRequired, None),
        ("r1", "s1", NotSupported, None),
    ],
)
def test_a_refusal_teaches(
    resource: str | None, service: str | None, error: type[NotSupported], learned: FilterPolicy | None
) -> None:
    profiles = Profiles([PLAIN])
    refused = Step(UNIT, window(0, 1), resource, service)

    worth_another_plan = profiles.learn(refused, error("refused"))

    assert worth_another_plan is (learned is not None)
    assert profiles.default.filter_policy is (learned or FilterPolicy.NONE_REQUIRED)


def test_the_second_refusal_of_the_same_kind_is_worth_another_plan_too() -> None:
    profiles = Profiles([PLAIN])
    refused = Step(UNIT, window(0, 1))

    assert profiles.learn(refused, FilterRequired("refused"))
    assert profiles.learn(refused, FilterRequired("refused"))
    assert profiles.default.filter_policy is FilterPolicy.ANY_ONE


def test_one_ehr_learns_nothing_from_another() -> None:
    other = EhrProfile("other", "Other")
    profiles = Profiles([PLAIN, other])

    profiles.learn(Step(UNIT, window(0, 1)), FilterRequired("refused"))

    assert profiles.of("other") is other
