"""Completion of unshare-boot's command line, for bash, zsh and fish.

A list is completed item by item: names after a comma, values after an equals sign.
"""

from __future__ import annotations

from scripts import facts

NOTE = "# Made by scripts/make_share.py; not edited by hand."
LISTS = ("check", "run")  # whose first operand is a list

BASH = r"""{note}
#
# Words are read from the line itself: bash breaks its own at every = and :, and lists have many.

_unshare_boot_list() {
    local word=$1 item name value values found
    item=${word##*[,|]}
    local before=${word%"$item"}
    if [[ $item != *=* ]]; then
        mapfile -t found < <(compgen -W '{items}' -- "$item")
        COMPREPLY=("${found[@]/#/$before}")
        return
    fi
    name=${item%%=*} value=${item#*=} values=
    case $name in
{values}
    esac
    mapfile -t found < <(
        compgen -W "$values" -- "$value"
        case $name in
            {directories}) compgen -d -- "$value" ;;
            {files}) compgen -f -- "$value" ;;
        esac
    )
    COMPREPLY=("${found[@]/#/$before$name=}")
}

_unshare_boot() {
    local line=${COMP_LINE:0:COMP_POINT} words word
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word=${words[-1]} COMPREPLY=()

    local index=1 command= operands=0
    for ((; index < ${#words[@]} - 1; index++)); do
        case ${words[index]} in
            -*) ;;
            *) if [[ $command ]]; then ((operands++)); else command=${words[index]}; fi ;;
        esac
    done

    case $command/$operands in
        /*) mapfile -t COMPREPLY < <(compgen -W '{commands} {options}' -- "$word") ;;
        run/0 | check/0)
            _unshare_boot_list "$word"
            [[ $command == check && $word == -* ]] && COMPREPLY=(--json)
            compopt -o nospace ;;
        run/1 | where/*) mapfile -t COMPREPLY < <(compgen -c -- "$word"; compgen -f -- "$word") ;;
        run/* | allow/0) compopt -o default ;;
    esac
    # What is before the last of these characters is not part of the word that bash replaces.
    local kept=${word%"${word##*[=:]}"}
    [[ $kept && $COMP_WORDBREAKS == *[=:]* ]] && COMPREPLY=("${COMPREPLY[@]#"$kept"}")
}

complete -F _unshare_boot unshare-boot
"""

ZSH = r"""#compdef unshare-boot
{note}

_unshare_boot_list() {
    local items=(
{items}
    )
    _values -s , 'item' $items
}

_unshare_boot_command() {
    if [[ $words[1] == -- ]]; then
        shift words
        ((CURRENT--))
    fi
    _normal
}

_unshare_boot_python() {
    _alternative 'commands:command:_command_names -e' 'files:file:_files'
}

local commands=(
{commands}
)

if ((CURRENT == 2)); then
    _describe 'command' commands
    _arguments {options}
    return
fi
case $words[2] in
{cases}
esac
"""

FISH = r"""{note}

function __unshare_boot_list
    set -l word (commandline --current-token --cut-at-cursor)
    set -l before (string match --regex -- '^.*[,|]' $word)
    set -l item (string replace --regex -- '^.*[,|]' '' $word)
    set -l name (string replace --regex -- '=.*' '' $item)
    if not string match --quiet -- '*=*' $item
{items}
        return
    end
    switch $name
{values}
    end
    switch $name
        case {directories}
            __fish_complete_directories (string replace -- $name= '' $item) '' |
                string replace --regex -- '^' "$before$name="
        case {files}
            __fish_complete_path (string replace -- $name= '' $item) '' |
                string replace --regex -- '^' "$before$name="
    end
end

complete --command unshare-boot --no-files
{commands}
"""


def bash() -> str:
    """For bash 4.4 or later."""
    found = facts.items()
    values = [
        f"        {item.name}) values='{' '.join(item.words)}' ;;" for item in found if item.words
    ]
    return fill(
        BASH,
        items=" ".join(item.name if item.alone else f"{item.name}=" for item in found),
        values="\n".join(values),
        commands=" ".join(command.name for command in facts.commands()[1:]),
        options=" ".join(name for name, _ in facts.commands()[0].options),
        directories=" | ".join(item.name for item in found if item.directory),
        files=" | ".join(item.name for item in found if item.path and not item.directory),
    )


