"""`cronium artifacts` against a real door with real files behind it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from orchestrator.cli.run_artifacts import _copy as copy_one
from orchestrator.jobs.artifacts import Shelf
from tests.api.door import open_door
from tests.api.test_artifacts import PLACE, Shop
from tests.cli.conftest import Cli

DATA = bytes(range(256)) * 3000


@pytest.fixture
async def shop(tmp_path: Path, lonely: Cli) -> AsyncIterator[Shop]:
    home = tmp_path / "server"
    home.mkdir()
    async with open_door(home, shelf=Shelf(root=home / "artifacts", place=PLACE)) as door:
        lonely.env.update(CRONIUM_URL=door.url, CRONIUM_TOKEN=door.tokens["read"])
        shelf = door.context.shelf
        assert shelf is not None
        yield Shop(door=door, shelf=shelf)


async def test_the_list_says_what_there_is(shop: Shop, lonely: Cli):
    job = await shop.leave({f"{number:03}": b"x" * number for number in range(230)})
    plain = await lonely("artifacts", "list", "last")
    as_json = await lonely("artifacts", "list", job.id, "--json")
    assert (plain.code, plain.out.splitlines()[0].split()) == (0, ["NAME", "SIZE", "TYPE", "ATTEMPT", "CREATED"])
    assert plain.out.splitlines()[18].startswith("017   17 B")
    assert [item["name"] for item in json.loads(as_json.out)["items"]] == [f"{number:03}" for number in range(230)]


async def test_a_job_that_left_nothing_says_so(shop: Shop, lonely: Cli):
    await shop.door.submit()
    answer = await lonely("artifacts", "list", "last")
    assert (answer.code, answer.out, answer.err) == (0, "", "The job left no artifacts.\n")


async def test_an_artifact_is_fetched_under_its_name_or_another_or_to_stdout(shop: Shop, lonely: Cli):
    job = await shop.leave({"d/data.bin": DATA})
    first = await lonely("artifacts", "get", job.id, "d/data.bin")
    named = await lonely("artifacts", "get", "last", "d/data.bin", "-o", "other.bin", "--json")
    assert (first.code, first.out) == (0, "data.bin\n"), first.err
    assert [item["file"] for item in json.loads(named.out)["items"]] == ["other.bin"]
    assert (lonely.home / "data.bin").read_bytes() == (lonely.home / "other.bin").read_bytes() == DATA
    process = await lonely.start("artifacts", "get", job.id, "d/data.bin", "-o", "-")
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert out == DATA


async def test_what_is_there_is_not_written_over_unasked(shop: Shop, lonely: Cli):
    job = await shop.leave({"a": b"new"})
    (lonely.home / "a").write_text("old")
    refused = await lonely("artifacts", "get", job.id, "a")
    assert (refused.code, (lonely.home / "a").read_text()) == (2, "old")
    assert "say where to with -o" in refused.err
    assert (await lonely("artifacts", "get", job.id, "a", "-o", "a")).code == 0
    assert (lonely.home / "a").read_text() == "new"


async def test_all_artifacts_are_fetched_into_a_directory(shop: Shop, lonely: Cli):
    files = {"a": b"1", "d/e/f": b"2", "d/g": b"3"}
    job = await shop.leave(files)
    answer = await lonely("artifacts", "get", job.id, "--all", "-o", "out/here")
    root = lonely.home / "out" / "here"
    assert answer.code == 0, answer.err
    assert {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()} == files


LONG = "\u5831" * 85  # 255 bytes: as long as a name can be


async def test_the_longest_name_is_fetched_too(shop: Shop, lonely: Cli):
    job = await shop.leave({LONG: b"1"})
    answer = await lonely("artifacts", "get", job.id, LONG)
    assert answer.code == 0, answer.err
    assert [(path.name, path.read_bytes()) for path in lonely.home.iterdir() if path.is_file()] == [(LONG, b"1")]


def test_what_a_run_left_is_copied_under_every_name(tmp_path: Path):
    """Also where a name is as long as it can be, or one that a temporary file could have."""
    files = {".x.new": b"1", "x": b"2", LONG: b"3"}
    for name, data in files.items():
        (tmp_path / "kept").write_bytes(data)
        copy_one(tmp_path / "kept", tmp_path / "out" / name, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == files


async def test_a_name_that_is_not_there_says_which_are(shop: Shop, lonely: Cli):
    job = await shop.leave({"a": b"1"})
    answer = await lonely("artifacts", "get", job.id, "b")
    assert answer.code == 1
    assert answer.err == f"cronium: Job {job.id} has no artifact 'b'; it left 'a'.\n"


@pytest.mark.parametrize(
    "args",
    [("get", "last"), ("get", "last", "a", "--all"), ("get", "last", "--all"), ("get", "last", "--all", "-o", "-")],
)
async def test_wrong_use_is_explained(lonely: Cli, args: tuple[str, ...]):
    answer = await lonely("artifacts", *args)
    assert (answer.code, answer.out) == (2, "")
    assert "cronium artifacts get --help" in answer.err


async def test_a_link_in_the_directory_leads_nowhere_else(shop: Shop, lonely: Cli):
    job = await shop.leave({"d/a": b"1"})
    (lonely.home / "elsewhere").mkdir()
    (lonely.home / "out").mkdir()
    (lonely.home / "out" / "d").symlink_to(lonely.home / "elsewhere")
    answer = await lonely("artifacts", "get", job.id, "--all", "-o", "out")
    assert answer.code == 2
    assert "leads out of out" in answer.err
    assert [*(lonely.home / "elsewhere").iterdir()] == []


@asynccontextmanager
async def lying_server(name: str, told: bytes, sent: bytes) -> AsyncIterator[str]:
    """A server whose list says one thing and whose file is another."""
    item = {"name": name, "size": len(told), "sha256": hashlib.sha256(told).hexdigest()}

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/artifacts"):
            return web.json_response({"items": [item], "next_cursor": None})
        return web.Response(body=sent)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("sent", [b"told lies", b"told", b"told twice, and more than it said"])
async def test_what_is_not_what_the_list_says_does_not_get_its_name(lonely: Cli, sent: bytes):
    (lonely.home / "a").write_text("old")
    async with lying_server("a", b"told true", sent) as url:
        lonely.env["CRONIUM_URL"] = url
        answer = await lonely("artifacts", "get", "job_1", "a", "-o", "a")
    assert answer.code == 1
    assert "was not fetched" in answer.err
    assert [path.name for path in lonely.home.iterdir() if path.name.startswith((".a", "a"))] == ["a"]
    assert (lonely.home / "a").read_text() == "old"


@pytest.mark.parametrize("name", ["../out", "/tmp/out-of-it", "d/../../out", "a\nb"])
async def test_a_server_cannot_make_us_write_outside_of_the_directory(lonely: Cli, name: str):
    async with lying_server(name, b"x", b"x") as url:
        lonely.env["CRONIUM_URL"] = url
        answer = await lonely("artifacts", "get", "job_1", "--all", "-o", "dir")
    assert answer.code == 1
    assert "The server lists an artifact that" in answer.err
    assert not (lonely.home / "out").exists()
    assert not Path("/tmp/out-of-it").exists()
