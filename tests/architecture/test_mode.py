"""M3: `mode` is a preset. Configuration expands it, the composition root labels with it, and nothing else reads it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "orchestrator" / "config"
COMPOSITION = ROOT / "orchestrator" / "server.py"


def reads_of_mode(source: str) -> Iterator[ast.expr]:
    """Where the mode of settings is read: `settings.mode`, `getattr(settings, "mode")`, `anything["mode"]`."""
    tree = ast.parse(source)
    names = _names_of_settings(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr="mode", value=value, ctx=ast.Load()) if _is_settings(value, names):
                yield node
            case ast.Call(func=ast.Name(id="getattr"), args=[value, ast.Constant(value="mode"), *_]) if _is_settings(
                value, names
            ):
                yield node
            case ast.Subscript(slice=ast.Constant(value="mode"), ctx=ast.Load()):
                yield node
            case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value="mode"), *_]):
                yield node
            case ast.Call(func=ast.Attribute(attr="origin"), args=[ast.Constant(value="mode")]):
                yield node


def labels(source: str) -> list[ast.expr]:
    """What is given as `mode=...` to a call or stands at `"mode":` in a dictionary."""
    found: list[ast.expr] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            found += [keyword.value for keyword in node.keywords if keyword.arg == "mode"]
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            found += [value for key, value in pairs if isinstance(key, ast.Constant) and key.value == "mode"]
    return found


def _names_of_settings(tree: ast.AST) -> set[str]:
    """Names that are declared as `ServerSettings`, or bound to what `load_settings` returns."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.arg(arg=name, annotation=kind) if kind is not None and "ServerSettings" in ast.unparse(kind):
                names.add(name)
            case ast.AnnAssign(target=ast.Name(id=name), annotation=kind) if "ServerSettings" in ast.unparse(kind):
                names.add(name)
            case ast.Assign(targets=targets, value=ast.Call(func=called)) if ast.unparse(called).endswith(
                ("load_settings", "ServerSettings")
            ):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def _is_settings(value: ast.expr, names: set[str]) -> bool:
    match value:
        case ast.Name(id=name):
            return name in names or name.lower().endswith("settings")
        case ast.Attribute(attr=name):
            return name.lower().endswith("settings")
        case ast.Call(func=called):
            return ast.unparse(called).endswith(("load_settings", "ServerSettings"))
    return False


@pytest.mark.parametrize(
    "source",
    [
        "settings.mode",
        "self._settings.mode == 'standalone'",
        "load_settings({}).mode",
        "def f(config: ServerSettings):\n    return config.mode",
        "def f(config: 'ServerSettings | None'):\n    return config.mode",
        "given = load_settings({})\nprint(given.mode)",
        "getattr(settings, 'mode')",
        "document['mode']",
        "document.get('mode', 'standalone')",
        "settings.origin('mode')",
    ],
)
def test_a_read_of_the_mode_is_seen(source):
    assert len(list(reads_of_mode(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "entry.mode",
        "path.stat().st_mode",
        "directory.mkdir(mode=0o700)",
        "path.open(mode='rb')",
        "settings.model_dump()",
        "labels['mode'] = 'x'",
        "PrometheusObserver(mode=label)",
    ],
)
def test_other_modes_are_not_taken_for_it(source):
    assert list(reads_of_mode(source)) == []


def test_the_mode_is_read_by_configuration_alone():
    """M3"""
    sources = [path for path in (ROOT / "orchestrator").rglob("*.py") if CONFIG not in path.parents]
    readers = {
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources
        if path != COMPOSITION
        for node in reads_of_mode(path.read_text())
    }

    assert len(sources) > 100, "the tree is elsewhere"
    assert readers == set()


def test_the_composition_root_does_nothing_with_the_mode_but_label():
    """M3"""
    source = COMPOSITION.read_text()
    reads = [ast.unparse(node) for node in reads_of_mode(source)]
    labelled = [ast.unparse(node) for node in labels(source)]

    assert reads, "every boot is labelled with the mode"
    assert all(read == "settings.mode" for read in reads)
    assert len(reads) <= labelled.count("settings.mode"), "the mode is read for something that is no label"
