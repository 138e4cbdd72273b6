"""A stand-in for Leyr, made from Leyr's public documentation and not from Leyr's code.

What the documentation leaves open was chosen, on purpose the less convenient way, and can be switched
(`Behaviour`). All clinics and people are invented.
"""

from gateway.simulator.app import create_simulator
from gateway.simulator.behaviour import Behaviour
from gateway.simulator.settings import SimulatorSettings, announcement

__all__ = ["Behaviour", "SimulatorSettings", "announcement", "create_simulator"]
