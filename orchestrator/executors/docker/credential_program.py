"""Programs that keep credentials of registries (`docker-credential-*`), asked as Docker's own command asks them."""

from __future__ import annotations

import asyncio
import re
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import dataclass, field

from pydantic import BaseModel, Field, ValidationError

from orchestrator.errors import StartFailedError
from orchestrator.model.jobs import Reason

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
SECONDS = 20.0
UNKNOWN = "credentials not found"  # what they print when they have none, with an exit code like any other failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What such a program has for a registry."""

    username: str = field(repr=False)
    secret: str = field(repr=False)


class _Answer(BaseModel):
    username: str = Field(alias="Username")
    secret: str = Field(alias="Secret")


async def ask_program(name: str, server: str) -> Kept | None:
    """
    What `docker-credential-NAME get` has for `server`; None where it has nothing.

    Raises `StartFailedError` (`image_unavailable`) that names the program, and nothing of what it printed.
    """
    if not NAME.fullmatch(name):
        raise _failed(name, server, "is not the name of a program")
    code, said = await _run(name, server)
    if code:
        if UNKNOWN in said.decode("utf-8", "replace").lower():
            return None
        raise _failed(name, server, f"failed with exit code {code}")
    try:
        answer = _Answer.model_validate_json(said)
    except ValidationError:
        raise _failed(name, server, "did not answer in its own format") from None
    return Kept(username=answer.username, secret=answer.secret)


async def _run(name: str, server: str) -> tuple[int, bytes]:
    try:
        process = await asyncio.create_subprocess_exec(
            f"docker-credential-{name}", "get", stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True
        )
    except OSError as error:
        raise _failed(name, server, f"cannot be run here: {error.strerror}") from error
    try:
        async with asyncio.timeout(SECONDS):
            said, _ = await process.communicate(server.encode())
    except TimeoutError as error:
        raise _failed(name, server, f"did not answer within {SECONDS:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, said


def _failed(name: str, server: str, what: str) -> StartFailedError:
    return StartFailedError(
        f"docker-credential-{name}, which the file of `registry_auth_file` names for {server}, {what}. It must be on "
        f"the PATH of the server and answer by itself (try: echo {server} | docker-credential-{name} get).",
        reason=Reason.IMAGE_UNAVAILABLE,
    )
