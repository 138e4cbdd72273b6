"""Booking: at most once for each idempotency key, as typed outcomes."""
