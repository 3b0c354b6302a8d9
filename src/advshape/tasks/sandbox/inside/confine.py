"""What a program under test may not do, set in its process before its first instruction: rlimits and seccomp.

The namespaces that bubblewrap makes decide what exists; this decides what one process can use up and whom it can
touch.  The seccomp filter is a list of refusals (EPERM): no new process, no signal to another, no look into
another, no memory outside the address-space limit (System V and POSIX queues, memfd), no socket of any family, no
namespace, no io_uring. A program may start threads.  System call numbers: Linux's ``unistd`` tables for x86_64 and
aarch64.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import struct
from collections.abc import Mapping
from typing import Any

__all__ = ["ARCHITECTURES", "confine", "filter_program", "hide", "limit_self", "mount_box"]

MIB = 2**20
EPERM, ENOSYS = 1, 38
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
CLONE_THREAD, SEEN_IN_DATA = 0x00010000, {"nr": 0, "arch": 4, "arg0": 16, "arg1": 24}
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

REFUSED = {  # name: (x86_64, aarch64)
    "fork": (57, None),
    "vfork": (58, None),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "socket": (41, 198),
    "io_setup": (206, 0),
    "flock": (73, 32),
    "syslog": (103, 116),
}
ARCHITECTURES = {  # uname -m: (AUDIT_ARCH, column above, clone, clone3, prlimit64, fcntl, ioctl)
    "x86_64": (0xC000003E, 0, 56, 435, 302, 72, 16),
    "aarch64": (0xC00000B7, 1, 220, 435, 261, 25, 29),
}
FILE_COMMANDS = (8, 10, 15, 37, 38, 1024, 1026)
"""fcntl's F_SETOWN, F_SETSIG, F_SETOWN_EX, F_NOTIFY: a signal to another process by way of a file; F_OFD_SETLK,
F_OFD_SETLKW, F_SETLEASE: like flock, a lock on a file of the host that can be read here. (POSIX locks stay: SQLite
needs them, and on a file opened for reading they keep no reader out.)"""
OWNER_REQUESTS = (0x8901, 0x8902)
"""ioctl's FIOSETOWN and SIOCSPGRP: the same for a socket."""
X32 = 0x40000000
"""Set in the number of a system call of the x32 interface, which would pass by the list."""
NEWEST = 470
"""System calls from here on are unknown to this list."""


def mount_box(limits: Mapping[str, Any]) -> None:
    """An empty folder in memory at /box, limited in bytes and in files: each file takes memory of the kernel.

    bubblewrap's own --tmpfs has no limit of files, so the right to mount is given to the harness, and dropped here.
    """
    options = f"size={limits['disk'] * MIB},nr_inodes={limits['files']},mode=1777".encode()
    call(ctypes.CDLL(None, use_errno=True).mount(b"tmpfs", b"/box", b"tmpfs", MS_NOSUID | MS_NODEV, options))
    os.chdir("/box")


MS_NOSUID, MS_NODEV = 2, 4


def drop_capabilities() -> None:
    """Give up every right that is left, for this process and all that it becomes."""
    call(prctl()(47, 4, 0, 0, 0))  # PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL
    head, none = struct.pack("@Ii", 0x20080522, 0), bytes(24)  # version 3, this process; no set holds anything
    call(ctypes.CDLL(None, use_errno=True).capset(head, none))


def limit_self(limits: Mapping[str, Any], uid: int | None) -> None:
    """Limits of everything in the sandbox, and, where it was started as root, another user than root.

    The user is one that nothing else runs as, so that the kernel counts this sandbox's tasks alone
    (RLIMIT_NPROC counts by user, and never binds root).
    """
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    drop_capabilities()
    tasks = int(limits["threads"]) + 4  # bubblewrap's init, the harness, the program, one to spare
    resource.setrlimit(resource.RLIMIT_NPROC, (tasks, tasks))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    hide()


def hide() -> None:
    """No other process of the same user may look into this one (PR_SET_DUMPABLE)."""
    call(prctl()(4, 0, 0, 0, 0))


def confine(limits: Mapping[str, Any]) -> None:
    """The program's own limits and its filter of system calls; for this process and all that it becomes."""
    seconds, memory, output = math.ceil(limits["seconds"]) + 1, limits["memory"] * MIB, limits["output"] * MIB
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # SIGXCPU, then SIGKILL
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (output, output))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (0, 0))
    program = filter_program(os.uname().machine)
    block = ctypes.create_string_buffer(program, len(program))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(block)))
    call(prctl()(38, 1, 0, 0, 0))  # PR_SET_NO_NEW_PRIVS
    call(prctl()(22, 2, ctypes.addressof(head), 0, 0))  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def prctl() -> Any:
    """The C library's prctl, with arguments of a machine word."""
    function = ctypes.CDLL(None, use_errno=True).prctl
    function.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    return function


def call(result: int) -> None:
    """Raise the C library's error, if there is one."""
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def filter_program(machine: str) -> bytes:
    """The seccomp filter of an architecture as classic BPF, 8 bytes an instruction.

    >>> len(filter_program("x86_64")) % 8
    0
    """
    arch, column, clone, clone3, prlimit, fcntl, ioctl = ARCHITECTURES[machine]
    refuse, missing = step(RETURN, REFUSE | EPERM), step(RETURN, REFUSE | ENOSYS)
    code = [load("arch"), step(EQUAL, arch, 1, 0), step(RETURN, KILL), load("nr")]
    code += (
        [step(AT_LEAST, NEWEST, 0, 1), missing]
        if column
        else [
            step(AT_LEAST, X32, 0, 1),
            step(RETURN, KILL),
            step(AT_LEAST, NEWEST, 0, 1),
            missing,
        ]
    )
    code += [step(EQUAL, clone3, 0, 1), missing]  # its flags are out of sight: the C library then uses clone
    for numbers in REFUSED.values():
        if (number := numbers[column]) is not None:
            code += [step(EQUAL, number, 0, 1), refuse]
    code += [step(EQUAL, clone, 0, 4), load("arg0"), step(ANY_BIT, CLONE_THREAD, 1, 0), refuse, load("nr")]
    code += [step(EQUAL, prlimit, 0, 4), load("arg0"), step(EQUAL, 0, 1, 0), refuse, load("nr")]
    for number, values in ((fcntl, FILE_COMMANDS), (ioctl, OWNER_REQUESTS)):
        checks = [part for value in values for part in (step(EQUAL, value, 0, 1), refuse)]
        code += [step(EQUAL, number, 0, len(checks) + 2), load("arg1"), *checks, load("nr")]
    return b"".join([*code, step(RETURN, ALLOW)])


def load(field: str) -> bytes:
    """Load 32 bits of ``struct seccomp_data``: number, architecture, or the low half of an argument."""
    return step(LOAD, SEEN_IN_DATA[field])


def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction, ``struct sock_filter``: a jump counts the instructions that it passes over."""
    return struct.pack("=HBBI", code, if_true, if_false, value)
