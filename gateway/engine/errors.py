"""What the engine raises, and what it reports in place of a document's or a variable's own error.

Whoever serves it maps these to codes. Their messages are safe to show: they never quote a value.
"""


class RequestError(Exception):
    """A document that is not executed."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidDocumentError(RequestError):
    """The document is malformed, or asks for what is off."""


class LimitExceededError(RequestError):
    """A limit would be passed; the message says which, by how much, and what the limit is."""


class MutationNotAllowedError(Exception):
    """The operation is no query, and the request may carry queries only."""


class UnsupportedError(Exception):
    """The operation, or a value in its answer, needs graphql-core's executor."""


class AnswerTooLargeError(Exception):
    """An answer would take more bytes than its size budget."""
