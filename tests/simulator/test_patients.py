"""Patients: found instead of made twice, known by ids of several types, and what each EHR wants of a new one."""

from typing import Any

import pytest

from tests.simulator.booking_client import OLA, TOLVAN, BookingClient, error_codes


def read(client: BookingClient, typed_id: str) -> Any:
    return client.http.get(f"{client.base}/patients/{typed_id}")


def create(client: BookingClient, **details: object) -> Any:
    return client.http.post(f"{client.base}/patients", json=details)


def test_the_test_people_of_the_documentation_are_there(bookings: BookingClient) -> None:
    (tolvan,) = bookings.http.get(f"{bookings.base}/patients", params={"last_name": "tolvansson"}).json()
    norwegians = bookings.at("pridok")
    found = norwegians.http.get(f"{norwegians.base}/patients", params={"last_name": "Nordmann"}).json()

    assert (tolvan["first_name"], tolvan["external_id"], tolvan["care_unit_id"]) == ("Tolvan", "191212121212", "L0_1")
    assert [one["first_name"] for one in found] == ["Ola", "Kari"]
    both = {"first_name": "Kari", "last_name": "Nordmann"}
    assert norwegians.http.get(f"{norwegians.base}/patients", params=both).json() == found[1:]


def test_nobody_is_an_empty_list_and_a_search_without_a_name_is_refused(bookings: BookingClient) -> None:
    assert bookings.http.get(f"{bookings.base}/patients", params={"last_name": "Nobody"}).json() == []
    assert error_codes(bookings.http.get(f"{bookings.base}/patients")) == ["MISSING_REQUIRED_FIELD"]


def test_a_patient_who_is_known_is_found_with_the_answer_of_a_new_one(bookings: BookingClient) -> None:
    new = create(bookings, first_name="Test", last_name="Testsson", phones=["+46701740606"])
    again = create(bookings, first_name="TEST", last_name="Testsson", phones=["+46701740606"])

    assert (new.status_code, new.json()) == (again.status_code, again.json())
    assert new.json()["phones"] == ["+46701740606"]
    assert [call["outcome"] for call in bookings.attempts("create_patient")] == ["created", "found"]


def test_the_number_says_who_it_is_whatever_the_name(bookings: BookingClient) -> None:
    tolvan = create(bookings, **TOLVAN).json()

    assert create(bookings, first_name="T", last_name="T", external_id="19121212-1212").json() == tolvan


def test_the_same_name_with_another_number_or_telephone_is_another_patient(bookings: BookingClient) -> None:
    details: list[dict[str, object]] = [{}, {"external_id": "198112189876"}, {"phones": ["+46701740607"]}]

    ids = {create(bookings, first_name="Test", last_name="Testsson", **each).json()["id"] for each in details}

    assert len(ids) == 3


def test_patients_belong_to_their_care_unit(bookings: BookingClient) -> None:
    patient = create(bookings, first_name="Test", last_name="Testsson").json()["id"]
    elsewhere = bookings.base.replace("L0_1", "L0_2")

    assert error_codes(bookings.http.get(f"{elsewhere}/patients/{patient}")) == ["INVALID_PATIENT_ID"]


def test_a_patient_is_known_by_ids_of_several_types(bookings: BookingClient) -> None:
    tolvan = create(bookings, **TOLVAN).json()
    names = [tolvan["id"], tolvan["emr_id"], f"emr_id:{tolvan['emr_id']}", "se_personal_number:191212121212"]

    assert [read(bookings, name).json() for name in names] == [tolvan] * 4
    assert read(bookings, "se_personal_number%3A191212121212").json() == tolvan


def test_a_plain_id_may_be_the_ehrs_alone(bookings: BookingClient) -> None:
    tolvan = create(bookings, **TOLVAN).json()
    bookings.switch(plain_patient_ids="emr")

    assert read(bookings, tolvan["emr_id"]).json() == tolvan
    assert error_codes(read(bookings, tolvan["id"])) == ["INVALID_PATIENT_ID"]


