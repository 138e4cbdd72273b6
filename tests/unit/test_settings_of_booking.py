"""The settings about booking."""

from pathlib import Path

import pytest

from gateway.domain.appointments import NO_BOOKING, BookingRights, PatientIdentification
from gateway.settings import SettingsError, load_settings

SECRET = "a secret of booking with 32 characters"
FORMER = "the former secret with its 32 characters"


@pytest.fixture
def set_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setenv("GATEWAY_JOURNAL", str(tmp_path / "journal.sqlite"))
    monkeypatch.setenv("GATEWAY_BOOKING_SECRET", SECRET)
    return monkeypatch


def test_nobody_books_unless_it_is_set() -> None:
    settings = load_settings()

    assert (settings.gateway_journal, settings.booking_secret) == (None, None)
    assert settings.anonymous_rights == NO_BOOKING
    assert settings.gateway_booking_seconds == 20


def test_a_journal_has_a_secret_and_may_have_the_former_one(set_to: pytest.MonkeyPatch) -> None:
    set_to.setenv("GATEWAY_BOOKING_SECRET_FORMER", FORMER)

    settings = load_settings()

    assert settings.booking_secret is not None
    assert settings.booking_secret.digest("x") == settings.booking_secret.digests("x")[0]
    assert len(settings.booking_secret.digests("x")) == 2
    assert SECRET not in f"{settings!r}{settings.booking_secret!r}"


def test_a_secret_may_stand_in_a_file(set_to: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n", encoding="utf-8")
    with_text = load_settings().booking_secret
    set_to.delenv("GATEWAY_BOOKING_SECRET")
    set_to.setenv("GATEWAY_BOOKING_SECRET_FILE", str(tmp_path / "secret"))

    assert load_settings().booking_secret == with_text


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"GATEWAY_BOOKING_SECRET": ""}, "GATEWAY_JOURNAL needs GATEWAY_BOOKING_SECRET"),
        ({"GATEWAY_BOOKING_SECRET": "short"}, "GATEWAY_BOOKING_SECRET: "),
        ({"GATEWAY_BOOKING_SECRET_FORMER": "short"}, "GATEWAY_BOOKING_SECRET_FORMER: "),
        (
            {"GATEWAY_JOURNAL": "", "GATEWAY_BOOKING_SECRET": "", "GATEWAY_BOOKING_SECRET_FORMER": FORMER},
            "set that too",
        ),
        ({"GATEWAY_JOURNAL": "shared"}, "GATEWAY_JOURNAL=shared .* GATEWAY_SHARED_URL: set that too"),
        ({"GATEWAY_JOURNAL": "shared", "GATEWAY_BOOKING_SECRET": ""}, "needs GATEWAY_BOOKING_SECRET"),
        ({"GATEWAY_BOOKING_SECONDS": "0"}, "GATEWAY_BOOKING_SECONDS"),
        ({"GATEWAY_ANONYMOUS_PATIENT_BY": "details,name"}, "GATEWAY_ANONYMOUS_PATIENT_BY"),
    ],
)
def test_what_is_missing_or_wrong_is_said(set_to: pytest.MonkeyPatch, names: dict[str, str], words: str) -> None:
    for name, value in names.items():
        set_to.setenv(name, value)

    with pytest.raises(SettingsError, match=words) as error:
        load_settings()

    assert FORMER not in str(error.value)


def test_anonymous_callers_may_be_let_book(set_to: pytest.MonkeyPatch) -> None:
    set_to.setenv("GATEWAY_ANONYMOUS_BOOKING", "yes")
    set_to.setenv("GATEWAY_ANONYMOUS_PATIENT_BY", "details, leyr_id")

    kinds = frozenset({PatientIdentification.DETAILS, PatientIdentification.LEYR_ID})
    assert load_settings().anonymous_rights == BookingRights(may_book=True, patient_by=kinds)


@pytest.mark.parametrize("path", ["shared", "./shared"])
def test_journal_is_shared_by_that_word_alone(set_to: pytest.MonkeyPatch, path: str) -> None:
    set_to.setenv("GATEWAY_JOURNAL", path)
    set_to.setenv("GATEWAY_SHARED_URL", "redis://store.test")

    assert load_settings().gateway_journal == ("shared" if path == "shared" else Path("shared"))
