"""The forms for issues are ones that GitHub takes, and ask for commands that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from harness import Python
from harness.session import PROJECT

TEMPLATES = PROJECT / ".github" / "ISSUE_TEMPLATE"
FORMS = [TEMPLATES / f"{name}.yml" for name in ("bug", "cure", "wish")]
CHANGELOG = (PROJECT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form(path: Path) -> None:
    """https://docs.github.com/communities, "Syntax for issue forms"."""
    form = yaml.safe_load(path.read_text())
    assert set(form) == {"name", "description", "labels", "body"}
    identities = [field["id"] for field in form["body"]]
    assert len(set(identities)) == len(identities)
    for field in form["body"]:
        assert field["type"] in ("textarea", "input", "checkboxes")
        assert field["attributes"]["label"]
        assert set(field) <= {"type", "id", "attributes", "validations"}


def test_where_others_are_sent() -> None:
    config = yaml.safe_load((TEMPLATES / "config.yml").read_text())
    assert sorted(TEMPLATES.iterdir()) == sorted([*FORMS, TEMPLATES / "config.yml"])
    for link in config["contact_links"]:
        assert set(link) == {"name", "url", "about"}
        path = re.fullmatch(
            r"https://github.com/unshare-boot/unshare-boot/blob/main/(.*)", link["url"]
        )
        assert path is None or (PROJECT / path[1]).exists()


def test_what_the_forms_ask_for(newest: Python) -> None:
    asked = [path.stem for path in FORMS if "python -m unshare_boot --json" in path.read_text()]
    assert asked == ["bug", "cure"]
    assert newest.run(["-m", "unshare_boot", "--json"]).ok().startswith("{")


def test_the_changelog_is_in_its_form() -> None:
    """https://keepachangelog.com/en/1.1.0/."""
    headings = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    for heading in headings[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading), heading
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE)) <= kinds
    for heading in headings:
        assert f"\n[{heading.partition(']')[0][1:]}]: https://" in CHANGELOG
