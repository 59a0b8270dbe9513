"""The errors of each system call, as its page in section 2 of the Linux man pages lists them."""

from __future__ import annotations

_PATH = "EACCES EFAULT ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR"

_LISTED = {
    "access": f"{_PATH} EBADF EINVAL EIO EPERM EROFS ETXTBSY",
    "bind": "EACCES EADDRINUSE EADDRNOTAVAIL EBADF EFAULT EINVAL ELOOP ENAMETOOLONG ENOENT ENOMEM"
    " ENOTDIR ENOTSOCK EROFS",
    "brk": "ENOMEM",
    "capset": "EFAULT EINVAL EPERM ESRCH",
    "chdir": f"{_PATH} EIO",
    "chmod": f"{_PATH} EBADF EINVAL EIO ENOTSUP EPERM EROFS",
    "chown": f"{_PATH} EBADF EINVAL EIO EPERM EROFS",
    "clone": "EACCES EAGAIN EBUSY EEXIST EINVAL ENOMEM ENOSPC EOPNOTSUPP EPERM EUSERS",
    "close": "EBADF EDQUOT EINTR EIO ENOSPC",
    "close_range": "EINVAL EMFILE ENOMEM",
    "connect": "EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EALREADY EBADF ECONNREFUSED"
    " EFAULT EINPROGRESS EINTR EISCONN ENETUNREACH ENOTSOCK EPERM EPROTOTYPE ETIMEDOUT",
    "dup": "EBADF EMFILE ENOMEM",
    "dup2": "EBADF EBUSY EINTR EMFILE ENOMEM",
    "execve": f"{_PATH} E2BIG EAGAIN EINVAL EIO EISDIR ELIBBAD EMFILE ENFILE ENOEXEC EPERM ETXTBSY",
    "fcntl": "EACCES EAGAIN EBADF EBUSY EDEADLK EFAULT EINTR EINVAL EMFILE ENOLCK ENOTDIR EPERM",
    "fsconfig": "EACCES EBUSY EFAULT EINVAL EMFILE ENOENT ENOMEM ENOTBLK ENOTDIR EOPNOTSUPP EPERM",
    "fsmount": "EBUSY EINVAL EMFILE ENFILE ENOMEM EPERM",
    "fsopen": "EFAULT EMFILE ENFILE ENODEV ENOMEM EPERM",
    "futex": "EACCES EAGAIN EDEADLK EFAULT EINTR EINVAL ENFILE ENOMEM ENOSYS EPERM ESRCH ETIMEDOUT",
    # ENOENT apart: the directory was removed then, and the program stands where it can.
    "getcwd": "EACCES EFAULT EINVAL ENAMETOOLONG ENOMEM ERANGE",
    "getdents64": "EBADF EFAULT EINVAL ENOENT ENOTDIR",
    "getitimer": "EFAULT EINVAL",
    "getrandom": "EAGAIN EFAULT EINTR EINVAL ENOSYS",
    "getsockname": "EBADF EFAULT EINVAL ENOBUFS ENOTSOCK",
    "ioctl": "EBADF EFAULT EINVAL ENODEV ENOTTY EPERM",  # netdevice(7), ioctl_ns(2) included
    "kill": "EINVAL EPERM ESRCH",
    "lseek": "EBADF EINVAL ENXIO EOVERFLOW ESPIPE",
    "madvise": "EACCES EAGAIN EBADF EBUSY EINVAL EIO ENOMEM EPERM",
    "mkdir": f"{_PATH} EBADF EDQUOT EEXIST EINVAL EMLINK ENOSPC EPERM EROFS",
    "mmap": "EACCES EAGAIN EBADF EEXIST EINVAL ENFILE ENODEV ENOMEM EOVERFLOW EPERM ETXTBSY",
    "mount": f"{_PATH} EBUSY EINVAL EMFILE ENODEV ENOTBLK ENXIO EPERM EROFS",
    "mount_setattr": f"{_PATH} EBADF EBUSY EINVAL ENOSPC EPERM ENOSYS",
    "move_mount": f"{_PATH} EBADF EBUSY EINVAL EPERM",
    "mprotect": "EACCES EINVAL ENOMEM",
    "mremap": "EAGAIN EFAULT EINVAL ENOMEM",
    "munmap": "EINVAL ENOMEM",
    "newfstatat": f"{_PATH} EBADF EINVAL EOVERFLOW",
    "openat": f"{_PATH} EAGAIN EBADF EBUSY EDQUOT EEXIST EFBIG EINTR EINVAL EISDIR EMFILE ENFILE"
    " ENODEV ENOSPC ENXIO EOPNOTSUPP EOVERFLOW EPERM EROFS ETXTBSY",
    "pidfd_open": "EINVAL EMFILE ENFILE ENODEV ENOMEM ESRCH ENOSYS",
    "pipe2": "EFAULT EINVAL EMFILE ENFILE ENOPKG",
    "poll": "EFAULT EINTR EINVAL ENOMEM",
    "prctl": "EACCES EBADF EBUSY EFAULT EINVAL ENODEV ENXIO EOPNOTSUPP EPERM",
    "prlimit64": "EFAULT EINVAL EPERM ESRCH",
    "read": "EAGAIN EBADF EFAULT EINTR EINVAL EIO EISDIR",
    "readlink": f"{_PATH} EINVAL EIO",
    "recvfrom": "EAGAIN EBADF ECONNREFUSED EFAULT EINTR EINVAL ENOMEM ENOTCONN ENOTSOCK",
    "rt_sigaction": "EFAULT EINVAL",
    "rt_sigpending": "EFAULT",
    "rt_sigprocmask": "EFAULT EINVAL",
    "rt_sigqueueinfo": "EAGAIN EINVAL EPERM ESRCH",
    "rt_sigtimedwait": "EAGAIN EINTR EINVAL",
    "sendto": "EACCES EAGAIN EBADF ECONNRESET EDESTADDRREQ EFAULT EINTR EINVAL EISCONN EMSGSIZE"
    " ENOBUFS ENOMEM ENOTCONN ENOTSOCK EOPNOTSUPP EPIPE",
    "setgroups": "EFAULT EINVAL ENOMEM EPERM",
    "sethostname": "EFAULT EINVAL ENAMETOOLONG EPERM",
    "setitimer": "EFAULT EINVAL",
    "setns": "EBADF EINVAL ENOMEM EPERM ESRCH",
    "setresgid": "EAGAIN EINVAL EPERM",
    "setresuid": "EAGAIN EINVAL EPERM",
    "setsid": "EPERM",
    "setsockopt": "EBADF EFAULT EINVAL ENOPROTOOPT ENOTSOCK",
    "socket": "EACCES EAFNOSUPPORT EINVAL EMFILE ENFILE ENOBUFS ENOMEM EPROTONOSUPPORT",
    "statfs": f"{_PATH} EBADF EINTR EIO ENOSYS EOVERFLOW",
    "umount2": f"{_PATH} EAGAIN EBUSY EINVAL EPERM",
    "unlink": f"{_PATH} EBUSY EIO EISDIR EPERM EROFS",
    "unshare": "EINVAL ENOMEM ENOSPC EPERM EUSERS",
    "wait4": "ECHILD EINTR EINVAL ESRCH",
    "write": "EAGAIN EBADF EDESTADDRREQ EDQUOT EFAULT EFBIG EINTR EINVAL EIO ENOSPC EPERM EPIPE",
}
_SAME = {
    "chown32": "chown",
    "clone3": "clone",
    "dup3": "dup2",
    "faccessat": "access",
    "faccessat2": "access",
    "fchmodat": "chmod",
    "fchownat": "chown",
    "fork": "clone",
    "fstat": "newfstatat",
    "lchown": "chown",
    "lstat": "newfstatat",
    "mkdirat": "mkdir",
    "ppoll": "poll",
    "pread64": "read",
    "readlinkat": "readlink",
    "recvmsg": "recvfrom",
    "rmdir": "unlink",
    "sendmsg": "sendto",
    "stat": "newfstatat",
    "statx": "newfstatat",
    "unlinkat": "unlink",
    "vfork": "clone",
}

# These cannot fail, say their pages, or cannot be made to by letting them not happen: a process
# that does not end when it ends is no error of the hook's.
INFALLIBLE = {
    "exit",
    "exit_group",
    "getegid",
    "geteuid",
    "getgid",
    "getpgrp",
    "getpid",
    "getppid",
    "gettid",
    "getuid",
    "rt_sigreturn",
    "sched_yield",
    "set_tid_address",
    "umask",
}


def errnos(call: str) -> list[str]:
    """The names of the errors that a call is to fail with.

    Args:
        call: its name.

    Returns:
        Those that its page lists, then ENOMEM and EINTR, which any may be tried with.
    """
    listed = _LISTED.get(_SAME.get(call, call), "EINVAL EPERM")
    return sorted({*listed.split(), "ENOMEM", "EINTR"})
