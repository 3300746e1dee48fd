# SPDX-License-Identifier: Apache-2.0
"""The wire's file descriptor: a TAP device, or a socket that was handed over."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
from typing import Final

from netkernel.errors import BadRequest, NkError, NotSupported, PermissionDenied, PortInUse

_TUNSETIFF: Final = 0x400454CA
_TUNGETIFF: Final = 0x800454D2
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000
_IFF_UP: Final = 0x0001
_IFNAMSIZ: Final = 16


def _ifreq(name: str, flags: int) -> bytes:
    return struct.pack(f"{_IFNAMSIZ}sH22x", name.encode(), flags)


def _tap_error(name: str, error: OSError) -> NkError:
    if error.errno in (errno.EPERM, errno.EACCES):
        return PermissionDenied(
            f"no permission to create the TAP device {name}",
            "Run as root, or in a user namespace of your own (unshare -rn).",
        )
    if error.errno == errno.EBUSY:
        return PortInUse(f"the TAP device {name} is in use by another process")
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return NotSupported(
            "this machine has no /dev/net/tun", "Load the module: modprobe tun; or use --no-wire."
        )
    if error.errno == errno.EINVAL:
        return PortInUse(f"{name} exists and is no TAP device that can be opened")
    return NkError(f"cannot open the TAP device {name}: {error.strerror}")


def open_tap(name: str) -> int:
    """A TAP device in this network namespace, created if it is not there, and up."""
    if not name or len(name.encode()) >= _IFNAMSIZ or "/" in name or name.split() != [name]:
        raise BadRequest(
            f"{name!r} is no name of a network interface (1 to {_IFNAMSIZ - 1} characters)"
        )
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _tap_error(name, error) from error
    try:
        fcntl.ioctl(fd, _TUNSETIFF, _ifreq(name, _IFF_TAP | _IFF_NO_PI))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            answer = fcntl.ioctl(control, _SIOCGIFFLAGS, _ifreq(name, 0))
            (flags,) = struct.unpack_from("H", answer, _IFNAMSIZ)
            fcntl.ioctl(control, _SIOCSIFFLAGS, _ifreq(name, flags | _IFF_UP))
    except OSError as error:
        os.close(fd)
        raise _tap_error(name, error) from error
    return fd


def check_wire_fd(fd: int) -> None:
    """A descriptor that keeps frames apart: a datagram or seqpacket socket, or a TAP device."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError as error:
        raise BadRequest(f"file descriptor {fd} is not open") from error
    if stat.S_ISSOCK(mode):
        with socket.socket(fileno=os.dup(fd)) as sock:
            if sock.type in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
                return
    else:
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, _TUNGETIFF, _ifreq("", 0))
            return
    raise BadRequest(f"file descriptor {fd} is neither a datagram socket nor a TAP device")
