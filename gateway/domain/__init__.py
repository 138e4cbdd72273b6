"""The words and the decisions: no I/O, no async, no clock."""
