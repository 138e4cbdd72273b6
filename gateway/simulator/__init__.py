"""A stand-in for Leyr, made from Leyr's public documentation and not from Leyr's code.

What the documentation leaves open was chosen, on purpose the less convenient way, and can be switched
(`Manners`). All clinics and people are invented.
"""

from gateway.simulator.announcement import announcement
from gateway.simulator.app import create_simulator
from gateway.simulator.manners import Manners
from gateway.simulator.settings import SimulatorSettings

__all__ = ["Manners", "SimulatorSettings", "announcement", "create_simulator"]
