"""Why a system call was refused: the table of what is known to cause that, and `find`.

Each cause is a row of `CAUSES`: its heading on a page (see pages), the system calls and errors
that it can explain, and a function that looks for it on the machine.
"""

from errno import (
    EACCES,
    EAFNOSUPPORT,
    EAGAIN,
    EBUSY,
    EINVAL,
    EMFILE,
    ENODEV,
    ENOENT,
    ENOMEM,
    ENOSPC,
    ENOSYS,
    EOPNOTSUPP,
    EPERM,
    ERANGE,
    EROFS,
    EUSERS,
)

from . import further, kernel, limits, mounts, process, programs, rights, seccomp_and_lsm
from .case import Case

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .case import Finding, Look

NEWER = ("move_mount", "fsopen", "fsconfig", "fsmount", "mount_setattr")  # system calls for mounts
MOUNTING = ("unshare", "mount", "move_mount", "fsmount")
NETWORK = ("ioctl", "netlink", "socket", "setsockopt", "bind")
DENIED = (EACCES, EPERM)
NO_SPACE = (ENOSPC, EUSERS)


class Cause:
    """One cause.

    Attributes:
        slug: the anchor of its heading, see refusal.pages.
        look: returns why, and the cure, if this is what the machine shows; None otherwise.
        calls: the system calls whose failure it can explain; empty for any.
        errnos: the errors of those; empty for any.
    """

    def __init__(
        self,
        slug: str,
        look: "Look",
        calls: "tuple[str, ...]" = (),
        errnos: "tuple[int, ...]" = (),
    ) -> None:
        self.slug = slug
        self.look = look
        self.calls = calls
        self.errnos = errnos

    def fits(self, case: Case) -> bool:
        """Tell whether it can explain a refusal, as far as that can be told without looking."""
        if self.calls and case.call not in self.calls:
            return False
        return not self.errnos or case.errno in self.errnos


def find(case: Case) -> "tuple[str, str, str] | None":
    """Return the most likely cause and what else is in the way, as far as it shows already.

    Returns:
        The slug of the first, why, and the cure; None where nothing is found.
    """
    found = first(case)
    if found is None:
        return None
    slug, *words = found
    more = further.also_in_the_way(case, slug)
    why, cure = ("; and ".join(each) for each in zip(words, *more))
    return slug, why, cure


def first(case: Case) -> "tuple[str, str, str] | None":
    """Return the most likely cause alone: its slug, why, and the cure; None where none is found."""
    for cause in CAUSES:
        found = cause.look(case) if cause.fits(case) else None
        if found:
            return cause.slug, *found
    return None


def _needs_user(case: Case) -> "Finding":
    return rights.needs_user(case, first)


