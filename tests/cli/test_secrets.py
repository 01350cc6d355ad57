"""`cronium secrets` where a terminal or a file gives the value; the rest is tested against a real server."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def type_twice(ours: int, word: bytes) -> bytes:
    """Answer the two questions of a program at the other end of a terminal; all that was to be seen until it ended."""
    seen, asked = b"", 0
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            seen += os.read(ours, 4096)
        except OSError:  # the other end is closed
            return seen
        if asked < 2 and seen.count(b": ") > asked:
            asked += 1
            os.write(ours, word + b"\n")
    raise AssertionError(f"it did not end: {seen!r}")


async def test_a_value_is_asked_for_twice_without_being_shown(cronium: Cli):
    """The fake server has no secrets: that the request reaches it is all there is to see."""
    ours, theirs = pty.openpty()
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process = await cronium.start("secrets", "set", "API_KEY", **streams, start_new_session=True)
    os.close(theirs)
    seen = await asyncio.to_thread(type_twice, ours, b"hunter-22")
    os.close(ours)
    assert b"Value of API_KEY" in seen
    assert b"hunter" not in seen
    assert await process.wait() not in (0, 2)


@pytest.mark.parametrize(
    ("args", "stdin", "said"),
    [
        (["API_KEY"], b"\xff\xfe\xfd\xfc\xfb\xfa", "not UTF-8"),
        (["API_KEY", "--from-file", "no-such-file"], b"", "no-such-file"),
        (["API_KEY", "hunter-22"], b"", "unexpected extra argument"),
    ],
)
async def test_what_is_no_value_is_refused(cronium: Cli, args: list[str], stdin: bytes, said: str):
    answer = await cronium("secrets", "set", *args, stdin=stdin)
    assert answer.code == 2
    assert said in answer.err


async def test_a_file_that_is_no_text_is_named(cronium: Cli, tmp_path: Path):
    (tmp_path / "key.der").write_bytes(b"\x30\x82\xff\xfe")
    answer = await cronium("secrets", "set", "K", "--from-file", "key.der")
    assert answer.code == 2
    assert "key.der" in answer.err
