"""Runs a program as a unit of systemd would confine it: `python -m tests.daemon.confine UNIT PROGRAM ARGUMENT...`.

Done here without systemd: system calls and address families by libseccomp, no executable memory that was written by
prctl(2), no new privileges and no capabilities. Directories and devices are left as they are.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.daemon.unit import Unit

_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | errno.EPERM  # SCMP_ACT_ERRNO
_EQUAL: Final = 4  # SCMP_CMP_EQ
_PR_SET_MDWE: Final = 65
_PR_SET_NO_NEW_PRIVS: Final = 38


class _Comparison(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


def calls_of(names: str) -> set[str]:
    """Return the system calls in groups and by name, in systemd's words."""
    found: set[str] = set()
    for name in names.split():
        if not name.startswith("@"):
            found.add(name)
            continue
        listed = subprocess.check_output(["systemd-analyze", "--no-pager", "syscall-filter", name], text=True)
        lines = [line.strip() for line in listed.splitlines()[1:]]
        found |= calls_of(" ".join(line for line in lines if line and not line.startswith("#")))
    return found


def allowed(unit: Unit) -> set[str]:
    """Return the system calls that a unit allows."""
    found: set[str] = set()
    for line in unit.all("SystemCallFilter"):
        found = found - calls_of(line[1:]) if line.startswith("~") else found | calls_of(line)
    return found | calls_of("@default")


def confine(unit: Unit) -> None:
    """Confine this process, and the program that it becomes."""
    libc, seccomp = ctypes.CDLL(None, use_errno=True), ctypes.CDLL("libseccomp.so.2", use_errno=True)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    assert libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    if unit.one("MemoryDenyWriteExecute") == "yes":
        assert libc.prctl(_PR_SET_MDWE, 1, 0, 0, 0) == 0, "this needs Linux 6.3"
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(_REFUSE)))
    for name in allowed(unit):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0 and name != "socket":
            assert seccomp.seccomp_rule_add(context, ctypes.c_uint32(_ALLOW), number, 0) == 0
    number = seccomp.seccomp_syscall_resolve_name(b"socket")
    for name in unit.one("RestrictAddressFamilies").split():
        family = _Comparison(0, _EQUAL, int(getattr(socket, name)), 0)
        assert seccomp.seccomp_rule_add_array(context, ctypes.c_uint32(_ALLOW), number, 1, ctypes.byref(family)) == 0
    assert seccomp.seccomp_load(context) == 0


if __name__ == "__main__":
    confine(Unit(Path(sys.argv[1])))
    os.execv(sys.argv[2], sys.argv[2:])
