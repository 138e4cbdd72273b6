"""Values and decisions of scheduling: no I/O, no async, no clock."""
