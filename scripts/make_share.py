"""Write the manual pages and the completions that the wheels install: python -m scripts.make_share.

They are below share/, and go below PREFIX/share of the environment or of the system, where man(1)
and the shells look. The tests compare them with what this writes.
"""

from __future__ import annotations

from scripts import completions, facts, manual

DIRECTORY = facts.ROOT / "share"


def files() -> dict[str, str]:
    """Each file's text by its path below share/."""
    return {
        "man/man1/unshare-boot.1": manual.command_page(),
        "man/man7/PY_UNSHARE.7": manual.variable_page(),
        "bash-completion/completions/unshare-boot": completions.bash(),
        "zsh/site-functions/_unshare-boot": completions.zsh(),
        "fish/vendor_completions.d/unshare-boot.fish": completions.fish(),
    }


if __name__ == "__main__":
    for name, text in files().items():
        path = DIRECTORY / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path)
