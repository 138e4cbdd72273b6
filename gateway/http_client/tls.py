"""TLS towards one host: the authorities that the machine trusts, and the session that the next connection resumes."""

import ssl
from collections.abc import Callable
from time import monotonic

# Whoever resumes a session sees no certificate, so one has to be seen now and then.
_MAX_SECONDS = 3600.0
# Each ticket costs the server a look, and reading it from a connection as much as a third of a handshake.
_RENEW_SECONDS = 60.0
_TOGETHER_SECONDS = 1.0


class ResumingContext(ssl.SSLContext):
    """A client's context for one host; keeps the last session that the host gave, for all connections to come.

    SSL_CERT_FILE and SSL_CERT_DIR name the authorities in place of the machine's own, as OpenSSL has it.
    """

    clock: Callable[[], float] = staticmethod(monotonic)
    _session: ssl.SSLSession | None = None
    _kept_at = 0.0
    _checked_at = 0.0

    def wrap_bio(  # type: ignore[override] # asyncio and uvloop leave the last argument out
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 # the base's signature
        server_hostname: str | bytes | None = None,
    ) -> ssl.SSLObject:
        """Begin a connection that resumes the session, if there is one."""
        if self.clock() - self._checked_at > _MAX_SECONDS:
            self._session = None
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, self._session)

    def keep_session(self, connection: ssl.SSLObject) -> None:
        """Keep the session of a connection over which a response came: TLS 1.3 sends tickets after the handshake."""
        now = self.clock()
        # Connections that were made together bring a session each.
        fresh_seconds = _RENEW_SECONDS if connection.session_reused else _TOGETHER_SECONDS
        if self._session is not None and now - self._kept_at < fresh_seconds:
            return
        session = connection.session
        if session is not None and session.has_ticket:
            self._session, self._kept_at = session, now
            if not connection.session_reused:
                self._checked_at = now

    def forget_session(self) -> None:
        """Let the next connection begin anew."""
        self._session = None


def resuming_context(clock: Callable[[], float] = monotonic) -> ResumingContext:
    """A context that checks certificates, and resumes sessions."""
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.clock = clock
    _trust(context)
    return context


def client_context() -> ssl.SSLContext:
    """A context that checks certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _trust(context)
    return context


def _trust(context: ssl.SSLContext) -> None:
    # An authority that is trusted need not have signed itself.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_default_certs()
