"""Which GETs another site's page can send without a preflight."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.csrf import Origins, may_be_csrf

# What browsers add to requests of pages elsewhere, whatever the page does.
FROM_ELSEWHERE = [
    {},
    {b"sec-fetch-site": "cross-site"},
    {b"sec-fetch-site": "cross-site", b"sec-fetch-mode": "no-cors", b"sec-fetch-dest": "image"},
    {b"sec-fetch-site": "same-site", b"sec-fetch-mode": "cors"},
    {b"sec-fetch-site": " Cross-Site ", b"sec-fetch-mode": "cors"},
    {b"sec-fetch-site": "", b"sec-fetch-mode": "cors"},
    {b"sec-fetch-site": "something-new", b"sec-fetch-mode": "cors"},
    {b"origin": "https://evil.example", b"cookie": "a=b", b"accept": "*/*", b"range": "bytes=0-"},
    # The browser of someone who logged in at the gateway's host adds these to every request.
    {b"authorization": "Basic YTpi"},
    {b"authorization": 'Digest username="a"'},
    {b"authorization": "Negotiate YII="},
    {b"authorization": "NTLM TlRM"},
    {b"authorization": "Bearer"},
    {b"authorization": ""},
]  # fmt: skip
SIMPLE_TYPES = [
    "text/plain",
    "text/plain;charset=utf-8",
    "text/plain;application/json",
    "text/plain, application/json",
    "application/x-www-form-urlencoded",
    "Multipart/Form-Data; boundary=application/json",
    "",
    " ",
    ";application/json",
    "application/graphql",
    "message/rfc822",
    "nonsense",
]
PROOFS = [
    {b"x-requested-with": "fetch"},
    {b"x-requested-with": ""},
    {b"apollo-require-preflight": "true"},
    {b"x-apollo-operation-name": "Free"},
    {b"graphql-require-preflight": "1"},
    {b"x-api-key": "key"},
    {b"authorization": "Bearer token"},
    {b"authorization": "bearer token"},
    {b"content-type": "application/json"},
    {b"content-type": "Application/JSON ; charset=utf-8"},
]
FROM_HERE = [
    {b"sec-fetch-site": "same-origin", b"sec-fetch-mode": "cors"},
    {b"sec-fetch-site": "Same-Origin"},
    {b"sec-fetch-site": "none", b"sec-fetch-mode": "navigate"},
    # fetch of Node.js sends the mode alone, which no browser does.
    {b"sec-fetch-mode": "cors"},
]


def _may_be_csrf(headers: dict[bytes, str]) -> bool:
    return may_be_csrf(headers, Origins(["https://book.example"]))


@pytest.mark.parametrize("headers", FROM_ELSEWHERE)
def test_a_get_that_another_sites_page_can_send_may_be_csrf(headers: dict[bytes, str]) -> None:
    assert _may_be_csrf(headers)


@pytest.mark.parametrize("content_type", SIMPLE_TYPES)
@pytest.mark.parametrize("headers", FROM_ELSEWHERE[:4])
def test_a_content_type_other_than_json_may_be_csrf(content_type: str, headers: dict[bytes, str]) -> None:
    assert _may_be_csrf({**headers, b"content-type": content_type})


@pytest.mark.parametrize("proof", PROOFS)
@pytest.mark.parametrize("headers", FROM_ELSEWHERE[:8])
def test_a_get_that_needs_a_preflight_is_no_csrf(proof: dict[bytes, str], headers: dict[bytes, str]) -> None:
    assert not _may_be_csrf({**headers, **proof})


@pytest.mark.parametrize("headers", FROM_HERE)
@pytest.mark.parametrize("content_type", [None, *SIMPLE_TYPES])
def test_a_get_that_no_other_sites_page_can_send_is_no_csrf(
    headers: dict[bytes, str], content_type: str | None
) -> None:
    given_type = {} if content_type is None else {b"content-type": content_type}

    assert not _may_be_csrf({**headers, **given_type})


@pytest.mark.parametrize("headers", FROM_ELSEWHERE)
def test_a_get_of_an_allowed_origin_is_no_csrf(headers: dict[bytes, str]) -> None:
    assert not _may_be_csrf({**headers, b"origin": "https://book.example"})
    assert _may_be_csrf({**headers, b"origin": "https://book.example, https://evil.example"})
    assert may_be_csrf({**headers, b"origin": "https://book.example"}, Origins())


@pytest.mark.parametrize(
    ("named", "allowed", "others"),
    [
        ("https://book.example", "https://book.example", ["http://book.example", "https://book.example:444", ""]),
        ("https://book.example/", "https://book.example", ["https://book.example/", "https://a.book.example"]),
        ("https://Book.Example:443", "https://book.example", ["https://book.example:80"]),
        ("http://[::1]:3000", "http://[::1]:3000", ["http://[::1]", "http://[::1]:3001"]),
        (
            "https://*.preview.example",
            "https://a-1.b.preview.example",
            [
                "https://preview.example",
                "https://evilpreview.example",
                "https://a.preview.example.evil.example",
                "https://evil.example/.preview.example",
                "https://evil.example#.preview.example",
                "https://user@a.preview.example",
                "https://a.previewXexample",
                "https://.preview.example",
                "https://a.preview.example:8443",
                "https://" + "a." * 300 + "preview.example",
                "null",
            ],
        ),
        ("http://localhost:*", "http://localhost:5173", ["http://localhost.evil.example", "http://localhost:1:2"]),
        ("http://localhost:*", "http://localhost", ["https://localhost", "http://localhost:"]),
        ("http://book.example:080", "http://book.example", ["http://book.example:080"]),
        ("http://[0:0::0:1]:03000", "http://[::1]:3000", ["http://[0:0::0:1]:3000"]),
    ],
)
def test_origins_are_allowed_by_name_or_pattern(named: str, allowed: str, others: list[str]) -> None:
    origins = Origins([named])

    assert origins.allows(allowed)
    assert [other for other in others if origins.allows(other)] == []


@pytest.mark.parametrize(
    "wrong",
    [
        "*",
        "https://*",
        "https://*.example",
        "https://*book.example",
        "https://book.example/path",
        "book.example",
        "null",
        "https://book.example:0",
        "https://book.example:65536",
        "http://[::1::]",
        "http://[:]:3000",
    ],
)
def test_what_is_no_origin_is_named_in_the_refusal(wrong: str) -> None:
    with pytest.raises(ValueError, match="is not an origin such as") as refused:
        Origins(["https://book.example", wrong])

    assert f"`{wrong}`" in str(refused.value)


def test_the_refusal_of_an_origin_quotes_no_password() -> None:
    with pytest.raises(ValueError, match="is not an origin") as refused:
        Origins(["https://user:secret@book.example"])

    assert "secret" not in str(refused.value)


@given(st.text(st.characters(codec="latin-1")))
def test_an_unknown_fetch_site_may_be_csrf(site: str) -> None:
    own = site.strip().lower() in {"same-origin", "none"}

    assert _may_be_csrf({b"sec-fetch-site": site, b"sec-fetch-mode": "cors"}) is not own


@given(st.text(st.characters(codec="latin-1"), max_size=8))
def test_any_content_type_is_no_csrf_only_if_it_is_json(rest: str) -> None:
    is_json = not rest.partition(";")[0].strip()

    assert _may_be_csrf({b"content-type": f"application/json{rest}"}) is not is_json
    assert _may_be_csrf({b"content-type": f"text/plain{rest}"})
