"""Where the simulator's chance comes from: generators named by what they decide, equal in every process."""

from random import Random


def chance(*name: object) -> Random:
    """Make the generator of this name; the same name always gives the same numbers."""
    # Random's text seeds go through SHA-512, so they do not depend on PYTHONHASHSEED.
    return Random("/".join(str(part) for part in name))  # noqa: S311 # invents clinics, guards nothing
