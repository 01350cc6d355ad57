"""Files that a script leaves behind: whole or not at all, under names that stay below the directory."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.sdk.languages import LANGUAGES, run_in
from tests.sdk.memory_backend import environment

COPIES = {
    "python": ["import pathlib", "print(cronium.artifact('a/copy', pathlib.Path('source')))"],
    "async-python": ["import pathlib", "print(await client.artifact('a/copy', pathlib.Path('source')))"],
    "node": ["console.log(await cronium.artifact('a/copy', { path: 'source' }));"],
    "bash": ["cronium_artifact a/copy source && echo a/copy"],
}
BYTES = bytes(range(256)) * 1000


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_file_is_copied_byte_for_byte(language, run, tmp_path):
    (tmp_path / "source").write_bytes(BYTES)
    finished = await run_in(run, language, COPIES[language], {"CRONIUM_ARTIFACTS": str(tmp_path / "left")})
    assert (finished.stdout, finished.stderr) == ("a/copy\n", "")
    assert files(tmp_path / "left") == {"a/copy": BYTES}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_outside_of_a_job_it_lies_beside_the_stub_file(language, run, tmp_path):
    (tmp_path / "source").write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    await run_in(run, language, COPIES[language], {})
    await run_in(run, language, COPIES[language], {"CRONIUM_STUB_FILE": "sub/mine.json"})
    assert files(tmp_path / ".cronium-artifacts") == {"a/copy": b"x"}
    assert files(tmp_path / "sub") == {".cronium-artifacts/a/copy": b"x"}


def trying(language: str, name: str, content: str = "source") -> list[str]:
    """Lines that leave a copy and say by which code it was refused."""
    said = json.dumps(name)
    return {
        "python": [
            "import pathlib",
            f"try: cronium.artifact({said}, pathlib.Path('{content}'))",
            "except cronium.CroniumError as error: print(error.code)",
        ],
        "async-python": [
            "import pathlib",
            f"try: await client.artifact({said}, pathlib.Path('{content}'))",
            "except cronium.CroniumError as error: print(error.code)",
        ],
        "node": [f"await cronium.artifact({said}, {{ path: '{content}' }}).catch((error) => console.log(error.code));"],
        "bash": [
            f"cronium_artifact {shlex.quote(name)} {content} 2>error",
            "case $? in 0) exit ;; 2) echo invalid_argument; exit ;; esac",
            "grep -q 'CRONIUM_ARTIFACTS is not set' error && echo configuration || echo artifact_failed",
        ],
    }[language]


@pytest.mark.parametrize(
    "name", ["", "/etc/x", "..", "a/../../x", "a//b", "a/", "./a", "a\nb", "a/" * 16 + "b", "ü" * 513]
)
@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_name_that_leads_elsewhere_is_refused(language, name, run, tmp_path):
    (tmp_path / "source").write_bytes(b"x")
    env = {"CRONIUM_ARTIFACTS": str(tmp_path / "deep" / "left")}
    finished = await run_in(run, language, trying(language, name), env)
    assert finished.stdout == "invalid_argument\n"
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_what_cannot_be_read_leaves_nothing_and_the_earlier_one_alone(language, run, tmp_path):
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / "a").write_bytes(b"earlier")
    env = {"CRONIUM_ARTIFACTS": str(tmp_path / "left")}
    finished = await run_in(run, language, trying(language, "a", "missing"), env)
    assert finished.stdout == "artifact_failed\n"
    assert files(tmp_path / "left") == {"a": b"earlier"}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_directory_of_that_name_is_left_alone(language, run, tmp_path):
    (tmp_path / "source").write_bytes(b"x")
    (tmp_path / "left" / "a").mkdir(parents=True)
    finished = await run_in(run, language, trying(language, "a"), {"CRONIUM_ARTIFACTS": str(tmp_path / "left")})
    assert finished.stdout == "artifact_failed\n"
    assert files(tmp_path / "left") == {}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_job_without_a_directory_for_artifacts_says_so(language, run, tmp_path):
    (tmp_path / "source").write_bytes(b"x")
    finished = await run_in(run, language, trying(language, "a"), environment(tmp_path / "api.sock"))
    assert finished.stdout == "configuration\n"


KINDS = {
    "python": [
        "import io",
        "cronium.artifact('text', 'größe')",
        "cronium.artifact('bytes', bytearray(b'\\x00\\xff'))",
        "with open('source', 'rb') as file: cronium.artifact('open', file)",
        "cronium.artifact('lines', io.StringIO('größe'))",
        "for wrong in (None, 7, ['a']):",
        "    try: cronium.artifact('wrong', wrong)",
        "    except TypeError as error: print(error.code)",
    ],
    "node": [
        "const fs = require('fs');",
        "await cronium.artifact('text', 'größe');",
        "await cronium.artifact('bytes', new Uint8Array([0, 255]));",
        "await cronium.artifact('open', fs.createReadStream('source'));",
        "await cronium.artifact('lines', (async function* () { yield 'grö'; yield 'ße'; })());",
        "for (const wrong of [null, 7, ['a']]) await cronium.artifact('wrong', wrong).catch((e) => console.log(e.code));",
    ],
    "bash": [
        "printf größe | cronium_artifact text",
        "printf '\\0\\377' | cronium_artifact bytes",
        "cronium_artifact open <source",
        "set -o noclobber; umask 022; cronium_artifact lines <<<größe; printf größe | cronium_artifact lines",
        "for n in 1 2 3; do echo invalid_argument; done",
    ],
}


@pytest.mark.parametrize("language", KINDS)
async def test_every_kind_of_content_is_taken(language, run, tmp_path):
    (tmp_path / "source").write_bytes(BYTES)
    finished = await run_in(run, language, KINDS[language], {"CRONIUM_ARTIFACTS": str(tmp_path / "left")})
    assert (finished.stdout, finished.stderr) == ("invalid_argument\n" * 3, "")
    text = "größe".encode()
    assert files(tmp_path / "left") == {"text": text, "bytes": b"\x00\xff", "open": BYTES, "lines": text}
