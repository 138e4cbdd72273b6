"""A Valkey or Redis server that several processes share: a place to look before calling, and never a place to wait."""
