"""The ids that are set aside for a user: in subuid(5) and subgid(5), or by a service.

newuidmap(1) goes by the line ``subid:`` of nsswitch.conf(5), since shadow 4.9. It asks that service
then and not the files; getsubids(1), of the same package, asks it as well and shows what it says.
"""

import os

from ..child import fork, heed_children, pipe, read_all, reap
from ..procfiles import granted_ids, names_of_user

SWITCH = "/etc/nsswitch.conf"
FILES = "files"
LISTER = "getsubids"
OPTIONS: "dict[str, list[str]]" = {"uid": [], "gid": ["-g"]}


def service() -> str:
    """Return the service that newuidmap(1) asks, such as ``sss``; ``files`` where it asks none."""
    try:
        with open(SWITCH, encoding="utf-8", errors="replace") as file:
            for line in file:
                words = line[6:].split()
                if line[:6].lower() == "subid:" and words:
                    return words[0]  # it asks one, whatever follows
    except OSError:
        pass
    return FILES


def lister() -> str:
    """Return the path of getsubids(1); empty where it is not installed."""
    for directory in os.get_exec_path():
        path = os.path.join(directory, LISTER)
        if os.access(path, os.X_OK):
            return path
    return ""


def ids_set_aside(kind: str) -> "list[tuple[int, int]]":
    """Return the ranges that newuidmap(1) or newgidmap(1) lets this user have, first and count.

    Args:
        kind: uid or gid.

    Raises:
        OSError: a file cannot be read, or no process can be started.
    """
    path = "" if service() == FILES else lister()
    if not path:  # an older newuidmap, without getsubids beside it, goes by the files
        return granted_ids(kind)
    return _ranges(_output([path, *OPTIONS[kind], names_of_user()[0]]))


def _ranges(text: str) -> "list[tuple[int, int]]":
    """Return what lines such as ``0: me 100000 65536`` say, and no other line."""
    found = []
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        words = rest.rsplit(None, 2)
        if number.isdecimal() and len(words) == 3 and words[1].isdecimal() and words[2].isdecimal():
            found.append((int(words[1]), int(words[2])))
    return [each for each in found if each[1]]


def _output(argv: "list[str]") -> str:
    """Run a program, and return what it has written."""
    reader, writer = pipe()
    child = fork()
    if child == 0:
        try:
            heed_children()
            os.dup2(writer, 1)
            os.dup2(writer, 2)  # what it says of a service that it cannot load is not for the user
            os.execv(argv[0], argv)
        finally:
            os._exit(127)
    os.close(writer)
    try:
        return read_all(reader).decode("utf-8", "replace")
    finally:
        os.close(reader)
        reap(child)


WHOLE = True
