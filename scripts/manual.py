"""The manual pages unshare-boot(1) and PY_UNSHARE(7), in the language of man(7)."""

from __future__ import annotations

import itertools
import re

from scripts import facts

DATE = "2026-11-27"  # of the last change to the words below
SITE = "https://github.com/unshare-boot/unshare-boot"

STATUS = [
    (
        "0",
        "The hook runs, the list of \\fBcheck\\fR works, or the variable takes effect in all that"
        " \\fBwhere\\fR was given, or in any of PATH.",
    ),
    ("1", "It does not."),
    ("2", "The command line was not understood."),
    ("125", "\\fBrun\\fR: the list could not be entered; the command was not started."),
    ("126", "\\fBrun\\fR: the command could not be executed."),
    ("127", "\\fBrun\\fR: the command was not found."),
]

# Commands that need no explanation but their first words; the tests run them.
EXAMPLES = [
    ("Listen on port 80 as an ordinary user:", "PY_UNSHARE=user,net python -m http.server 80"),
    (
        "Run tests that reach one database, and nothing else:",
        "PY_UNSHARE=offline,allow=localhost:5432 python -m pytest",
    ),
    (
        "See what a program that is not Python tries to reach:",
        "unshare-boot run offline,record -- git ls-remote https://github.com/git/git",
    ),
    (
        "Have what is written below a directory thrown away:",
        "PY_UNSHARE=user,overlay=. python setup.py",
    ),
]


def command_page() -> str:
    """unshare-boot(1)."""
    whole, *commands = facts.commands()
    options = [f"\\fB{escape(name)}\\fR" for name, _ in whole.options if name != "-h"]
    lines = [
        *head(
            "UNSHARE-BOOT", "1", "unshare-boot", "Linux namespaces for Python, and for any command"
        ),
        ".SH SYNOPSIS",
        ".B unshare-boot",
        " ".join(f"[{each}]" for each in options),
    ]
    for command in commands:
        lines += [".br", ".B unshare-boot", f"\\fB{command.name}\\fR {usage(command)}"]
    lines += [
        ".SH DESCRIPTION",
        "Without a command, show whether the variable",
        ".BR PY_UNSHARE (7)",
        "takes effect for this Python, and which items of its language this machine gives to",
        "this user.",
        "Each is tried in a child process, which then ends. Nothing is changed.",
        ".SH COMMANDS",
    ]
    for command in commands:
        lines += [".TP", f"\\fB{command.name}\\fR {usage(command)}", sentence(command.help)]
        for name, text in command.operands:
            if not name.endswith(" ..."):
                lines += [f"{operand(name.strip('[]'))}: {escape(text)}."]
    lines += [".SH OPTIONS", *definitions(named(whole.options))]
    lines += ['.SH "EXIT STATUS"', *definitions(STATUS)]
    lines += [
        ".PP",
        "Otherwise \\fBrun\\fR ends as the command does.",
        ".SH ENVIRONMENT",
        *definitions(
            [
                ("NO_COLOR", "Colours are switched off."),
            ]
        ),
        *examples(),
        *tail("PY_UNSHARE (7)"),
    ]
    return "\n".join(lines) + "\n"


def variable_page() -> str:
    """PY_UNSHARE(7)."""
    lines = [
        *head("PY_UNSHARE", "7", "PY_UNSHARE", "namespaces that Python enters when it starts"),
        ".SH SYNOPSIS",
        "\\fBPY_UNSHARE=\\fIITEM\\fR[\\fB=\\fIVALUE\\fR][\\fB,\\fIITEM\\fR...]",
        "\\fBpython\\fR \\fI...\\fR",
        ".SH DESCRIPTION",
        "Where the package unshare-boot is installed, every Python interpreter of that environment",
        "enters the Linux namespaces that this variable lists, before the first line of user code.",
        "Everything holds, or the program does not start: there is a message on standard error",
        "then, and the exit status is 125.",
        "The variable is removed from the environment; children live in the same namespaces.",
        ".PP",
        "Items are carried out in the order of this page, however they are written.",
        "\\fB0\\fR, \\fBoff\\fR, \\fBno\\fR, \\fBfalse\\fR and the empty list do nothing.",
        "A comma, \\fB|\\fR or backslash within a value has a backslash before it.",
        "\\fIA\\fB|\\fIB\\fR enters the first of these lists that is available as a whole.",
        "Each namespace can also be joined: \\fInamespace\\fB=/absolute/path\\fR.",
        ".SH ITEMS",
    ]
    grouped = itertools.groupby(facts.items(), key=lambda item: item.forms)
    for forms, group in grouped:
        names = [item.name for item in group]
        for values, meaning in forms:
            tags = [tag(name, value) for name in names for value in split(values)]
            lines += [".TP", ", ".join(tags), sentence(meaning)]
    lines += ['.SH "OTHER VARIABLES"', *definitions(facts.variables())]
    lines += [
        ".SH FILES",
        ".TP",
        ".I site-packages/unshare_boot.pth",
        "The line that",
        ".B site",
        "runs at the start of Python 3.9 to 3.17; in later ones",
        ".IR unshare_boot.start .",
        *examples(),
        *tail("unshare-boot (1)"),
    ]
    return "\n".join(lines) + "\n"


