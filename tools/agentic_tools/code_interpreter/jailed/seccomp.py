"""The system calls that a session may make, as a BPF program. What is not named here fails with EPERM.

There is no socket, no process but its own, no signal to another one, no name space, key ring, io_uring or
performance counter. Changing modes, owners and times does nothing and says that it worked, so that `shutil.copy` works.
"""

# ruff: noqa: SIM905 - these lists are read better as text

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Sequence

_PLAIN = (
    "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close dup dup2 dup3 "
    "flock fsync fdatasync ftruncate fadvise64 copy_file_range sendfile creat stat fstat lstat "
    "newfstatat statx access faccessat faccessat2 readlink readlinkat getcwd chdir fchdir mkdir mkdirat rmdir unlink "
    "unlinkat rename renameat renameat2 link linkat symlink symlinkat getdents getdents64 statfs fstatfs umask "
    "munmap mprotect mremap madvise msync mincore brk membarrier futex set_robust_list rseq "
    "set_tid_address gettid getpid getppid getuid geteuid getgid getegid getresuid getresgid getgroups "
    "getpgrp sched_yield sched_get_priority_max "
    "sched_get_priority_min getrlimit getrusage times time clock_gettime clock_getres clock_nanosleep "
    "nanosleep gettimeofday getitimer setitimer alarm timerfd_create timerfd_settime timerfd_gettime eventfd2 "
    "epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 poll ppoll select pselect6 pipe pipe2 "
    "recvfrom recvmsg getsockopt getsockname getpeername shutdown rt_sigaction rt_sigprocmask rt_sigreturn "
    "rt_sigpending rt_sigsuspend rt_sigtimedwait sigaltstack pause restart_syscall exit exit_group uname sysinfo "
    "getrandom getcpu arch_prctl wait4 waitid capget"
).split()
_PRETENDED = (
    "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes utimensat futimesat setxattr lsetxattr "
    "fsetxattr removexattr lremovexattr fremovexattr"
).split()
_REFUSED = {
    **dict.fromkeys(("clone3", "openat2", "memfd_create"), errno.ENOSYS),  # libraries then take the older call
    # It would take gigabytes of the disk at once, before anybody has measured; libc then writes instead.
    "fallocate": errno.EOPNOTSUPP,
    **dict.fromkeys("getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr".split(), errno.ENOTSUP),
}
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032)
"""Descriptors, flags and locks; not F_SETOWN, F_SETSIG and leases, which send signals."""
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX."""
_PRCTL = (3, 15, 16, 23, 0x53564D41)
"""PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_CAPBSET_READ, PR_SET_VMA."""
_CLONE_THREAD, _CLONE_FILES = 0x00010000, 0x00000400
_MAP_SHARED, _MAP_ANONYMOUS = 0x01, 0x20
_CLOSE_RANGE_CLOEXEC = 4
_O_ACCMODE, _O_TRUNC = 3, 0x200

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _AND, _RETURN = 0x20, 0x15, 0x54, 0x06

Block = list[tuple[int, int, int, int]]
"""Instructions: code, jump if true, jump if false, constant. Jumps stay inside a block."""


def program(pid: int) -> bytes:
    """The filter for the process `pid`, as an array of `struct sock_filter`.

    Raises:
        OSError: This machine's architecture is not known here.
    """
    try:
        audit, numbers = _TABLES[platform.machine()]
    except KeyError:
        raise OSError(errno.ENOSYS, f"no system-call table for {platform.machine()}") from None
    code: Block = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, audit), _ret(_KILL), (_LOAD, 0, 0, 0)]
    for name, block in _rules(pid).items():
        if name in numbers:
            code += [(_EQUAL, 0, len(block), numbers[name]), *block]
    code.append(_ret(_ERRNO | errno.EPERM))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _rules(pid: int) -> dict[str, Block]:
    rules: dict[str, Block] = {name: [_ret(_ALLOW)] for name in _PLAIN}
    rules |= {name: [_ret(_ERRNO)] for name in _PRETENDED}
    rules |= {name: [_ret(_ERRNO | number)] for name, number in _REFUSED.items()}
    rules["fcntl"] = _one_of(1, _FCNTL, errno.EPERM)
    rules["ioctl"] = _one_of(1, _IOCTL, errno.ENOTTY)
    rules["prctl"] = _one_of(0, _PRCTL, errno.EINVAL)
    rules["prlimit64"] = _one_of(0, (0, pid), errno.EPERM)
    rules["kill"] = _one_of(0, (0, pid), errno.EPERM)
    # They would tell which processes the host has.
    for name in ("getpgid", "getsid", "sched_getparam", "sched_getscheduler", "get_robust_list"):
        rules[name] = _one_of(0, (0, pid), errno.ESRCH)
    rules["getpriority"] = _one_of(1, (0, pid), errno.ESRCH)
    rules["sched_getaffinity"] = _one_of(0, (0, pid), errno.ENOSYS)  # libc asks for a thread's, and can do without
    rules["tgkill"] = _one_of(0, (pid,), errno.EPERM)
    # Before Linux 6.2, Landlock lets whoever may read a file empty it; and it does not look at access mode 3.
    opening = (0, 1, 2, _O_TRUNC | 1, _O_TRUNC | 2)
    rules["open"] = _one_of(1, opening, errno.EINVAL, _O_TRUNC | _O_ACCMODE)
    rules["openat"] = _one_of(2, opening, errno.EINVAL, _O_TRUNC | _O_ACCMODE)
    # Threads only, and with one table of descriptors: the host looks there for files without a name.
    rules["clone"] = _all_bits(0, _CLONE_THREAD | _CLONE_FILES, _ALLOW, _ERRNO | errno.EPERM)
    rules["close_range"] = _one_of(2, (0, _CLOSE_RANGE_CLOEXEC), errno.EINVAL)
    # Such memory stays in use while a page of it is mapped, and nobody could see how much it is.
    rules["mmap"] = _all_bits(3, _MAP_SHARED | _MAP_ANONYMOUS, _ERRNO | errno.EPERM, _ALLOW)
    # A datagram socket could be sent to any path: only AF_UNIX streams, and only to the other end.
    stream = [_low(1), (_AND, 0, 0, 0xF), (_EQUAL, 0, 1, 1), _ret(_ALLOW), _ret(_ERRNO | errno.EPERM)]
    rules["socketpair"] = [_low(0), (_EQUAL, 1, 0, 1), _ret(_ERRNO | errno.EPERM), *stream]
    rules["sendto"] = [
        *(_low(4), (_EQUAL, 1, 0, 0), _ret(_ERRNO | errno.EPERM)),
        *(_high(4), (_EQUAL, 1, 0, 0), _ret(_ERRNO | errno.EPERM), _ret(_ALLOW)),
    ]
    return rules


def _one_of(argument: int, values: Sequence[int], otherwise: int, bits: int = 0xFFFFFFFF) -> Block:
    last = len(values)
    tests = [(_EQUAL, last - index, 0, value) for index, value in enumerate(values)]
    return [_low(argument), (_AND, 0, 0, bits), *tests, _ret(_ERRNO | otherwise), _ret(_ALLOW)]


def _all_bits(argument: int, bits: int, then: int, otherwise: int) -> Block:
    return [_low(argument), (_AND, 0, 0, bits), (_EQUAL, 0, 1, bits), _ret(then), _ret(otherwise)]


def _ret(value: int) -> tuple[int, int, int, int]:
    return (_RETURN, 0, 0, value)


def _low(argument: int) -> tuple[int, int, int, int]:
    return (_LOAD, 0, 0, 16 + 8 * argument)


def _high(argument: int) -> tuple[int, int, int, int]:
    return (_LOAD, 0, 0, 20 + 8 * argument)


_X86_64 = (
    "access=21 alarm=37 arch_prctl=158 brk=12 capget=125 chdir=80 chmod=90 chown=92 clock_getres=229 "
    "clock_gettime=228 clock_nanosleep=230 clone=56 clone3=435 close=3 close_range=436 copy_file_range=326 "
    "creat=85 dup=32 dup2=33 dup3=292 epoll_create=213 epoll_create1=291 epoll_ctl=233 epoll_pwait=281 "
    "epoll_pwait2=441 epoll_wait=232 eventfd2=290 exit=60 exit_group=231 faccessat=269 faccessat2=439 "
    "fadvise64=221 fallocate=285 fchdir=81 fchmod=91 fchmodat=268 fchmodat2=452 fchown=93 fchownat=260 fcntl=72 "
    "fdatasync=75 fgetxattr=193 flistxattr=196 flock=73 fremovexattr=199 fsetxattr=190 fstat=5 fstatfs=138 "
    "fsync=74 ftruncate=77 futex=202 futimesat=261 get_robust_list=274 getcpu=309 getcwd=79 getdents=78 "
    "getdents64=217 getegid=108 geteuid=107 getgid=104 getgroups=115 getitimer=36 getpeername=52 getpgid=121 "
    "getpgrp=111 getpid=39 getppid=110 getpriority=140 getrandom=318 getresgid=120 getresuid=118 getrlimit=97 "
    "getrusage=98 getsid=124 getsockname=51 getsockopt=55 gettid=186 gettimeofday=96 getuid=102 getxattr=191 "
    "ioctl=16 kill=62 lchown=94 lgetxattr=192 link=86 linkat=265 listxattr=194 llistxattr=195 lremovexattr=198 "
    "lseek=8 lsetxattr=189 lstat=6 madvise=28 membarrier=324 memfd_create=319 mincore=27 mkdir=83 mkdirat=258 "
    "mmap=9 mprotect=10 mremap=25 msync=26 munmap=11 nanosleep=35 newfstatat=262 open=2 openat=257 openat2=437 "
    "pause=34 pipe=22 pipe2=293 poll=7 ppoll=271 prctl=157 pread64=17 preadv=295 preadv2=327 prlimit64=302 "
    "pselect6=270 pwrite64=18 pwritev=296 pwritev2=328 read=0 readlink=89 readlinkat=267 readv=19 recvfrom=45 "
    "recvmsg=47 removexattr=197 rename=82 renameat=264 renameat2=316 restart_syscall=219 rmdir=84 rseq=334 "
    "rt_sigaction=13 rt_sigpending=127 rt_sigprocmask=14 rt_sigreturn=15 rt_sigsuspend=130 rt_sigtimedwait=128 "
    "sched_get_priority_max=146 sched_get_priority_min=147 sched_getaffinity=204 sched_getparam=143 "
    "sched_getscheduler=145 sched_yield=24 select=23 sendfile=40 sendto=44 set_robust_list=273 "
    "set_tid_address=218 setitimer=38 setxattr=188 shutdown=48 sigaltstack=131 socketpair=53 stat=4 statfs=137 "
    "statx=332 symlink=88 symlinkat=266 sysinfo=99 tgkill=234 time=201 timerfd_create=283 timerfd_gettime=287 "
    "timerfd_settime=286 times=100 umask=95 uname=63 unlink=87 unlinkat=263 utime=132 utimensat=280 utimes=235 "
    "wait4=61 waitid=247 write=1 writev=20"
)
_AARCH64 = (
    "brk=214 capget=90 chdir=49 clock_getres=114 clock_gettime=113 clock_nanosleep=115 clone=220 clone3=435 "
    "close=57 close_range=436 copy_file_range=285 dup=23 dup3=24 epoll_create1=20 epoll_ctl=21 epoll_pwait=22 "
    "epoll_pwait2=441 eventfd2=19 exit=93 exit_group=94 faccessat=48 faccessat2=439 fadvise64=223 fallocate=47 "
    "fchdir=50 fchmod=52 fchmodat=53 fchmodat2=452 fchown=55 fchownat=54 fcntl=25 fdatasync=83 fgetxattr=10 "
    "flistxattr=13 flock=32 fremovexattr=16 fsetxattr=7 fstat=80 fstatfs=44 fsync=82 ftruncate=46 futex=98 "
    "get_robust_list=100 getcpu=168 getcwd=17 getdents64=61 getegid=177 geteuid=175 getgid=176 getgroups=158 "
    "getitimer=102 getpeername=205 getpgid=155 getpid=172 getppid=173 getpriority=141 getrandom=278 getresgid=150 "
    "getresuid=148 getrlimit=163 getrusage=165 getsid=156 getsockname=204 getsockopt=209 gettid=178 "
    "gettimeofday=169 getuid=174 getxattr=8 ioctl=29 kill=129 lgetxattr=9 linkat=37 listxattr=11 llistxattr=12 "
    "lremovexattr=15 lseek=62 lsetxattr=6 madvise=233 membarrier=283 memfd_create=279 mincore=232 mkdirat=34 "
    "mmap=222 mprotect=226 mremap=216 msync=227 munmap=215 nanosleep=101 newfstatat=79 openat=56 openat2=437 "
    "pipe2=59 ppoll=73 prctl=167 pread64=67 preadv=69 preadv2=286 prlimit64=261 pselect6=72 pwrite64=68 "
    "pwritev=70 pwritev2=287 read=63 readlinkat=78 readv=65 recvfrom=207 recvmsg=212 removexattr=14 renameat=38 "
    "renameat2=276 restart_syscall=128 rseq=293 rt_sigaction=134 rt_sigpending=136 rt_sigprocmask=135 "
    "rt_sigreturn=139 rt_sigsuspend=133 rt_sigtimedwait=137 sched_get_priority_max=125 sched_get_priority_min=126 "
    "sched_getaffinity=123 sched_getparam=121 sched_getscheduler=120 sched_yield=124 sendfile=71 sendto=206 "
    "set_robust_list=99 set_tid_address=96 setitimer=103 setxattr=5 shutdown=210 sigaltstack=132 socketpair=199 "
    "statfs=43 statx=291 symlinkat=36 sysinfo=179 tgkill=131 timerfd_create=85 timerfd_gettime=87 "
    "timerfd_settime=86 times=153 umask=166 uname=160 unlinkat=35 utimensat=88 wait4=260 waitid=95 write=64 "
    "writev=66"
)


def _table(text: str) -> dict[str, int]:
    return {name: int(number) for name, _, number in (entry.partition("=") for entry in text.split())}


_TABLES = {"x86_64": (0xC000003E, _table(_X86_64)), "aarch64": (0xC00000B7, _table(_AARCH64))}
"""For each machine its AUDIT_ARCH and its numbers; a 32-bit call on either is of another architecture and fatal."""