@pytest.mark.parametrize(
    ("emr", "known"),
    [
        ("webdoc", "se_personal_number"),
        ("kaddio", "se_personal_number"),
        ("takecare", "se_personal_number"),
        ("konfidens", "no_personal_number"),
        ("cliniko", None),
        ("pridok", None),
        ("physica", None),
    ],
)
def test_types_of_patient_ids_by_ehr(bookings: BookingClient, emr: str, known: str | None) -> None:
    client = bookings.at(emr)
    numbers = {
        "se_personal_number": "191212121212",
        "no_personal_number": "26258605879",
        "nhs_number": "9000000009",
    }
    for kind, number in numbers.items():
        answer = read(client, f"{kind}:{number}")
        if kind == known:
            assert answer.status_code == 200
        else:
            assert error_codes(answer) == ["PATIENT_ID_LOOKUP_TYPE_NOT_SUPPORTED"]


def test_nhs_numbers_can_be_switched_on(bookings: BookingClient) -> None:
    bookings.switch(patient_id_types=["nhs_number"], required_patient_detail="nhs_number")
    patient = create(bookings, first_name="Test", last_name="Test", external_id="900 000 0009").json()

    assert read(bookings, "nhs_number:9000000009").json() == patient
    assert error_codes(create(bookings, first_name="T", last_name="T", external_id="9000000008")) == ["BAD_INPUT"]
    assert error_codes(read(bookings, "emr_id:x")) == ["PATIENT_ID_LOOKUP_TYPE_NOT_SUPPORTED"]


@pytest.mark.parametrize(
    ("emr", "details", "code"),
    [
        ("takecare", {}, "MISSING_REQUIRED_FIELD"),
        ("takecare", {"external_id": "191212121213"}, "BAD_INPUT"),
        ("takecare", {"external_id": "1212121212"}, "BAD_INPUT"),
        ("takecare", {"external_id": OLA["external_id"]}, "BAD_INPUT"),
        ("konfidens", {}, "MISSING_REQUIRED_FIELD"),
        ("konfidens", {"external_id": "26258605878"}, "BAD_INPUT"),
        ("konfidens", {"external_id": TOLVAN["external_id"]}, "BAD_INPUT"),
        ("anitasystems", {}, "MISSING_REQUIRED_FIELD"),
        ("anitasystems", {"phones": []}, "MISSING_REQUIRED_FIELD"),
        ("anitasystems", {"phones": ["none"]}, "BAD_INPUT"),
    ],
)
def test_what_an_ehr_wants_of_a_new_patient(
    bookings: BookingClient, emr: str, details: dict[str, object], code: str
) -> None:
    client = bookings.at(emr)

    assert error_codes(create(client, first_name="Test", last_name="Test", **details)) == [code]
    assert client.patient() == client.patient()


@pytest.mark.parametrize(
    "details",
    [
        {},
        {"first_name": "Test"},
        {"first_name": "Test", "last_name": None},
        {"first_name": "Test", "last_name": 1},
        {"first_name": "Test", "last_name": "Test", "phones": "+46701740605"},
        {"first_name": "Test", "last_name": "Test", "emails": [1]},
    ],
)
def test_details_that_cannot_be_read_are_refused(bookings: BookingClient, details: dict[str, object]) -> None:
    answer = create(bookings, **details)

    assert (answer.status_code, answer.json()["code"], "errors" in answer.json()) == (400, "BAD_REQUEST", False)


def test_anita_finds_nobody(bookings: BookingClient) -> None:
    anita = bookings.at("anitasystems")

    assert error_codes(read(anita, anita.patient())) == ["NOT_SUPPORTED"]
    assert error_codes(anita.http.get(f"{anita.base}/patients", params={"last_name": "N"})) == ["NOT_SUPPORTED"]


def test_patients_may_have_documented_fields_only_and_come_in_a_wrapped_list(bookings: BookingClient) -> None:
    bookings.switch(optional_fields=False, wrapped_lists=True, created_status=201)
    answer = create(bookings, **TOLVAN)

    assert answer.status_code == 201
    assert set(answer.json()) == {"id", "emr_id", "first_name", "last_name", "care_unit_id"}
    found = bookings.http.get(f"{bookings.base}/patients", params={"first_name": "Tolvan"}).json()
    assert found == {"items": [answer.json()]}