def head(title: str, section: str, name: str, what: str) -> list[str]:
    """The header and NAME."""
    return [
        '.\\" Made by scripts/make_share.py; not edited by hand.',
        f".TH {title} {section} {DATE} unshare-boot",
        ".SH NAME",
        f"{escape(name)} \\- {what}",
    ]


def tail(other: str) -> list[str]:
    """SEE ALSO, with the other page first."""
    seen = [other, "unshare (1)", "nsenter (1)", "namespaces (7)", "user_namespaces (7)"]
    lines = [f".BR {escape(each)} ," for each in seen[:-1]] + [f".BR {escape(seen[-1])}"]
    return [
        '.SH "SEE ALSO"',
        *lines,
        ".PP",
        f"The reference, with a command to try for each item: {SITE}",
    ]


def examples() -> list[str]:
    """EXAMPLES."""
    lines = [".SH EXAMPLES"]
    for text, command in EXAMPLES:
        lines += [
            ".PP" if len(lines) > 1 else "",
            text,
            ".PP",
            ".in +4n",
            ".EX",
            escape(command),
            ".EE",
            ".in",
        ]
    return [line for line in lines if line]


def usage(command: facts.Command) -> str:
    """The operands of a subcommand, and its options."""
    options = [
        f"[\\fB{escape(name)}\\fR]" for name, _ in command.options if name not in ("-h", "--help")
    ]
    return " ".join([*options, *(operand(name) for name, _ in command.operands)])


def operand(name: str) -> str:
    """A placeholder, or several words of one."""
    if name.startswith("["):
        return f"[\\fI{escape(name[1:-1])}\\fR]"
    dashes = "[\\fB\\-\\-\\fR] " if name.endswith(" ...") else ""
    return f"{dashes}\\fI{escape(name)}\\fR"


def named(options: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """Options that mean the same in one row."""
    grouped = itertools.groupby(options, key=lambda option: option[1])
    return [(", ".join(name for name, _ in each), text) for text, each in grouped]


def definitions(rows: list[tuple[str, str]]) -> list[str]:
    """A list of terms with what they are."""
    lines = []
    for term, text in rows:
        lines += [".TP", f"\\fB{escape(term)}\\fR", sentence(text)]
    return lines


def split(cell: str) -> list[str]:
    """The values of a cell, with "" for none."""
    values = re.findall(r"`([^`]*)`", cell)
    return ["", *values] if not cell or cell.startswith("none") else values


def tag(name: str, value: str) -> str:
    """An item as it is written, what stands for something else in italics."""
    if not value:
        return f"\\fB{escape(name)}\\fR"
    parts = re.split(r"([A-Z]+)", value)
    shown = "".join(f"\\fI{each}\\fB" if each.isupper() else escape(each) for each in parts)
    return f"\\fB{escape(name)}={shown}\\fR"


def sentence(text: str) -> str:
    """Text that begins with a capital and ends with a full stop, and with what is code in bold."""
    text = text if "\\f" in text else bold(escape(text))
    begin = text if text.startswith(("\\", ".")) else text[0].upper() + text[1:]
    return begin if begin.endswith(".") else f"{begin}."


def bold(text: str) -> str:
    """What is between backticks in bold."""
    return re.sub(r"`([^`]*)`", r"\\fB\1\\fR", text)


def escape(text: str) -> str:
    """What roff would take for something else."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text
