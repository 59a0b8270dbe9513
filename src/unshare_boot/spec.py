"""The language of PY_UNSHARE: text to plan. Pure: no input, no output, nothing of the kernel.

Here stand the plan and the items whose value is a word, which is all that most lists have. The
values with a grammar of their own, and what is said of a mistake, are in ``grammar``: loaded on
demand, since they would add a third to what a start with ``user,net`` imports.
"""

OFF = ("", "0", "off", "no", "false")

# The namespaces in the fixed order in which they are entered, each with the words that it takes;
# the first is what the name alone means.
WORDS: "dict[str, tuple[str, ...]]" = {
    "user": ("root", "current", "auto", "all", "none"),
    "net": ("lo", "down", "pasta", "slirp4netns"),
    "mount": ("private", "slave", "shared", "unchanged"),
    "uts": ("",),
    "ipc": ("",),
    "cgroup": ("",),
    "time": ("",),
    "pid": ("",),
}
NAMESPACES = tuple(WORDS)


class Plan:
    """What one list asks for, checked and complete. ``str`` gives it back as a list.

    A namespace is None when it is not asked for; a value that starts with ``/`` is the path of
    one to join; any other value is a word of the language.
    """

    user: "str | None" = None  # a word, UID or UID:GID
    net: "str | None" = None
    mount: "str | None" = None
    uts: "str | None" = None  # "" or a hostname
    ipc: "str | None" = None
    cgroup: "str | None" = None
    time: "str | None" = None
    pid: "str | None" = None
    map_users: "tuple[tuple[str, str, int], ...]" = ()  # inner, outer, count
    map_groups: "tuple[tuple[str, str, int], ...]" = ()
    setgroups: "str | None" = None  # allow, deny
    monotonic: "int | None" = None  # nanoseconds
    boottime: "int | None" = None  # nanoseconds
    publish: "tuple[tuple[str, int, int, str], ...]" = ()  # address, host, inside, tcp or udp
    addr: "tuple[str, ...]" = ()  # ADDRESS/PREFIX
    operations: "tuple[tuple[str, ...], ...]" = ()  # (proc,), (sys,), (tmpfs, DIR), …, in order
    keep_proc: bool = False
    caps: "str | None" = None  # keep, none
    complete: bool = False

    def __setattr__(self, name: str, value: object) -> None:
        if self.complete:
            raise AttributeError("a plan does not change")
        self.__dict__[name] = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        from .grammar import unparse

        return unparse(self)


def parse(text: str) -> "Plan | None":
    """Turn the text of PY_UNSHARE into a plan.

    Args:
        text: the value of the variable, its undecodable bytes as surrogates (PEP 383).

    Returns:
        The plan, or None where the text says to do nothing.

    Raises:
        UnshareError: the text is not understood (EINVAL); ``item`` is the one at fault.
    """
    if text.strip(" \t").lower() in OFF:
        return None
    plan = Plan()
    check = False
    for item in _split(text):
        name, equals, value = item.strip(" \t").partition("=")
        words = WORDS.get(name)
        if words and (not equals or (value and value in words)) and getattr(plan, name) is None:
            setattr(plan, name, value or words[0])
            check = check or name == "pid"
        else:
            from .grammar import read

            read(plan, name, value if equals else None)
            check = True
    if check:
        from .grammar import check_together

        check_together(plan)
    plan.complete = True
    return plan


def _split(text: str) -> "list[str]":
    if "\\" not in text:
        return text.split(",")
    from .grammar import split

    return split(text, ",")
