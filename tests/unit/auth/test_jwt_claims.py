"""The claims that a token must have, and the access that it grants."""

import json
from contextlib import suppress
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.jwt import JwtRequirements, caller_name, granted_access
from gateway.domain.errors import Forbidden, Unauthenticated
from gateway.domain.ids import NodeType, care_unit_id, node_id
from gateway.domain.models import EVERYTHING, Access, CareUnitKey
from tests.unit.auth.issuer import AUDIENCE, ISSUER, START, SUBJECT, VerifierUnderTest, private_key, said, signed

RULES = JwtRequirements(ISSUER, AUDIENCE)
SECRET = b"0" * 32
UNIT = CareUnitKey("webdoc", "L0_1")
NODE = care_unit_id(UNIT)


def sealed(claims: dict[str, Any]) -> str:
    """Signed whatever the claims say; PyJWT's own encoder refuses some."""
    return jwt.PyJWS().encode(json.dumps(claims).encode(), private_key("EdDSA"), "EdDSA", {"kid": "k3"})


@pytest.mark.parametrize(
    ("claims", "until"),
    [
        ({}, START + 630),
        ({"aud": ["other", AUDIENCE]}, START + 630),
        ({"exp": START - 29.5}, START + 0.5),
        ({"exp": int(START + 1)}, START + 31),
        ({"nbf": START + 30, "iat": START + 30}, START + 630),
        ({"nbf": START - 600.5, "iat": 0}, START + 630),
        ({"sub": None}, START + 630),
    ],
)
async def test_a_token_is_valid_until_it_expires(claims: dict[str, Any], until: float) -> None:
    verifier = VerifierUnderTest()
    token = signed(said(**claims))
    await verifier.enter(token)

    verifier.time.seconds = until - 0.25
    await verifier.enter(token)
    verifier.time.seconds = until
    assert "has expired" in await verifier.refusal(token)


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"iss": None}, "`iss`"),
        ({"iss": ISSUER.rstrip("/")}, "`iss`"),
        ({"iss": [ISSUER]}, "`iss`"),
        ({"aud": None}, "`aud`"),
        ({"aud": []}, "`aud`"),
        ({"aud": "other"}, "`aud`"),
        ({"aud": f"{AUDIENCE}-canary"}, "`aud`"),
        ({"aud": {AUDIENCE: 1}}, "`aud`"),
        ({"exp": None}, "has no `exp`"),
        ({"exp": START - 30}, "has expired"),
        ({"exp": 0}, "has expired"),
        ({"exp": str(START + 600)}, "`exp` is not a number"),
        ({"exp": True}, "`exp` is not a number"),
        ({"exp": float("inf")}, "`exp` is not a number"),
        ({"exp": float("nan")}, "`exp` is not a number"),
        ({"exp": 10**400}, "`exp` is not a number"),
        ({"exp": [START + 600]}, "`exp` is not a number"),
        ({"nbf": START + 30.5}, "does not hold yet"),
        ({"nbf": "canary"}, "`nbf` is not a number"),
        ({"iat": START + 31}, "does not hold yet"),
        ({"iat": {}}, "`iat` is not a number"),
        ({"sub": 1}, "`sub`"),
        ({"jti": 1}, "`jti`"),
    ],
)
async def test_an_invalid_token_is_unauthenticated(claims: dict[str, Any], message: str) -> None:
    assert message in await VerifierUnderTest().refusal(sealed(said(**claims)))


@pytest.mark.parametrize("claims", [{"sub": "\ud800"}, {"care_units": ["webdoc/\ud800"]}, {"emrs": ["\ud800"]}])
async def test_text_that_utf_8_cannot_hold_is_a_name_or_refused(claims: dict[str, Any]) -> None:
    try:
        caller = await VerifierUnderTest().enter(sealed(said(**claims)))
    except Forbidden:
        return
    assert caller.name.startswith("token:")
    assert caller.access == Access(frozenset({"webdoc"}))


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"emrs": ["webdoc", "takecare"]}, Access(frozenset({"webdoc", "takecare"}))),
        ({"emrs": "webdoc  takecare"}, Access(frozenset({"webdoc", "takecare"}))),
        ({"emrs": "*"}, EVERYTHING),
        ({"emrs": ["*", "webdoc"]}, EVERYTHING),
        ({"care_units": [NODE]}, Access(frozenset({"webdoc"}), frozenset({UNIT}))),
        (
            {"care_units": f"{NODE} webdoc/2"},
            Access(frozenset({"webdoc"}), frozenset({UNIT, CareUnitKey("webdoc", "2")})),
        ),
        ({"care_units": "*"}, Access(frozenset({"webdoc"}))),
        ({"emrs": "*", "care_units": ["other/ö 1"]}, Access(None, frozenset({CareUnitKey("other", "ö 1")}))),
    ],
)
def test_a_token_grants_access_to_what_it_lists(claims: dict[str, Any], expected: Access) -> None:
    assert granted_access(said(**claims), RULES) == expected


