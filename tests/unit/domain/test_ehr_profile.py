"""What the policies accept, and what a refusal teaches."""

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

from gateway.domain.appointments import PatientDetail, PatientIdentification, Support
from gateway.domain.ehr_profile import EhrProfile, FilterPolicy, shipped_profile

COMBINATIONS = tuple(product((False, True), (False, True)))


@pytest.mark.parametrize(
    ("policy", "accepted"),
    [
        # Whether a call passes with: no filter, a service, a resource, both.
        (FilterPolicy.NONE_REQUIRED, [True, True, True, True]),
        (FilterPolicy.ANY_ONE, [False, True, True, True]),
        (FilterPolicy.RESOURCE, [False, False, True, True]),
        (FilterPolicy.SERVICE, [False, True, False, True]),
        (FilterPolicy.BOTH, [False, False, False, True]),
    ],
)
def test_policy_allows(policy: FilterPolicy, accepted: list[bool]) -> None:
    assert [policy.allows(resource=resource, service=service) for resource, service in COMBINATIONS] == accepted


@pytest.mark.parametrize("policy", FilterPolicy)
@pytest.mark.parametrize(("resource", "service"), COMBINATIONS)
def test_a_refusal_never_loosens_a_policy(policy: FilterPolicy, *, resource: bool, service: bool) -> None:
    before = EhrProfile("x", "X", policy, timedelta(days=3))

    after = before.after_refusing(resource=resource, service=service)

    assert accepts(after) <= accepts(before)
    assert (after.code, after.name, after.longest_window, after.time_zone) == (
        before.code,
        before.name,
        before.longest_window,
        before.time_zone,
    )


@pytest.mark.parametrize("policy", FilterPolicy)
@pytest.mark.parametrize(("resource", "service"), COMBINATIONS)
def test_a_refused_call_is_not_planned_again(policy: FilterPolicy, *, resource: bool, service: bool) -> None:
    after = EhrProfile("x", "X", policy).after_refusing(resource=resource, service=service)

    assert (resource, service) == (True, True) or (resource, service) not in accepts(after)


@pytest.mark.parametrize("policy", FilterPolicy)
@pytest.mark.parametrize(("resource", "service"), COMBINATIONS)
def test_nothing_is_learned_from_what_was_known(policy: FilterPolicy, *, resource: bool, service: bool) -> None:
    known = EhrProfile("x", "X", policy).after_refusing(resource=resource, service=service)

    assert known.after_refusing(resource=resource, service=service) is known


@pytest.mark.parametrize("truth", FilterPolicy)
@pytest.mark.parametrize("first", COMBINATIONS)
def test_learning_ends_and_keeps_what_the_ehr_accepts(truth: FilterPolicy, first: tuple[bool, bool]) -> None:
    profile = EhrProfile("x", "X")
    order = (first, *COMBINATIONS)

    refusals = 0
    while untried := [each for each in order if each in accepts(profile) and not passes(truth, each)]:
        profile = profile.after_refusing(resource=untried[0][0], service=untried[0][1])
        refusals += 1

    assert refusals <= 3
    assert profile.filter_policy is truth


@pytest.mark.parametrize(("names_resource", "names_service"), COMBINATIONS)
@pytest.mark.parametrize(("resource", "service"), COMBINATIONS)
def test_slots_without_an_owner_teach_what_is_not_named(
    *, names_resource: bool, names_service: bool, resource: bool, service: bool
) -> None:
    before = EhrProfile("x", "X", FilterPolicy.SERVICE, names_resource=names_resource, names_service=names_service)

    after = before.after_lacking_owner(resource=resource, service=service)

    assert (after.names_resource, after.names_service) == (
        names_resource and not resource,
        names_service and not service,
    )
    assert replace(after, names_resource=names_resource, names_service=names_service) == before
    assert after.after_lacking_owner(resource=resource, service=service) is after


def test_an_ehr_that_is_not_shipped_starts_optimistic() -> None:
    profile = shipped_profile("brand-new")

    assert (profile.code, profile.name) == ("brand-new", "brand-new")
    assert profile.filter_policy is FilterPolicy.NONE_REQUIRED
    assert profile.longest_window is None


@pytest.mark.parametrize(
    ("code", "policy", "zone"),
    [
        ("webdoc", FilterPolicy.NONE_REQUIRED, "Europe/Stockholm"),
        ("takecare", FilterPolicy.ANY_ONE, "Europe/Stockholm"),
        ("konfidens", FilterPolicy.ANY_ONE, "Europe/Oslo"),
    ],
)
def test_shipped_profiles(code: str, policy: FilterPolicy, zone: str) -> None:
    profile = shipped_profile(code)

    assert (profile.filter_policy, profile.time_zone.key) == (policy, zone)


def passes(policy: FilterPolicy, combination: tuple[bool, bool]) -> bool:
    return policy.allows(resource=combination[0], service=combination[1])


def accepts(profile: EhrProfile) -> set[tuple[bool, bool]]:
    return {each for each in COMBINATIONS if passes(profile.filter_policy, each)}


def test_what_is_not_documented_of_an_ehr_is_unknown_and_tried() -> None:
    assert shipped_profile("epic").capabilities.book is Support.UNKNOWN
    assert shipped_profile("kaddio").capabilities.reschedule is Support.NO
    assert shipped_profile("anitasystems").capabilities.list_appointments is Support.NO
    assert shipped_profile("cliniko").capabilities.checks_timeslots is Support.NO
    assert PatientIdentification.NATIONAL_NUMBER not in shipped_profile("cliniko").capabilities.patient_by
    assert PatientDetail.PHONE in shipped_profile("anitasystems").capabilities.required_patient_details
