"""How a keys file and a token write down what a caller may see."""

import re
from collections.abc import Iterable

from gateway.domain.errors import BadUserInput
from gateway.domain.ids import NodeType, is_usable, parse_node_id
from gateway.domain.models import CareUnitKey

_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def is_emr_code(text: str) -> bool:
    """Whether a text can be the code of an EHR."""
    return _CODE.fullmatch(text) is not None


def care_unit(text: str) -> CareUnitKey | None:
    """The care unit that a node id names, or an EHR's code, `/` and Leyr's id; None where it is neither."""
    try:
        node = parse_node_id(text)
    except BadUserInput:
        # Base64 knows `/` too, so a text is tried as a node id first.
        emr, _, leyr_id = text.partition("/")
        return CareUnitKey(emr, leyr_id) if is_emr_code(emr) and is_usable(leyr_id) else None
    return node.care_unit if node.type is NodeType.CARE_UNIT else None


def care_units(texts: Iterable[str]) -> frozenset[CareUnitKey] | None:
    """The care units that the texts name; None where one of them names none."""
    found = [care_unit(text) for text in texts]
    keys = frozenset(key for key in found if key is not None)
    return None if None in found else keys