def test_the_names_of_the_access_claims_are_configurable() -> None:
    rules = JwtRequirements(ISSUER, AUDIENCE, "https://x.example/ehrs", "units")
    claims = said() | {"https://x.example/ehrs": "b", "units": "b/1", "care_units": "webdoc/1"}

    assert granted_access(claims, rules) == Access(frozenset({"b"}), frozenset({CareUnitKey("b", "1")}))
    with pytest.raises(Forbidden, match=r"`https://x\.example/ehrs`"):
        granted_access(said(), rules)


@pytest.mark.parametrize(
    "emrs", [None, [], "", " ", 1, {}, {"webdoc": 1}, ["webdoc", 1], [["webdoc"]], ["can ary"], "a/b"]
)
def test_a_token_that_lists_no_ehr_is_forbidden(emrs: object) -> None:
    with pytest.raises(Forbidden, match="claim `emrs` must list the EHRs"):
        granted_access(said(emrs=emrs), RULES)


RESOURCE = node_id(NodeType.RESOURCE, UNIT, "canary")


@pytest.mark.parametrize(
    "units", [[], "", 1, {}, {NODE: 1}, [NODE, 1], [RESOURCE], ["canary"], [NODE, "webdoc/"], "/1"]
)
def test_an_invalid_list_of_care_units_is_forbidden(units: object) -> None:
    with pytest.raises(Forbidden, match="claim `care_units` must list the care units") as refusal:
        granted_access(said(care_units=units), RULES)

    assert "canary" not in refusal.value.message


def test_a_null_list_of_care_units_is_forbidden() -> None:
    with pytest.raises(Forbidden):
        granted_access(said() | {"care_units": None}, RULES)


def test_a_caller_name_depends_on_the_subject_and_the_secret() -> None:
    mine = caller_name(said(), RULES, SECRET)

    assert mine == caller_name(said(exp=1, emrs="*"), RULES, SECRET)
    others = [
        caller_name(said(sub="1"), RULES, SECRET),
        caller_name(said(), JwtRequirements("https://other.example/", AUDIENCE), SECRET),
        caller_name(said(), RULES, b"1" * 32),
        caller_name(said(sub=None, client_id=SUBJECT), RULES, SECRET),
        caller_name(said(sub=None, azp=SUBJECT), RULES, SECRET),
        caller_name(said(sub=None), RULES, SECRET),
    ]
    assert len({mine, *others}) == 7
    assert all(each.startswith("token:") and len(each) == 18 for each in [mine, *others])


@pytest.mark.parametrize("sub", [1, ["a"], {}, False])
def test_a_subject_that_is_no_text_is_unauthenticated(sub: object) -> None:
    with pytest.raises(Unauthenticated, match="`sub`"):
        caller_name(said(sub=sub), RULES, SECRET)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.sampled_from(["*", NODE]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
claim_names = st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub", "azp", "emrs", "care_units"])


@given(st.dictionaries(claim_names, values, max_size=5))
async def test_any_claims_are_accepted_or_refused(claims: dict[str, Any]) -> None:
    with suppress(Unauthenticated, Forbidden):
        await VerifierUnderTest().enter(sealed(said() | claims))


@given(values)
def test_any_token_grants_at_most_what_it_lists(units: object) -> None:
    claims = said() | {"care_units": units}
    try:
        seen = granted_access(claims, RULES)
    except Forbidden:
        return

    assert seen.emrs == frozenset({"webdoc"})
    assert seen.care_units is not None or "*" in (units.split() if isinstance(units, str) else list(units))  # type: ignore[call-overload] # a list, or it would have been refused
