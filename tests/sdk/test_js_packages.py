"""`import` finds what lies in a `node_modules` on NODE_PATH, such as a job's packages, by either kind of hook."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

LIBRARY = ROOT / "sdk" / "js" / "lib"
HOOK = LIBRARY / "cronium" / "register.cjs"
# What Node from 22.15 on does with the hook: ask it, with the next one in the chain, which throws for what is not there.
NEWER = """
const nodeModule = require("module");
let hook;
nodeModule.registerHooks = (hooks) => { hook = hooks.resolve; };
require(process.argv[2]);
const next = (specifier, context) => {
  const found = `${new URL(".", context.parentURL)}node_modules/${specifier}`;
  if (specifier === "gamma" && require("fs").existsSync(require("url").fileURLToPath(found))) return { url: found };
  throw Object.assign(new Error(specifier), { code: specifier === "broken" ? "ERR_OTHER" : "ERR_MODULE_NOT_FOUND" });
};
const answers = ["gamma", "delta", "./gamma", "broken", "cronium"].map((specifier) => {
  try {
    return hook(specifier, { parentURL: "file:///elsewhere/script.mjs" }, next).url;
  } catch (error) {
    return error.code;
  }
});
console.log(JSON.stringify(answers));
"""


@pytest.fixture
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("no node on PATH")
    return found


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    place = tmp_path / "packages" / "node_modules" / "gamma"
    place.mkdir(parents=True)
    (place / "package.json").write_text('{"name": "gamma", "exports": {"import": "./a.mjs", "require": "./a.cjs"}}')
    (place / "a.mjs").write_text("export default 'module';")
    (place / "a.cjs").write_text("module.exports = 'common';")
    return place.parent


def run(node: str, place: Path, name: str, text: str, packages: Path, *args: str, hook: bool = True) -> str:
    (place / name).write_text(text)
    env = {"NODE_PATH": f"{LIBRARY}:{packages}", **({"NODE_OPTIONS": f"--require={HOOK}"} if hook else {})}
    done = subprocess.run([node, name, *args], cwd=place, env=env, capture_output=True, text=True, timeout=60)
    return done.stdout.strip() or done.stderr


def test_a_module_imports_a_package_as_a_module_and_requires_it_as_common_js(node: str, tmp_path: Path, packages: Path):
    text = (
        "import gamma from 'gamma';\nimport * as cronium from 'cronium';\nimport { createRequire } from 'node:module';\n"
        "console.log(gamma, createRequire(import.meta.url)('gamma'), typeof cronium.output);\n"
    )
    assert run(node, tmp_path, "script.mjs", text, packages) == "module common function"


def test_what_is_in_no_package_is_not_found_as_ever(node: str, tmp_path: Path, packages: Path):
    assert "ERR_MODULE_NOT_FOUND" in run(node, tmp_path, "script.mjs", "import 'delta';", packages)


def test_a_package_beside_the_script_comes_first(node: str, tmp_path: Path, packages: Path):
    own = tmp_path / "node_modules" / "gamma"
    own.mkdir(parents=True)
    (own / "index.js").write_text("module.exports = 'own';")
    assert run(node, tmp_path, "script.mjs", "import g from 'gamma'; console.log(g);", packages) == "own"


def test_the_hook_of_newer_nodes_finds_the_same(node: str, tmp_path: Path, packages: Path):
    said = run(node, tmp_path, "newer.cjs", NEWER, packages, str(HOOK), hook=False)
    found, *others, sdk = json.loads(said)
    assert found == f"{packages.as_uri()}/gamma"
    assert others == ["ERR_MODULE_NOT_FOUND", "ERR_MODULE_NOT_FOUND", "ERR_OTHER"]
    assert sdk.endswith("cronium.mjs")
