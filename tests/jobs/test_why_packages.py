"""How `cronium why` names packages."""

from __future__ import annotations

import pytest

from orchestrator.jobs.why_packages import with_packages
from orchestrator.model.json import Json


@pytest.mark.parametrize(
    ("packages", "said"),
    [
        (None, ""),
        ({}, ""),
        ({"rich": "13.7"}, " with the package rich 13.7"),
        ({"a": "1", "b": "2", "c": "3"}, " with the packages a 1, b 2 and c 3"),
        (
            {f"p{n}": "1" for n in range(14)},
            " with the packages " + "".join(f"p{n} 1, " for n in range(9)) + "p9 1 and 4 more",
        ),
    ],
)
def test_packages_are_named_up_to_ten_of_them(packages: Json, said: str):
    assert with_packages({"packages": packages}) == said
