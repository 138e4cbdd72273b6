"""The JSON object in a request's body, read field by field with the errors of a Pydantic model."""

import orjson

from gateway.simulator.http_messages import invalid, read_instant


class JsonBody:
    """The fields of a body; those that nobody reads are ignored. Every method raises LeyrError."""

    def __init__(self, body: bytes, *location: str) -> None:
        self._location = ("body", *location)
        try:
            fields = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise invalid(*self._location, message="value is not valid JSON (type=value_error.jsondecode)") from None
        if not isinstance(fields, dict):
            raise invalid(*self._location, message="value is not a valid dict (type=type_error.dict)")
        self._fields: dict[str, object] = fields

    def __contains__(self, name: str) -> bool:
        return self._fields.get(name) is not None

    def text(self, name: str) -> str:
        """Give a required text."""
        text = self.optional_text(name)
        if text is None:
            raise invalid(*self._location, name, message="field required (type=value_error.missing)")
        return text

    def optional_text(self, name: str) -> str | None:
        """Give a text, or None where it is missing or null."""
        value = self._fields.get(name)
        if value is None or isinstance(value, str):
            return value
        raise invalid(*self._location, name, message="str type expected (type=type_error.str)")

    def texts(self, name: str) -> tuple[str, ...]:
        """Give a list of texts, which may be missing."""
        values = self._fields.get(name)
        if values is None:
            return ()
        if isinstance(values, list) and all(isinstance(value, str) for value in values):
            return tuple(values)
        raise invalid(*self._location, name, message="value is not a valid list of str (type=type_error.list)")

    def instant(self, name: str) -> float:
        """Give a required time as seconds since 1970."""
        return read_instant(self.text(name), *self._location, name)

    def inner(self, name: str) -> "JsonBody":
        """Give the object in a field."""
        return JsonBody(orjson.dumps(self._fields.get(name)), name)
