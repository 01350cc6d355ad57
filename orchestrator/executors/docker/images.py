"""Fetching images."""

from __future__ import annotations

import logging

from pydantic import BaseModel

from orchestrator.errors import StartFailedError, UnavailableError
from orchestrator.executors.docker.engine import Answer, Engine
from orchestrator.model.jobs import Reason

log = logging.getLogger(__name__)


class _Progress(BaseModel):
    error: str | None = None


async def pull(engine: Engine, image: str, *, idle_seconds: float) -> None:
    """
    Fetch `image`, reading the engine's progress to its end: only there it says whether it went well.

    Raises `StartFailedError` (`image_unavailable`) with the registry's own words, `UnavailableError` when nothing is
    heard for `idle_seconds`.
    """
    log.info("pulling an image", extra={"image": image})
    name, tag = split_reference(image)
    query = {"fromImage": name, "tag": tag} if tag else {"fromImage": name}
    response = await engine.open("POST", "/images/create", query=query)
    try:
        if response.status >= 400:
            answer = Answer(status=response.status, body=await response.read(), headers={})
            raise _not_to_be_had(image, answer.message)
        rest = b""
        while (data := await engine.read(response, idle_seconds)) != b"":
            if data is None:
                raise UnavailableError(
                    f"Pulling {image} made no progress for {idle_seconds:g} s: is the registry slow?"
                )
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                _raise_error_in(line, image)
        _raise_error_in(rest, image)
    finally:
        response.close()


def never_pulled(image: str) -> StartFailedError:
    """The image is not here and must not be fetched."""
    return StartFailedError(
        f"The image {image} is not on this Docker engine and the job says `pull: never`: build or load it there, or "
        "let the job pull it (`pull: missing`).",
        reason=Reason.IMAGE_UNAVAILABLE,
    )


def advised(words: str) -> str:
    """The engine's own words, with what to do where its disk is full."""
    if "no space left on device" not in words.lower():
        return words
    return f"its disk is full ({words.rstrip('.')}). Free some (docker system prune), or give it a larger one."


def split_reference(image: str) -> tuple[str, str | None]:
    """Split off the tag; `latest` where there is none, for without one the engine would fetch them all."""
    if "@" in image:
        return image, None
    name, colon, tag = image.rpartition(":")
    if not colon or "/" in tag:
        return image, "latest"
    return name, tag


def _raise_error_in(line: bytes, image: str) -> None:
    if not line.strip():
        return
    error = _Progress.model_validate_json(line).error
    if error is not None:
        raise _not_to_be_had(image, error)


def _not_to_be_had(image: str, words: str) -> StartFailedError:
    if advised(words) != words:
        return StartFailedError(
            f"The image {image} could not be pulled: {advised(words)}", reason=Reason.IMAGE_UNAVAILABLE
        )
    return StartFailedError(
        f"The image {image} is not here and could not be pulled: {words.rstrip('.')}. Check its name and that the "
        "engine can reach and may read that registry, or load the image on the engine (docker load, docker build).",
        reason=Reason.IMAGE_UNAVAILABLE,
    )
