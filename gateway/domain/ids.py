"""Node ids: base64 of `Type:` and the percent-encoded parts joined by `/`.

Relay's Global Object Identification leaves the form open; Leyr's ids are not known to be unique across care
units and EHRs (leyr-api 3.1), so a node id holds the EHR and the care unit too.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from urllib.parse import quote, unquote

from gateway.domain.errors import BadUserInput
from gateway.domain.models import CareUnitKey

_LONGEST_ID = 1024
# Two UUIDs and a bit; thousands of much longer ids would take tens of megabytes.
_LONGEST_CACHED_IDS = 100
# What percent-encoding leaves alone (RFC 3986, 2.3); most ids hold nothing else, and quote takes ten times as long.
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+")
# Control characters, and halves of surrogate pairs, which no encoding takes.
_UNPRINTABLE = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")


class NodeType(StrEnum):
    """The types that have node ids."""

    CARE_UNIT = "CareUnit"
    RESOURCE = "Resource"
    HEALTHCARE_SERVICE = "HealthcareService"


@dataclass(frozen=True, slots=True)
class NodeId:
    """A decoded node id; `leyr_id` is Leyr's own id of the object."""

    type: NodeType
    care_unit: CareUnitKey
    leyr_id: str


def care_unit_id(key: CareUnitKey) -> str:
    """The node id of a care unit."""
    return _encode(NodeType.CARE_UNIT, *key)


def node_id(node_type: NodeType, key: CareUnitKey, leyr_id: str) -> str:
    """The node id of a resource or service of a care unit."""
    if len(key.care_unit) + len(leyr_id) > _LONGEST_CACHED_IDS:
        return _encode(node_type, *key, leyr_id)
    return _cached_node_id(node_type, key, leyr_id)


# The same nodes come back in every answer.
@lru_cache(maxsize=4_096)
def _cached_node_id(node_type: NodeType, key: CareUnitKey, leyr_id: str) -> str:
    return _encode(node_type, *key, leyr_id)


def parse_node_id(text: str) -> NodeId:
    """Decode a node id. Raises BadUserInput where this gateway cannot have given it out."""
    found = _decode(text)
    if found is None:
        raise BadUserInput("This is not a node id; pass an `id` that this gateway gave out, unchanged")
    return found


def leyr_id_within(text: str, node_type: NodeType, care_unit: CareUnitKey) -> str:
    """Leyr's own id of a resource or service of `care_unit`, from its node id or from the raw Leyr id.

    Raises BadUserInput where the node id is of another type or another care unit, or the id is unusable.
    """
    found = _decode(text)
    if found is None:
        return checked_leyr_id(text)
    if found.type is not node_type:
        raise BadUserInput(f"This is the id of a {found.type}; pass the id of a {node_type}")
    if found.care_unit != care_unit:
        raise BadUserInput(f"This {node_type} belongs to another care unit")
    return found.leyr_id


def checked_leyr_id(text: str) -> str:
    """The id itself, if it can stand in a URL as one segment. Raises BadUserInput."""
    if not is_usable(text):
        raise BadUserInput(
            "An id may not be empty, `.` or `..`, hold control characters, or be longer than "
            f"{_LONGEST_ID} characters; pass an id that this gateway gave out, unchanged"
        )
    return text


def is_usable(leyr_id: str) -> bool:
    """Whether an id can stand in a URL as one segment that no server rewrites."""
    return 0 < len(leyr_id) <= _LONGEST_ID and leyr_id not in {".", ".."} and _UNPRINTABLE.search(leyr_id) is None


def _encode(node_type: NodeType, *parts: str) -> str:
    path = "/".join(part if _UNRESERVED.fullmatch(part) else quote(part, safe="") for part in parts)
    return b64encode(f"{node_type}:{path}".encode()).decode()


def _decode(text: str) -> NodeId | None:
    """The node id, or None where the text is a raw id. Raises BadUserInput for a broken node id."""
    try:
        kind, colon, path = b64decode(text, validate=True).decode().partition(":")
        node_type = NodeType(kind)
    except (Base64Error, ValueError):
        return None
    parts = [unquote(part) for part in path.split("/")]
    expected = 2 if node_type is NodeType.CARE_UNIT else 3
    if not colon or len(parts) != expected or _encode(node_type, *parts) != text:
        raise BadUserInput("This node id is damaged; pass an `id` that this gateway gave out, unchanged")
    for part in parts:
        checked_leyr_id(part)
    return NodeId(node_type, CareUnitKey(parts[0], parts[1]), parts[-1])
