"""What the gateway knows about the configured EHRs, and learns."""

from dataclasses import replace

import pytest

from gateway.domain.appointments import Capabilities, PatientIdentification, Support
from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.errors import BadUserInput, FilterRequired, NotSupported, UpstreamUnavailable
from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Step, UnitLists
from gateway.domain.window import time_zone
from gateway.fetch.profiles import Profiles, ProfilesError, read_profiles, suspected_profile
from tests.unit.model_ehr import UNIT, window

PLAIN = EhrProfile("model", "Model")
YES = Support.YES


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
def test_a_refusal_suggests_a_stricter_policy(
    resource: str | None, service: str | None, error: type[NotSupported], learned: FilterPolicy | None
) -> None:
    refused = Step(UNIT, window(0, 1), resource, service)

    stricter = suspected_profile(PLAIN, refused, error("refused"))

    assert (stricter and stricter.filter_policy) is learned


def test_other_failures_suggest_nothing() -> None:
    assert suspected_profile(PLAIN, Step(UNIT, window(0, 1)), UpstreamUnavailable("not now")) is None


def test_a_learned_profile_is_reported_once() -> None:
    told: list[EhrProfile] = []
    profiles = Profiles([PLAIN, EhrProfile("other", "Other")], told.append)
    stricter = replace(PLAIN, filter_policy=FilterPolicy.ANY_ONE)

    profiles.learn(stricter)
    profiles.learn(stricter)

    assert profiles.default == stricter
    assert profiles.of("other").filter_policy is FilterPolicy.NONE_REQUIRED
    assert told == [stricter]


def test_what_slots_lack_is_learned_of_their_care_unit_alone() -> None:
    profiles = Profiles([PLAIN])

    profiles.learn_lacks_owner(UNIT, UnitLists.RESOURCES)
    profiles.learn(profiles.of_unit(UNIT).after_refusing(resource=False, service=False))
    profiles.learn_lacks_owner(UNIT, UnitLists.SERVICES)

    learned, other = profiles.of_unit(UNIT), profiles.of_unit(CareUnitKey("model", "other"))
    assert (learned.names_resource, learned.names_service) == (False, False)
    assert (other.names_resource, other.names_service) == (True, True)
    assert learned.filter_policy is other.filter_policy is FilterPolicy.ANY_ONE


def test_profile_of_a_care_unit_has_its_own_time_zone_also_after_learning() -> None:
    oslo = time_zone("Europe/Oslo")
    profiles = Profiles([replace(PLAIN, unit_time_zones={UNIT.care_unit: oslo})])
    other = CareUnitKey("model", "other")

    assert profiles.of_unit(UNIT).time_zone is oslo
    profiles.learn(profiles.of_unit(UNIT).after_refusing(resource=False, service=False))

    assert profiles.of_unit(UNIT).time_zone is oslo
    assert profiles.of_unit(other).time_zone is profiles.of("model").time_zone is PLAIN.time_zone
    assert profiles.of_unit(UNIT).filter_policy is profiles.of_unit(other).filter_policy is FilterPolicy.ANY_ONE


def test_the_file_sets_what_an_ehr_can_do() -> None:
    text = b'[model]\ncancel = true\nchecks_timeslots = false\nreschedule = "unknown"\npatient_by = ["details"]\n'

    found = read_profiles(text)["model"].applied_to(EhrProfile("model", "Model", capabilities=Capabilities(book=YES)))

    assert found.capabilities == Capabilities(
        book=YES, cancel=YES, checks_timeslots=Support.NO, patient_by=frozenset({PatientIdentification.DETAILS})
    )


@pytest.mark.parametrize(
    "line",
    [
        "cancel = 1",
        'cancel = "yes"',
        'patient_by = ["shoe_size"]',
        'patient_by = "details"',
        "maximum_comment_length = -1",
        'required_patient_details = ["first name"]',
        "calls_per_minute = 0",
        "calls_per_minute = 1.5",
        'calls_per_minute = "60"',
    ],
)
def test_what_it_says_of_that_is_checked(line: str) -> None:
    with pytest.raises(ProfilesError, match=rf"\[model\S*\] {line.split(maxsplit=1)[0].upper()}|\[model\S+\] \d"):
        read_profiles(f"[model]\n{line}\n".encode())


def test_a_quota_of_calls_is_none_unless_the_file_says_so() -> None:
    override = read_profiles(b"[model]\ncalls_per_minute = 60\n")["model"]

    assert PLAIN.calls_per_minute is None
    assert override.applied_to(PLAIN).calls_per_minute == 60
