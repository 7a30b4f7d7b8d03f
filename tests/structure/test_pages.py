"""The pages about the inside name what there is: every module, every folder, every other page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "docs" / "architecture.md", *sorted((ROOT / "docs" / "architecture").glob("*.md")), ROOT / "CONTRIBUTING.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_module_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_]*(?:\.py)?)`", page.read_text("utf-8"))
    missing = [name for name in named if not (ROOT / "orchestrator" / name).exists() and not (ROOT / name).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_that_a_page_links_to_is_there(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_first_page_leads_to_every_topic() -> None:
    first = PAGES[0].read_text("utf-8")
    assert [page.name for page in PAGES[1:-1] if f"(architecture/{page.name})" not in first] == []


def test_the_first_page_stays_one_page() -> None:
    assert len(PAGES[0].read_text("utf-8").splitlines()) <= 100


def test_the_changelog_says_nothing_twice() -> None:
    """Changes that are made side by side are merged by keeping the lines of both."""
    lines = [line for line in (ROOT / "CHANGELOG.md").read_text("utf-8").splitlines() if len(line) > 20]
    assert [line for line in lines if lines.count(line) > 1] == []