def zsh() -> str:
    """For zsh, with what each item means."""
    whole, *commands = facts.commands()
    return fill(
        ZSH,
        items="\n".join(f"        {zsh_item(item)}" for item in facts.items()),
        commands="\n".join(f"    {quoted(f'{each.name}:{each.help}')}" for each in commands),
        options=" ".join(quoted(f"{name}[{text}]") for name, text in whole.options),
        cases="\n".join(f"    {command.name}) {zsh_case(command)} ;;" for command in commands),
    )


def zsh_item(item: facts.Item) -> str:
    """An item as _values takes it: name[meaning]:message:action."""
    head = f"{item.name}[{item.meaning.replace(':', chr(92) + ':')}]"
    words = " ".join(item.words)
    if item.words:
        return quoted(f"{head}{'::' if item.alone else ':'}value:({words})")
    if item.path:
        action = "_files -/" if item.directory else "_files"
        return quoted(f"{head}{'::' if item.alone else ':'}path:{action}")
    return quoted(head if item.alone and not item.words else f"{head}:value: ")


def zsh_case(command: facts.Command) -> str:
    """What _arguments is given for a subcommand."""
    options = [quoted(f"{name}[{text}]") for name, text in command.options]
    if command.name in LISTS:
        rest = ["'*:::command:_unshare_boot_command'"] if command.name == "run" else []
        return " ".join(
            ["shift words; ((CURRENT--)); _arguments", *options, "1:list:_unshare_boot_list", *rest]
        )
    several = any(name.startswith("[") for name, _ in command.operands)
    operands = "'*:python:_unshare_boot_python'" if several else "'1:file:_files'"
    files = [operands] if command.operands else []
    return " ".join(["shift words; ((CURRENT--)); _arguments", *options, *files])


def fish() -> str:
    """For fish 3, with what each item means."""
    found = facts.items()
    names = [
        f"        echo {quoted(item.name + '=' * (not item.alone))}\\t{quoted(item.meaning)}"
        for item in found
    ]
    values = [
        f"        case {item.name}\n            printf '%s\\n' {' '.join(item.words)}"
        for item in found
        if item.words
    ]
    return fill(
        FISH,
        items="\n".join(f"{line} | string replace --regex -- '^' \"$before\"" for line in names),
        values="\n".join(
            f"{line} | string replace --regex -- '^' \"$before$name=\"" for line in values
        ),
        directories=" ".join(item.name for item in found if item.directory),
        files=" ".join(item.name for item in found if item.path and not item.directory),
        commands="\n".join(fish_commands()),
    )


def fish_commands() -> list[str]:
    """A line for each command and option."""
    whole, *commands = facts.commands()
    names = " ".join(command.name for command in commands)
    first = f"not __fish_seen_subcommand_from {names}"
    lines = [fish_option("__fish_is_first_token", name, text) for name, text in whole.options]
    lines += [
        f"complete -c unshare-boot -n {quoted(first)} -a {each.name} -d {quoted(each.help)}"
        for each in commands
    ]
    for command in commands:
        seen = f"__fish_seen_subcommand_from {command.name}"
        lines += [fish_option(seen, name, text) for name, text in command.options]
        if command.name in LISTS:
            lines.append(f"complete -c unshare-boot -n {quoted(seen)} -a '(__unshare_boot_list)'")
        elif command.operands:
            lines.append(f"complete -c unshare-boot -n {quoted(seen)} --force-files")
    where = "complete -c unshare-boot -n '__fish_seen_subcommand_from where'"
    lines.append(f"{where} -a '(__fish_complete_command)'")
    run = "complete -c unshare-boot -n '__fish_seen_subcommand_from run'"
    return [*lines, f"{run} -a '(__fish_complete_subcommand --fcs-skip=3)'"]


def fish_option(condition: str, name: str, text: str) -> str:
    """A line for an option."""
    kind = f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
    return f"complete -c unshare-boot -n {quoted(condition)} {kind} -d {quoted(text)}"


def fill(template: str, **values: str) -> str:
    """A template with its places filled in; braces of the shell stay."""
    for name, value in {"note": NOTE, **values}.items():
        template = template.replace(f"{{{name}}}", value)
    return template


def quoted(text: str) -> str:
    """A word for any of these shells."""
    inner = text.replace("'", "'\\''")
    return f"'{inner}'"