# The first that finds itself is believed, so what can be proved comes before what is only likely.
CAUSES = (
    Cause("proc-is-not-mounted", mounts.no_proc, (), (ENOENT,)),
    Cause("record-that-cannot-be-written", process.no_record, ("open",)),
    Cause("threads", process.threads, ("unshare", "setns"), (EINVAL, EUSERS)),
    Cause("gvisor", kernel.gvisor),
    Cause("wsl-1", kernel.wsl_1),
    Cause("no-such-namespace", kernel.no_such_namespace, (), (EINVAL, ENOSYS, ENOENT)),
    Cause("missing-program", programs.missing_program, (), (ENOENT,)),
    Cause("tun-device", programs.no_tun),
    Cause("old-slirp4netns", programs.old_slirp4netns),
    Cause("no-way-out", programs.no_way_out),
    Cause("initramfs-as-root", programs.initramfs_as_root),
    Cause("filter-of-pasta", seccomp_and_lsm.filter_of_the_driver),
    Cause("debian-switch", rights.debian_switch, ("unshare",), (EPERM,)),
    Cause(
        "seccomp-filter",
        seccomp_and_lsm.seccomp,
        ("unshare", "setns", "mount", "umount2", "sethostname", *NEWER),
        (*DENIED, ENOSYS),
    ),
    Cause("chroot", rights.chroot, ("unshare", "mount"), (EPERM, EINVAL)),
    Cause("unmapped-id", rights.unmapped_id, ("unshare",), (EPERM,)),
    Cause("too-many-mounts", limits.too_many_mounts, MOUNTING, (ENOSPC,)),
    Cause("namespaces-switched-off", limits.switched_off, ("unshare",), NO_SPACE),
    Cause("namespaces-all-in-use", limits.all_in_use, ("unshare",), NO_SPACE),
    Cause("namespaces-nested-too-deep", limits.nested_too_deep, ("unshare",), NO_SPACE),
    Cause("limit-further-out", limits.limit_further_out, ("unshare",), NO_SPACE),
    Cause("joining-a-process", rights.joining_a_process, ("open",), DENIED),
    Cause("lists-without-user", _needs_user, ("unshare", "mount", "sethostname"), (EPERM,)),
    Cause("root-that-cannot-set-up-a-network", rights.network_rights, NETWORK, (EPERM,)),
    Cause("newuidmap-without-privileges", rights.program_without_privileges, (), (EPERM,)),
    Cause("not-dumpable", process.not_dumpable, (), DENIED),
    Cause("apparmor-on-ubuntu", seccomp_and_lsm.apparmor_on_ubuntu, (), DENIED),
    Cause("apparmor-profile", seccomp_and_lsm.apparmor_profile, (), DENIED),
    Cause("faked-ids", rights.faked_ids, ("write",), (EPERM,)),
    Cause("root-that-cannot-map-itself", rights.root_without_setfcap, ("write",), (EPERM,)),
    Cause(
        "proc-or-sys-without-its-namespace", mounts.fresh_without_namespace, ("mount",), (EPERM,)
    ),
    Cause("no-proc-or-sys-to-begin-with", mounts.none_to_begin_with, ("mount",), (EPERM, ENOENT)),
    Cause("proc-of-processes-alone", mounts.processes_only, ("mount",), (EPERM,)),
    Cause("masked-proc-or-sys", mounts.masked, ("mount",), (EPERM,)),
    Cause("read-only-proc-or-sys", mounts.read_only, ("mount",), (EPERM,)),
    Cause("landlock", seccomp_and_lsm.landlock, ("mount", "umount2", "move_mount"), (EPERM,)),
    Cause("overlays-too-deep", mounts.overlays_too_deep, ("fsconfig",), (EINVAL,)),
    Cause("what-python-starts-from-is-covered", mounts.covers_python, (), (EBUSY,)),
    Cause("clocks", process.clock_out_of_range, ("write",), (ERANGE,)),
    Cause("overlays-for-root-only", kernel.overlay_for_root, (), (EPERM, EINVAL, ENODEV)),
    Cause("no-overlay-file-system", kernel.no_overlay, (), (ENODEV,)),
    Cause("no-interfaces-for-the-gate", kernel.no_interfaces, NETWORK, (EAFNOSUPPORT, EOPNOTSUPP)),
    Cause("no-ipv6", kernel.no_ipv6, ("netlink",), (EOPNOTSUPP, EACCES, EAFNOSUPPORT)),
    Cause("sockets-by-socketcall", kernel.socketcall, ("socketcall",)),
    Cause("no-such-system-call", kernel.no_system_call, (), (ENOSYS,)),
    Cause("processes-of-a-control-group", limits.processes_of_the_group, (), (EAGAIN,)),
    Cause("processes-of-a-user", limits.processes_of_the_user, (), (EAGAIN,)),
    Cause("open-files", limits.open_files, (), (EMFILE,)),
    Cause("memory", limits.memory, (), (ENOMEM,)),
    Cause("proc-is-read-only", mounts.read_only_proc, (), (EROFS,)),
    Cause("no-resolver-configuration", programs.no_resolv_conf, ("open",), (ENOENT,)),
    Cause("no-such-file", programs.no_such_file, (), (ENOENT,)),
    Cause("selinux", seccomp_and_lsm.selinux, (), (EACCES,)),
    Cause("chroot-into-a-mount-point", rights.chroot_or_module, ("unshare",), (EPERM,)),
)

WHOLE = True
