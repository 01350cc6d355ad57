"""The image and its neighbours, built once, and deployments of them that leave nothing behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.image.deployment import Deployment, base_image, build, compose_command

STAND_INS = Path(__file__).parent / "stand_ins"


@pytest.fixture(scope="session")
def base() -> str:
    """What the image is built from here."""
    return base_image("cronium-base:local")


@pytest.fixture(scope="session")
def image(base: str) -> str:
    return build(ROOT, "cronium-test:image", base)


@pytest.fixture(scope="session")
def neighbours() -> dict[str, str]:
    """Images for Postgres and Valkey, made on this machine; which variable of the compose files names which."""
    debian = base_image("cronium-debian:local")
    return {
        f"{name.upper()}_IMAGE": build(STAND_INS / name, f"cronium-test:{name}", debian)
        for name in ("postgres", "valkey")
    }


@pytest.fixture(scope="session")
def composing() -> None:
    """Skips where there is no compose; in CI that is a failure."""
    if compose_command() is not None:
        return
    problem = "neither `docker compose` nor docker-compose is on this machine (Debian: apt install docker-compose)"
    if os.environ.get("CI"):
        pytest.fail(f"tests of the compose files must run in CI: {problem}")
    pytest.skip(problem)


@pytest.fixture
def deploy(composing: None, image: str, tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """Makes deployments; each is taken down, and that nothing of it is left is part of every test."""
    del composing
    made: list[Deployment] = []

    def make(file: str, **changes: Any) -> Deployment:
        made.append(Deployment(file=file, image=image, directory=tmp_path / f"client{len(made)}", **changes))
        return made[-1]

    yield make
    with ExitStack() as stack:
        for deployment in made:
            stack.callback(deployment.down)
    assert [left for deployment in made for left in deployment.leftovers()] == []
