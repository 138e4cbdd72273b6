"""The door of a listening socket: who stands in the kernel's queue, and how to let nobody else into it.

Closing a listening socket resets whoever is connected and not yet accepted, and connections that are being made. So
before that, nobody new may come in and the queue must be empty.
"""

import ctypes
import selectors
import socket
import sys

# asm-generic/socket.h; Python has no name for it.
_SO_ATTACH_FILTER = 26


class _Instruction(ctypes.Structure):
    """linux/filter.h: sock_filter."""

    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("operand", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    """linux/filter.h: sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


# Of a TCP segment, take the byte of flags; without SYN (2) all of it passes, with SYN nothing of it.
_WITHOUT_SYN = ((0x30, 0, 0, 13), (0x45, 1, 0, 0x02), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0))


def let_nobody_in(bound: socket.socket) -> bool:
    """Take no new connections, while those that are being made may still be; False where the system cannot.

    Who tries now is not refused yet: its machine tries again after a second.
    """
    if sys.platform != "linux":
        return False
    instructions = (_Instruction * len(_WITHOUT_SYN))(*(_Instruction(*each) for each in _WITHOUT_SYN))
    try:
        bound.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(_Program(len(_WITHOUT_SYN), instructions)))
    except OSError:
        return False
    return True


def has_somebody_waiting(bound: socket.socket) -> bool:
    """Is somebody connected who was not accepted yet?"""
    with selectors.DefaultSelector() as selector:
        selector.register(bound, selectors.EVENT_READ)
        return bool(selector.select(0))
