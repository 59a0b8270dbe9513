"""What container engines, and systemd, call what a refusal asks for: docker-run(1) and the like.

In a cure ``...`` stands for the rest of the command.
"""


class Engine:
    """The words of one; each is empty where there are none, or none that are known to work.

    Attributes:
        seccomp: lifts its seccomp(2) filter; ``{}`` is the system call.
        capability: gives one more; ``{}`` is its name without CAP_.
        between: goes between several names there.
        user: starts the program as another user than root.
        proc: leaves all of /proc to be seen, and writable.
        sys: the same for /sys.
        apparmor: lifts its AppArmor profile.
        pids: allows more processes; ``{}`` is how many.
        privileges: lets programs gain privileges by execve(2), PR_SET_NO_NEW_PRIVS(2const).
    """

    def __init__(
        self,
        seccomp: str,
        capability: str,
        user: str,
        between: str,
        proc: str = "",
        sys: str = "",
        apparmor: str = "",
        pids: str = "",
        privileges: str = "",
    ) -> None:
        self.seccomp = seccomp
        self.capability = capability
        self.user = user
        self.between = between
        self.proc = proc
        self.sys = sys
        self.apparmor = apparmor
        self.pids = pids
        self.privileges = privileges

    def grant(self, *names: str) -> str:
        """Return what gives capabilities; ``names`` are without CAP_."""
        return self.capability.format(self.between.join(names))


LXC_NESTING = "lxc.include = /usr/share/lxc/config/nesting.conf"
_UNIT = " in the [Service] section of the unit"

# By the names of `Machine.container`.
ENGINES = {
    "Docker": Engine(
        seccomp="docker run --security-opt seccomp=unconfined ... (or a profile that allows {})",
        capability="docker run --cap-add={} ...",
        user="docker run --user=1000 ...",
        between=" --cap-add=",
        proc="docker run --security-opt systempaths=unconfined ...",
        sys="docker run --security-opt systempaths=unconfined --volume /sys:/sys ...",
        apparmor="docker run --security-opt apparmor=unconfined ...",
        pids="docker run --pids-limit={} ...",
        privileges="docker run without --security-opt no-new-privileges",
    ),
    "Podman": Engine(
        seccomp="podman run --security-opt seccomp=unconfined ... (or a profile that allows {})",
        capability="podman run --cap-add={} ...",
        user="podman run --user=1000 ...",
        between=" --cap-add=",
        proc="podman run --security-opt unmask=ALL ...",
        sys="podman run --security-opt unmask=ALL --volume /sys:/sys ...",
        apparmor="podman run --security-opt apparmor=unconfined ...",
        pids="podman run --pids-limit={} ...",
        privileges="podman run without --security-opt no-new-privileges",
    ),
    "Kubernetes": Engine(
        seccomp='securityContext: {{"seccompProfile": {{"type": "Unconfined"}}}}',
        capability='securityContext: {{"capabilities": {{"add": ["{}"]}}}}',
        user='securityContext: {"runAsUser": 1000}',
        between='", "',
        proc='securityContext: {"procMount": "Unmasked"}, with hostUsers: false in the pod',
        apparmor='securityContext: {"appArmorProfile": {"type": "Unconfined"}}',
        privileges='securityContext: {"allowPrivilegeEscalation": true}',
    ),
    "LXC": Engine(
        seccomp="lxc.seccomp.profile = (none, in the container's configuration; or one that allows "
        "{})",
        capability="lxc.cap.drop = (nothing, in the container's configuration; it takes CAP_{})",
        user="lxc.init.uid = 1000",
        between=", CAP_",
        proc=LXC_NESTING,
        sys=LXC_NESTING,
        apparmor="lxc.apparmor.profile = unconfined",
        privileges="lxc.no_new_privs = 0",
    ),
    "systemd-nspawn": Engine(
        seccomp="systemd-nspawn without a --system-call-filter= that forbids {}",
        capability="systemd-nspawn --capability=CAP_{} ... (and no --drop-capability= of it)",
        user="systemd-nspawn --user=NAME ...",
        between=",CAP_",
        privileges="systemd-nspawn without --no-new-privileges=yes",
    ),
    "systemd": Engine(
        seccomp=f"RestrictNamespaces=no{_UNIT} (SystemCallFilter= there may forbid {{}} as well)",
        capability=f"CAP_{{}} in CapabilityBoundingSet={_UNIT}",
        user=f"User={_UNIT}",
        between=" CAP_",
        pids=f"TasksMax={{}}{_UNIT}",
        privileges=f"NoNewPrivileges=no{_UNIT}",
    ),
}

# Where nothing shows who it was: what most call it.
ANY = Engine(
    seccomp="allow {} there; for Docker and Podman: --security-opt seccomp=unconfined",
    capability="start it with CAP_{} (for Docker and Podman: --cap-add)",
    user="start it as another user",
    between=", CAP_",
    pids="raise TasksMax= of the unit, or docker run --pids-limit={}",
    privileges="start it by something that leaves it unset (bwrap, systemd's NoNewPrivileges= and "
    "Landlock set it)",
)


def engine(name: str) -> Engine:
    """Return the words of an engine, by the name that `Machine.container` gives it."""
    return ENGINES.get(name, ANY)


WHOLE = True
