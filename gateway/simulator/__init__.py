"""A stand-in for Leyr, made from Leyr's public documentation and not from Leyr's code.

What the documentation leaves open was chosen, on purpose the less convenient way, and can be switched
(`Behaviour`). All clinics and people are invented.
"""

from gateway.simulator.app import SimulatorSettings, announcement, create_simulator
from gateway.simulator.behaviour import Behaviour

__all__ = ["Behaviour", "SimulatorSettings", "announcement", "create_simulator"]
