"""The documents: links lead somewhere, and the make targets and files that they name exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FILE = re.compile(r"`((?:tms_ca|schemas|keycmd|principals_cmd|tests|deploy|docs)/[\w./-]*)`")


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere; those out of the project are not followed."""
    broken = []
    for link in LINK.findall(prose(page)):
        if re.match(r"(https?|mailto):", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    assert broken_links(page) == []


def test_a_broken_link_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](gone.md) [b](page.md#one) [c](page.md#two) [d](https://example.org/) [e](#one)\n")
    assert broken_links(page) == ["gone.md", "page.md#two"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    blocks = "\n".join(re.findall(r"^```.*?^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL))
    named = set(re.findall(r"^make ([a-z][a-z-]*)", blocks, flags=re.MULTILINE)) | set(
        re.findall(r"`make ([a-z][a-z-]*)", prose(page))
    )
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page):
    assert [name for name in FILE.findall(prose(page)) if not (ROOT / name).exists()] == []


def test_every_file_that_the_threat_model_names_exists():
    """It names files without `tms_ca/`, for the room in its tables."""
    found = re.findall(r"`([\w]+(?:/\w+)*\.py)`", (ROOT / "docs" / "threat-model.md").read_text())
    assert found
    for name in found:
        assert (ROOT / "tms_ca" / name).exists() or (ROOT / name).exists(), name


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        waiting += [page.parent / link.partition("#")[0] for link in LINK.findall(prose(page)) if ":" not in link]
    assert {page.name for page in PAGES if page not in reached} == set()


def test_the_benchmark_finds_where_to_write():
    text = (ROOT / "docs" / "performance.md").read_text()
    begin, end = "<!-- bench: begin -->\n", "<!-- bench: end -->\n"
    assert (text.count(begin), text.count(end)) == (1, 1)
    assert text.index(begin) < text.index(end)
