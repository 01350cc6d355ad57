"""The artifacts of a job: the list, and each as it is."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from orchestrator.api.artifacts import disposition
from orchestrator.jobs.artifacts import Shelf
from orchestrator.model.artifacts import Artifact
from orchestrator.model.jobs import Job
from tests.api.door import Door, Reply, open_door

PLACE = "here"


@dataclass(kw_only=True)
class Shop:
    """A door with a shelf behind it."""

    door: Door
    shelf: Shelf

    async def leave(self, files: dict[str, bytes], **changes: object) -> Job:
        """A job that has left these files."""
        job = await self.door.submit()
        artifacts = []
        for name, data in files.items():
            artifact = Artifact(
                job_id=job.id,
                attempt=2,
                name=name,
                size=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                media_type="text/html",
                created_at=self.door.context.clock.now(),
                place=PLACE,
                folder="2-5",
            )
            path = self.shelf.file(artifact)
            assert path is not None
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            artifacts.append(replace(artifact, **changes))
        async with self.door.store.begin() as repos:
            await repos.artifacts.replace(job.id, artifacts)
        return job

    async def get(self, job: Job, name: str, **more: object) -> Reply:
        return await self.door.get(f"/api/v3/jobs/{job.id}/artifacts/{name}", **more)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shelf = Shelf(root=tmp_path / "artifacts", place=PLACE)
    async with open_door(tmp_path, shelf=shelf) as door:
        yield Shop(door=door, shelf=shelf)


async def test_the_list_has_all_about_each_by_name_and_page_by_page(shop: Shop):
    job = await shop.leave({"b/c.html": b"xyz", "a": b""})
    path = f"/api/v3/jobs/{job.id}/artifacts"

    whole = await shop.door.get(path)
    first = await shop.door.get(f"{path}?limit=1")
    second = await shop.door.get(f"{path}?limit=1&cursor={first.body['next_cursor']}")

    assert [item["name"] for item in whole.body["items"]] == ["a", "b/c.html"]
    assert whole.body["next_cursor"] is None
    assert whole.body["items"][1] == {
        "name": "b/c.html",
        "size": 3,
        "sha256": hashlib.sha256(b"xyz").hexdigest(),
        "media_type": "text/html",
        "attempt": 2,
        "created_at": "2026-01-01T00:00:00.000000Z",
    }
    assert [*first.body["items"], *second.body["items"]] == whole.body["items"]
    assert second.body["next_cursor"] is None


async def test_a_job_that_left_nothing_has_an_empty_list_and_none_that_is_not_there(shop: Shop):
    job = await shop.door.submit()
    assert (await shop.door.get(f"/api/v3/jobs/{job.id}/artifacts")).body == {"items": [], "next_cursor": None}
    assert (await shop.door.get("/api/v3/jobs/job_none/artifacts")).status == 404
    assert (await shop.door.get("/api/v3/jobs/job_none/artifacts/a")).body["code"] == "not_found"


@pytest.mark.parametrize("name", ["report.html", "d/e/f.html", "d%2Fe%2Ff.html", "a%20b%22%C3%A4.html", "100%25"])
async def test_a_file_is_sent_as_it_is_to_be_saved_and_never_shown(shop: Shop, name: str):
    from urllib.parse import unquote

    import yarl

    data = b"<script>alert(1)</script>" * 50_000
    job = await shop.leave({unquote(name): data})
    url = yarl.URL(f"{shop.door.url}/api/v3/jobs/{job.id}/artifacts/{name}", encoded=True)
    async with shop.door.http.get(url, headers=shop.door.bearer("read")) as response:
        body = await response.read()

    assert (response.status, body) == (200, data)
    assert response.headers["Content-Length"] == str(len(data))
    assert response.headers["ETag"] == f'"{hashlib.sha256(data).hexdigest()}"'
    assert response.headers["Content-Type"] == "text/html"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "sandbox"
    assert response.headers["Content-Disposition"].startswith("attachment; filename=")


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.csv", "attachment; filename=\"a.csv\"; filename*=UTF-8''a.csv"),
        ("d/a b.csv", "attachment; filename=\"a b.csv\"; filename*=UTF-8''a%20b.csv"),
        ('"\\%;.csv', "attachment; filename=\"___;.csv\"; filename*=UTF-8''%22%5C%25%3B.csv"),
        ("ä\u202e.csv", "attachment; filename=\"__.csv\"; filename*=UTF-8''%C3%A4%E2%80%AE.csv"),
    ],
)
def test_the_name_to_save_under_is_said_so_that_no_name_breaks_the_header(name: str, header: str):
    assert disposition(name) == header


async def test_head_says_how_long_it_is_and_sends_nothing(shop: Shop):
    job = await shop.leave({"a": b"12345"})
    reply = await shop.door.ask("HEAD", f"/api/v3/jobs/{job.id}/artifacts/a")
    assert (reply.status, reply.headers["Content-Length"], reply.body) == (200, "5", "")


@pytest.mark.parametrize(
    ("asked", "status", "body", "range_"),
    [
        ("bytes=2-3", 206, "23", "bytes 2-3/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=0-99", 200, "0123456789", None),
        ("bytes=10-", 416, None, "bytes */10"),
        ("lines=1-2", 200, "0123456789", None),
    ],
)
async def test_a_part_of_a_file_can_be_asked_for(shop: Shop, asked: str, status: int, body: str, range_: str):
    job = await shop.leave({"a": b"0123456789"})
    reply = await shop.get(job, "a", headers={"Range": asked})
    assert (reply.status, reply.headers.get("Content-Range")) == (status, range_)
    if body is not None:
        assert reply.body == body


async def test_whoever_has_the_file_is_not_sent_it_again(shop: Shop):
    job = await shop.leave({"a": b"0123456789"})
    tag = (await shop.get(job, "a")).headers["ETag"]
    same = await shop.get(job, "a", headers={"If-None-Match": f'"x", {tag}'})
    other = await shop.get(job, "a", headers={"If-Range": '"x"', "Range": "bytes=2-3"})
    assert (same.status, same.body) == (304, "")
    assert (other.status, other.body) == (200, "0123456789")


async def test_an_empty_file_is_sent(shop: Shop):
    job = await shop.leave({"a": b""})
    reply = await shop.get(job, "a")
    assert (reply.status, reply.headers["Content-Length"], reply.body) == (200, "0", "")


async def test_of_an_artifact_that_is_not_there_it_is_said_which_are(shop: Shop):
    job = await shop.leave({f"file-{number}": b"" for number in range(9)})
    reply = await shop.get(job, "x/y")
    assert (reply.status, reply.body["code"]) == (404, "artifact_not_found")
    assert "'x/y'" in reply.body["detail"]
    assert "'file-0'" in reply.body["detail"]
    assert "and more" in reply.body["detail"]


@pytest.mark.parametrize("name", ["../secret", "..%2Fsecret", "%2E%2E/secret", "a/../../secret", "%2Fetc%2Fpasswd", ""])
async def test_no_spelling_of_a_name_reads_another_file(shop: Shop, tmp_path: Path, name: str):
    import yarl

    job = await shop.leave({"a": b""})
    (shop.shelf.root / job.id / "secret").write_text("not to be read")
    url = yarl.URL(f"{shop.door.url}/api/v3/jobs/{job.id}/artifacts/{name}", encoded=True)
    async with shop.door.http.get(url, headers=shop.door.bearer()) as response:
        assert response.status == 404
        assert "not to be read" not in await response.text()


async def test_files_of_another_server_and_files_that_are_gone_are_told_apart(shop: Shop):
    there = await shop.leave({"a": b"1"}, place="another")
    gone = await shop.leave({"a": b"1"})
    (shop.shelf.root / gone.id / "2-5" / "a").unlink()
    cut = await shop.leave({"a": b"12"})
    (shop.shelf.root / cut.id / "2-5" / "a").write_bytes(b"1")
    codes = [(await shop.get(job, "a")).body["code"] for job in (there, gone, cut)]
    assert codes == ["artifact_elsewhere", "artifact_gone", "artifact_gone"]
