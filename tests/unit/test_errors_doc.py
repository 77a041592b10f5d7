"""docs/errors.md has every code that the service can answer with, and no other."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.base import PATH_NAMES
from tms_ca.core import errors
from tms_ca.core.facts import DenialReason
from tms_ca.http import problems
from tms_ca.store import rows
from tms_ca.store.rows import Shelf

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "errors.md"
KINDS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.TmsError)}

REASONS = {str(reason) for reason in DenialReason}
PATHS = {f"{name}_unknown" for name in PATH_NAMES}
# CA keys, delegations and revocations are read by services of their own, which say their codes in full.
NOUNS = {
    f"{shelf.noun.replace(' ', '_')}_unknown"
    for shelf in vars(rows).values()
    if isinstance(shelf, Shelf) and shelf not in (rows.CA_KEYS, rows.DELEGATIONS, rows.REVOCATIONS)
}

# First arguments that are not a plain string, and the codes that each can be.
COMPUTED = {
    ("tms_ca/core/publickey.py", "code"): {"key_too_weak", "bad_public_key"},
    ("tms_ca/services/shelved.py", "code"): NOUNS,
    ("tms_ca/services/journal.py", "denial.reason"): REASONS,
    ("tms_ca/services/authentication.py", "reason"): REASONS,
    ("tms_ca/http/browser.py", "code"): {"role_not_allowed", "mfa_required"},
    ("tms_ca/http/browser.py", "error.code"): set(),  # another error's, raised anew
    ("tms_ca/http/endpoint.py", "f'{name}_unknown'"): PATHS,
    ("tms_ca/cli/frame.py", "f'{name}_unknown'"): PATHS,
}


def calls(source: str) -> Iterator[ast.expr]:
    """Yield the code of each error that `source` makes; a kind of its own may fix its code in __init__."""
    tree = ast.parse(source)
    own = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and _of_ours(node)}
    fixed = {name for name, node in own.items() if any(getattr(part, "name", "") == "__init__" for part in node.body)}
    inside = {part for name in fixed for part in ast.walk(own[name])}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        named = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if named in (KINDS | own.keys()) - fixed or (node in inside and ast.unparse(node.func) == "super().__init__"):
            yield node.args[0]


def _of_ours(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id in KINDS for base in node.bases)


def codes_in_the_code() -> dict[str, str]:
    """Return each code with one file that raises it."""
    found = {**dict.fromkeys(REASONS, "tms_ca/core/facts.py"), "internal": "tms_ca/http/problems.py"}
    found |= dict.fromkeys(["refused", *(code for code, _ in problems._OWN_CODES.values())], "tms_ca/http/problems.py")
    for folder in ("tms_ca", "schemas"):
        for path in (ROOT / folder).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            if name.startswith("tms_ca/client/"):
                continue  # what it raises is its own; what it shows are the codes of the service
            for code in calls(path.read_text()):
                if isinstance(code, ast.Constant):
                    found[code.value] = name
                else:
                    place = name, ast.unparse(code)
                    assert place in COMPUTED, f"{place}: say in COMPUTED which codes this can be"
                    found |= dict.fromkeys(COMPUTED[place], name)
    return found


def sections() -> dict[str, str]:
    """Return the text under each code's heading."""
    parts = re.split(r"^### (.+)\n", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_code_has_a_heading():
    missing = {code: place for code, place in codes_in_the_code().items() if code not in sections()}
    assert not missing, f"docs/errors.md lacks {missing}"


def test_every_heading_is_a_code():
    assert not sections().keys() - codes_in_the_code().keys()


def test_no_heading_stands_twice():
    headings = re.findall(r"^### (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    assert [code for code, count in Counter(headings).items() if count > 1] == []


@pytest.mark.parametrize(("code", "text"), sections().items())
def test_a_section_has_status_meaning_and_advice(code, text):
    assert re.fullmatch(r"[a-z][a-z0-9_]*", code)
    assert re.match(r"\n\*\*[1-5]\d\d\*\*(?: or \*\*[1-5]\d\d\*\*)*\. |\n\*\*command line\*\*\. ", text), (
        "begins with **STATUS**. or **command line**."
    )
    assert "What to do: " in " ".join(text.split())


def test_every_code_is_noticed_even_where_it_is_computed():
    """The negative twin: the collector sees what stands in a source."""
    source = (
        "class Shut(Denied): ...\nraise Invalid('one', 'x')\nraise errors.NotFound(code, 'x')\nraise Shut('two', 'x')"
    )
    assert [ast.unparse(code) for code in calls(source)] == ["'one'", "code", "'two'"]


def test_every_kind_of_error_has_a_status():
    for name in KINDS - {"TmsError"}:
        assert getattr(errors, name) in problems.STATUS, f"problems.STATUS lacks {name}"
