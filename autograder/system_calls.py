"""The system calls that a worker is refused, as a seccomp program for the kernel.

A list of refusals, not of permissions: what torch calls differs between its versions, drivers and C
libraries, and a worker that dies of a new harmless call would cost an honest student. Calls newer than this
list are answered as if the kernel did not know them, which every library expects.
"""

import ctypes
import errno
import os
import platform
import struct

# name: (x86-64, aarch64); None where the architecture has no such call
REFUSED = {
    # no new processes or programs
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "uselib": (134, None),
    # no network (what a worker has is its end of one socket)
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242),
    # no other process: its memory, signals, priority, limits
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "kcmp": (312, 272),
    "get_robust_list": (274, 100), "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424), "setpgid": (109, 154), "setsid": (112, 157),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "sched_setaffinity": (203, 122), "sched_setattr": (314, 274),
    "setrlimit": (160, 164), "prlimit64": (302, 261), "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # what Landlock does not cover: modes, owners, times, attributes, watches, lengths by path
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16), "utime": (132, None), "utimes": (235, None), "futimesat": (261, None),
    "utimensat": (280, 88), "truncate": (76, 45), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "inotify_init": (253, None), "inotify_init1": (294, 26),
    "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "mknod": (133, None), "mknodat": (259, 33),
    # nothing that outlives the process, or that another worker could read: queues, shared memory, keys
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190), "semop": (65, 193),
    "semctl": (66, 191), "semtimedop": (220, 192), "msgget": (68, 186), "msgsnd": (69, 189),
    "msgrcv": (70, 188), "msgctl": (71, 187), "mq_open": (240, 180), "mq_unlink": (241, 181),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # no namespaces, mounts, disks
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "quotactl": (179, 60), "quotactl_fd": (443, 443), "swapon": (167, 224),
    "swapoff": (168, 225), "acct": (163, 89), "sync": (162, 81), "syncfs": (306, 267),
    # wide doors into the kernel
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "io_setup": (206, 0), "io_submit": (209, 2), "memfd_secret": (447, 447), "modify_ldt": (154, None),
    "lookup_dcookie": (212, 18), "syslog": (103, 116), "personality": (135, 92), "vhangup": (153, 58),
    # the machine, where the grader runs as root
    "reboot": (169, 142), "sethostname": (170, 161), "setdomainname": (171, 162),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266),
    "adjtimex": (159, 171), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "iopl": (172, None), "ioperm": (173, None),
}  # fmt: skip
NOT_THERE = {"clone3": (435, 435), "openat2": (437, 437)}  # ENOSYS: libraries fall back to what can be read
NEWEST = 450  # the last call that was considered (set_mempolicy_home_node, Linux 5.17)
SECCOMP = (317, 277)
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

LOAD, AND, RETURN = 0x20, 0x54, 0x06
JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_OR_EQUAL, JUMP_BITS = 0x15, 0x25, 0x35, 0x45
ALLOW, KILL_PROCESS, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
DENIED, UNKNOWN = REFUSE | errno.EPERM, REFUSE | errno.ENOSYS
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
X32_BIT = 0x40000000

CLONE_THREAD, NEW_NAMESPACES = 0x10000, 0x7E020000
SOCKET_TYPE, SOCK_STREAM = 0xF, 1
ACCESS_AND_TRUNCATE, TRUNCATE_UNWRITTEN = 0o1003, (0o1000, 0o1003)
F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY = 8, 10, 15, 1024, 1026
FIOSETOWN, SIOCSPGRP, TIOCSTI, TIOCLINUX = 0x8901, 0x8902, 0x5412, 0x541C
PR_SET_PDEATHSIG = 1

Line = tuple[int, int, int, int]  # operation, lines to skip if true, if false, value


def column() -> int:
    """Return which of a call's two numbers is this machine's."""
    return ARCHITECTURES[platform.machine()][0]


