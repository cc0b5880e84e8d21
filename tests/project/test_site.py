"""The pages of the site: all are in the navigation, and every option has its place."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import REPOSITORY, resolved

CONF, DOCS = REPOSITORY / "conf", REPOSITORY / "docs"
OPTIONS = (DOCS / "options.md").read_text()
OWN_PAGES = ("algorithm", "dataset")
TABLES = {"evaluation": DOCS / "evaluations/index.md", "backbone": DOCS / "backbones.md"}
COMPOSED = ("recipe", "pair", "pair/backbone", "pair/problem", "problem", "dataset/parts")
"""Groups that are read by themselves; the last section of docs/options.md explains them."""


def names(group: str) -> list[str]:
    """Lists the options of a group."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def groups() -> list[str]:
    folders = {path.parent.relative_to(CONF).as_posix() for path in CONF.rglob("*.yaml")}
    return sorted(folders - {".", "local"})


def pages(entry: Any) -> Iterator[str]:
    """Yields the pages of a navigation, which nests lists and titles."""
    if isinstance(entry, str):
        yield entry
    else:
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from pages(part)


def test_the_navigation_has_every_page_once() -> None:
    site = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())
    assert sorted(pages(site["nav"])) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


@pytest.mark.parametrize("group", OWN_PAGES)
def test_every_option_has_a_page_and_every_page_an_option(group: str) -> None:
    found = {path.stem for path in (DOCS / f"{group}s").glob("*.md")} - {"index"}
    assert found == set(names(group))
    index = (DOCS / f"{group}s/index.md").read_text()
    assert [name for name in names(group) if f"[{name}]({name}.md)" not in index] == []


@pytest.mark.parametrize("group", sorted(set(groups()) - {*OWN_PAGES, *COMPOSED}))
def test_every_option_has_a_row(group: str) -> None:
    """A group without pages for its options has a table of them."""
    text = TABLES[group].read_text() if group in TABLES else section(f"`{group}`")
    rows = set(re.findall(r"^\| \[?`(\w+)`", text, re.MULTILINE))
    if group == "backbone":
        text = (DOCS / "text.md").read_text()
        rows |= set(re.findall(r"^\| `(\w+)`", text.partition("## Backbones")[2], re.MULTILINE))
        rows |= {path.stem for path in (DOCS / "backbones").glob("*.md")}
    assert rows - {group} == set(names(group))  # a table may have the group as its title


def test_composed_options_are_explained() -> None:
    last = section("Files that are read by themselves")
    assert [f"conf/{group}/" for group in COMPOSED if f"conf/{group}/" not in last] == []
    named = set(re.findall(r"`(\w+)`", last))
    assert {*names("problem"), *names("dataset/parts")} <= named
    assert set(names("recipe")) - set(names("algorithm")) <= named
    users = [*CONF.glob("algorithm/*.yaml"), *CONF.glob("recipe/*.yaml")]
    used = {name for path in users for name in re.findall(r"^  - (?:/recipe/)?(\w+)", path.read_text(), re.MULTILINE)}
    assert set(names("recipe")) <= used
    pairs = {f"{dataset}_{algorithm}" for dataset in names("dataset") for algorithm in names("algorithm")}
    assert set(names("pair")) <= pairs
    pairs = {f"{backbone}_{algorithm}" for backbone in names("backbone") for algorithm in names("algorithm")}
    assert set(names("pair/backbone")) <= pairs
    pairs = {f"{problem}_{backbone}" for problem in names("problem") for backbone in names("backbone")}
    assert set(names("pair/problem")) <= pairs


def section(title: str) -> str:
    """Returns a section of docs/options.md, without its heading."""
    assert f"## {title}\n" in OPTIONS, title
    return OPTIONS.partition(f"## {title}\n")[2].partition("\n## ")[0]


README = (REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize("overrides", re.findall(r'make train ARGS="((?!-)[^"]+)"', README))
def test_the_commands_of_the_readme_compose(overrides: str) -> None:
    assert resolved(*overrides.split())["mode"] == "train"


def test_the_targets_of_the_pages_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    pages = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *DOCS.rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"(?:^    |`)make ([a-z]+)", page.read_text(), re.MULTILINE)}
    assert named <= set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    assert {"train", "test", "check", "docs"} <= named


@pytest.mark.parametrize("page", [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    """`make docs` checks the anchors too; this needs no extra."""
    links = re.findall(r"\]\((?!https?:|mailto:)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("path", ["README.md", "docs/index.md"])
def test_the_face_fits_two_screens(path: str) -> None:
    assert len((REPOSITORY / path).read_text().splitlines()) <= 100
