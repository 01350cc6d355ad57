"""Artifacts of a job: the list of them, and each as it is."""

from __future__ import annotations

import asyncio
import os
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from aiohttp import hdrs, web

from orchestrator.api.context import CONTEXT
from orchestrator.api.jobs import job_id_of
from orchestrator.api.lists import page_limit
from orchestrator.api.payloads import answer
from orchestrator.api.problems import problem
from orchestrator.errors import NotFoundError
from orchestrator.jobs.artifact_steps import names_of
from orchestrator.model.artifacts import Artifact
from orchestrator.model.documents import time_text
from orchestrator.model.json import Json

BLOCK_BYTES = 256 * 1024
UNSAFE = '"\\%'  # in the quoted name that old clients read


async def list_artifacts(request: web.Request) -> web.Response:
    """By name, paged by `?cursor=&limit=`: what the latest attempt that has ended left."""
    job_id, limit = job_id_of(request), page_limit(request)
    async with request.app[CONTEXT].store.read() as repos:
        await repos.jobs.get(job_id)
        page = await repos.artifacts.page(job_id, after=request.query.get("cursor"), limit=limit)
    return answer({"items": [artifact_document(one) for one in page.items], "next_cursor": page.next_cursor})


async def download_artifact(request: web.Request) -> web.StreamResponse:
    """
    The file. `ETag` is its SHA-256; one range of bytes may be asked for.

    Always to be saved, never shown: what a script left is not a page of this server.
    """
    artifact, path = await _find(request)
    tag = f'"{artifact.sha256}"'
    headers: dict[str, str] = {
        hdrs.ETAG: tag,
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.CONTENT_DISPOSITION: disposition(artifact.name),
        "Content-Security-Policy": "sandbox",  # for what shows it all the same
    }
    if tag in [part.strip() for part in request.headers.get(hdrs.IF_NONE_MATCH, "").split(",")]:
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    begin, end = _range(request, artifact, tag)
    if begin >= end and artifact.size:
        detail = f"The artifact has {artifact.size} bytes; ask for a part of these."
        headers = {hdrs.CONTENT_RANGE: f"bytes */{artifact.size}"}
        return problem(request, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "range_beyond", detail, headers=headers)
    file = await asyncio.to_thread(_open, path, artifact)
    try:
        response = web.StreamResponse(headers=headers)
        response.content_type = artifact.media_type
        response.content_length = end - begin
        if (begin, end) != (0, artifact.size):
            response.set_status(HTTPStatus.PARTIAL_CONTENT)
            response.headers[hdrs.CONTENT_RANGE] = f"bytes {begin}-{end - 1}/{artifact.size}"
        await response.prepare(request)
        if request.method != hdrs.METH_HEAD:
            await _send(response, file, begin, end)
        await response.write_eof()
    finally:
        file.close()
    return response


def artifact_document(artifact: Artifact) -> dict[str, Json]:
    """What the outside sees of an artifact."""
    return {
        "name": artifact.name,
        "size": artifact.size,
        "sha256": artifact.sha256,
        "media_type": artifact.media_type,
        "attempt": artifact.attempt,
        "created_at": time_text(artifact.created_at),
    }


def disposition(name: str) -> str:
    """To be saved under the last part of its name: for old clients in ASCII, for others as RFC 6266 and RFC 8187 say."""
    last = name.rpartition("/")[2]
    plain = "".join(one if one.isascii() and one.isprintable() and one not in UNSAFE else "_" for one in last)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(last, safe='')}"


async def _find(request: web.Request) -> tuple[Artifact, Path]:
    """The artifact and where it lies. Raises `NotFoundError`, saying what there is."""
    context, job_id, name = request.app[CONTEXT], job_id_of(request), request.match_info["name"]
    async with context.store.read() as repos:
        await repos.jobs.get(job_id)
        artifact = await repos.artifacts.get(job_id, name)
        if artifact is None:
            there = await names_of(repos, job_id)
            raise NotFoundError(f"Job {job_id} has no artifact {name!r}; {there}.", code="artifact_not_found")
    path = context.shelf.file(artifact) if context.shelf is not None else None
    if path is None:
        raise NotFoundError(
            f"The artifact {name!r} of job {job_id} lies on another server: ask the one that ran the job.",
            code="artifact_elsewhere",
        )
    return artifact, path


def _range(request: web.Request, artifact: Artifact, tag: str) -> tuple[int, int]:
    """From where to where: all of it, unless the request wants a part and means this very file."""
    if request.headers.get(hdrs.IF_RANGE, tag) != tag:
        return 0, artifact.size
    try:
        wanted = request.http_range
    except ValueError:
        return 0, artifact.size  # RFC 9110, 14.2: what is not understood is not there
    if wanted.start is None and wanted.stop is None:
        return 0, artifact.size
    begin, end, _ = wanted.indices(artifact.size)
    return begin, end


def _open(path: Path, artifact: Artifact) -> BinaryIO:
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise _gone(artifact, str(error.strerror)) from error
    if os.fstat(file.fileno()).st_size == artifact.size:
        return file
    file.close()
    raise _gone(artifact, "it has another size than when it was made")


def _gone(artifact: Artifact, why: str) -> NotFoundError:
    return NotFoundError(
        f"The file of the artifact {artifact.name!r} of job {artifact.job_id} cannot be read ({why}): a backup of the "
        "database holds no artifacts, copy `artifacts` in the data directory with it.",
        code="artifact_gone",
    )


async def _send(response: web.StreamResponse, file: BinaryIO, begin: int, end: int) -> None:
    file.seek(begin)
    while begin < end:
        block = await asyncio.to_thread(file.read, min(BLOCK_BYTES, end - begin))
        if not block:
            raise ConnectionResetError("an artifact became shorter while it was sent")
        await response.write(block)
        begin += len(block)
