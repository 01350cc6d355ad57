"""What the documents say about the tree is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATH = re.compile(r"`((?:orchestrator|runtime_api|sdk|tests|docs|examples|benchmarks|\.ci)/[\w./-]*)`")
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "README.md", "CONTRIBUTING.md"])
def test_every_path_named_in_a_document_exists(document: str):
    named = PATH.findall((ROOT / document).read_text())

    missing = sorted({path for path in named if not (ROOT / path).exists()})

    assert named, f"{document} names no path: is the pattern still right?"
    assert missing == []


def test_every_link_between_documents_leads_somewhere():
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    links = [(path, link) for path in documents for link in LINK.findall(path.read_text()) if "://" not in link]

    broken = [f"{path.relative_to(ROOT)}: {link}" for path, link in links if not (path.parent / link).exists()]

    assert len(links) > 5, "no links found: is the pattern still right?"
    assert broken == []


def test_the_architecture_names_every_package():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    packages = [path.parent for path in (ROOT / "orchestrator").glob("*/__init__.py")]

    unnamed = [str(package.relative_to(ROOT)) for package in packages if f"{package.relative_to(ROOT)}/" not in text]

    assert unnamed == []


def test_no_document_or_source_names_a_package_registry():
    hosts = re.compile(r"(pypi|pythonhosted|npmjs|debian)\.(org|com)", re.IGNORECASE)
    skipped = {".venv", ".git", "node_modules", ".mypy_cache", ".ruff_cache"}
    named = []
    for path in ROOT.rglob("*"):
        if path.is_file() and not skipped & set(path.relative_to(ROOT).parts) and path.stat().st_size < 2_000_000:
            try:
                text = path.read_text()
            except UnicodeDecodeError:
                continue
            if hosts.search(text) and path != Path(__file__):
                named.append(str(path.relative_to(ROOT)))

    assert named == []
