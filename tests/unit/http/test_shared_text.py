"""Documents that other processes registered: found once, checked as a client's are, and not where none are taken."""

import pytest

from gateway.http.persisted_documents import PersistedDocuments
from tests.unit.http.test_persisted_documents import CODES, ELSE, NAMES, by_hash, by_id, hashed, is_unknown

LONG = ELSE * 100_000


class Others:
    """What other processes registered, as a store that may say anything tells it."""

    def __init__(self, **texts: str) -> None:
        self.texts = {hashed(name): text for name, text in texts.items()}
        self.asked = 0

    async def find(self, sha256_hash: str) -> str | None:
        self.asked += 1
        return self.texts.get(sha256_hash)

    def keep(self, sha256_hash: str, text: str) -> None:
        self.texts[sha256_hash] = text

    async def kept(self, sha256_hash: str) -> None:
        assert sha256_hash in self.texts


@pytest.mark.anyio
async def test_what_another_process_registered_is_found_once_and_checked() -> None:
    others = Others()
    first, second = PersistedDocuments(shared=others), PersistedDocuments(shared=others)
    first.text(by_hash(CODES, CODES))

    assert is_unknown(second, by_hash(CODES))
    assert await second.shared_text(by_hash(CODES), lambda _: False) is None
    assert is_unknown(second, by_hash(CODES))
    assert await second.shared_text(by_hash(CODES)) == CODES
    assert second.text(by_hash(CODES)) == CODES
    others.texts[hashed(NAMES)] = CODES
    assert await second.shared_text(by_hash(NAMES)) is None
    others.texts[hashed(LONG)] = LONG
    assert await second.shared_text(by_hash(LONG)) is None
    assert others.asked == 4


@pytest.mark.anyio
async def test_only_what_may_be_registered_and_shared_reaches_other_processes() -> None:
    others = Others()
    documents = PersistedDocuments(shared=others)
    documents.text(by_hash(CODES, CODES), may_share=lambda _: False)
    documents.text(by_hash(LONG, LONG))
    trusting = PersistedDocuments({"a": NAMES}, shared=others)
    trusting.text(by_hash(CODES, CODES))

    assert not others.texts
    for request in (by_hash(CODES), by_id("unknown"), by_hash(CODES, CODES)):
        assert await trusting.shared_text(request) is None
    assert await PersistedDocuments(automatic=False, shared=others).shared_text(by_hash(CODES)) is None
    assert others.asked == 0
