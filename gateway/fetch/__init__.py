"""Fewer and safer upstream calls than the fields of a query ask for."""
