"""`cronium why` says in which image a job ran, exactly enough to have it again."""

from __future__ import annotations

import pytest

from orchestrator.jobs.why_images import with_image
from orchestrator.model.json import Json

DIGEST = "python@sha256:" + "1" * 64
ID = "sha256:" + "2" * 64


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"attempt": 1}, ""),
        ({"image": None}, ""),
        ({"image": {"id": ID}}, ""),
        ({"image": {"name": "python:3", "id": ID, "digest": DIGEST}}, f" in python:3 ({DIGEST})"),
        ({"image": {"name": DIGEST, "id": ID, "digest": DIGEST}}, f" in {DIGEST}"),
        (
            {"image": {"name": "mine:1", "id": ID, "digest": None}},
            " in mine:1 (the image sha256:222222222222, which is in no registry)",
        ),
        ({"image": {"name": "mine:1"}}, " in mine:1"),
    ],
)
def test_the_image_is_named_with_what_identifies_it(data: dict[str, Json], said: str):
    assert with_image(data) == said