def filter_program() -> list[Line]:
    """Return the BPF program: foreign architectures die, listed calls fail with EPERM, threads may start."""
    here, architecture = ARCHITECTURES[platform.machine()]
    lines = [
        (LOAD, 0, 0, ARCHITECTURE), (JUMP_EQUAL, 1, 0, architecture), (RETURN, 0, 0, KILL_PROCESS),
        (LOAD, 0, 0, NUMBER), (JUMP_GREATER_OR_EQUAL, 0, 1, X32_BIT), (RETURN, 0, 0, KILL_PROCESS),
        (JUMP_GREATER, 0, 1, NEWEST), (RETURN, 0, 0, UNKNOWN),
    ]  # fmt: skip
    for table, answer in ((REFUSED, DENIED), (NOT_THERE, UNKNOWN)):
        for numbers in table.values():
            if numbers[here] is not None:
                lines += [(JUMP_EQUAL, 0, 1, numbers[here]), (RETURN, 0, 0, answer)]
    for numbers, judge in CONDITIONAL:
        if numbers[here] is not None:
            judged = judge()
            lines += [(JUMP_EQUAL, 0, len(judged), numbers[here]), *judged]
    return [*lines, (RETURN, 0, 0, ALLOW)]


def install(libc: ctypes.CDLL) -> None:
    """Filter this process's system calls for good, on all its threads; raises OSError where it can't be."""
    program = b"".join(struct.pack("HBBI", *line) for line in filter_program())
    buffer = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    filled = Program(len(program) // 8, ctypes.addressof(buffer))
    call, mode, on_all_threads = ctypes.c_long(SECCOMP[column()]), ctypes.c_uint(1), ctypes.c_uint(1)
    if libc.syscall(call, mode, on_all_threads, ctypes.byref(filled)):
        raise OSError(ctypes.get_errno(), "seccomp was refused")


# --- calls that are judged by an argument ------------------------------------------------------------


def _argument(place: int) -> Line:
    return LOAD, 0, 0, ARGUMENTS + 8 * place


def _unless_one_of(values: tuple[int, ...]) -> list[Line]:
    """Refuse the values, allow the rest."""
    tests = [(JUMP_EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [*tests, (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, DENIED)]


def _only(value: int) -> list[Line]:
    return [(JUMP_EQUAL, 1, 0, value), (RETURN, 0, 0, DENIED), (RETURN, 0, 0, ALLOW)]


def _threads_only() -> list[Line]:
    """Let threads start, in the namespaces of the process; glibc falls back to this from clone3."""
    within = [(JUMP_BITS, 0, 1, NEW_NAMESPACES), (RETURN, 0, 0, DENIED)]
    return [
        _argument(0),
        *within,
        (JUMP_BITS, 1, 0, CLONE_THREAD),
        (RETURN, 0, 0, DENIED),
        (RETURN, 0, 0, ALLOW),
    ]


def _signal_to_itself() -> list[Line]:
    """A thread may signal its own process (abort does), but no other."""
    return [_argument(0), *_only(os.getpid())]


def _stream_pair() -> list[Line]:
    """A pair of datagram sockets could write to any socket on the disk that has a path."""
    return [_argument(1), (AND, 0, 0, SOCKET_TYPE), *_only(SOCK_STREAM)]


def _no_truncation_when(flags: int) -> list[Line]:
    """Refuse opening for reading with O_TRUNC: Landlock before version 3 sees a reader."""
    return [_argument(flags), (AND, 0, 0, ACCESS_AND_TRUNCATE), *_unless_one_of(TRUNCATE_UNWRITTEN)]


CONDITIONAL = (
    ((56, 220), _threads_only),  # clone
    ((234, 131), _signal_to_itself),  # tgkill
    ((53, 199), _stream_pair),  # socketpair
    ((2, None), lambda: _no_truncation_when(1)),  # open
    ((257, 56), lambda: _no_truncation_when(2)),  # openat
    # signals by way of a descriptor's owner; leases and notices on files that others use
    (
        (72, 25),
        lambda: [_argument(1), *_unless_one_of((F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY))],
    ),
    ((16, 29), lambda: [_argument(1), *_unless_one_of((FIOSETOWN, SIOCSPGRP, TIOCSTI, TIOCLINUX))]),  # ioctl
    ((157, 167), lambda: [_argument(0), *_unless_one_of((PR_SET_PDEATHSIG,))]),  # prctl: to outlive the room
)
