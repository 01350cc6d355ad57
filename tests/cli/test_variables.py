"""`cronium variables`, against the real API on a real store."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.door import Door, open_door
from tests.cli.conftest import Cli


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path / "server") as door:
        yield door


@pytest.fixture
def cronium(lonely: Cli, door: Door) -> Cli:
    lonely.env.update(CRONIUM_URL=door.url, CRONIUM_TOKEN=door.tokens["write"])
    return lonely


async def test_a_value_is_set_shown_and_deleted(cronium: Cli):
    assert (await cronium("variables", "set", "limits", '{"rows": 1}', "--description", "x")).code == 0
    assert (await cronium("variables", "set", "version", "1.10", "--text")).err == "cronium: version has version 1\n"
    assert (await cronium("variables", "set", "letter", "-", stdin="zwei\nZeilen ü\n".encode())).code == 0
    assert (await cronium("variables", "get", "limits")).out == '{"rows": 1}\n'
    assert (await cronium("variables", "get", "version")).out == "1.10\n"
    assert (await cronium("variables", "get", "letter")).out == "zwei\nZeilen ü\n"
    whole = json.loads((await cronium("variables", "get", "limits", "--json")).out)
    assert (whole["description"], whole["version"]) == ("x", 1)
    listed = await cronium("variables", "list", "--prefix", "l")
    assert [line.split()[0] for line in listed.out.splitlines()] == ["KEY", "letter", "limits"]
    assert (await cronium("variables", "delete", "limits")).code == 0
    missing = await cronium("variables", "get", "limits")
    assert (missing.code, missing.out) == (1, "")
    assert "limits" in missing.err


async def test_a_write_on_a_condition_that_does_not_hold_fails(cronium: Cli):
    assert (await cronium("variables", "set", "k", "1", "--new")).code == 0
    again = await cronium("variables", "set", "k", "2", "--new")
    assert again.code == 1
    assert "version 1" in again.err
    assert (await cronium("variables", "set", "k", "2", "--if-version", "1")).code == 0
    assert (await cronium("variables", "delete", "k", "--if-version", "1")).code == 1
    assert (await cronium("variables", "set", "k", "2", "--new", "--if-version", "1")).code == 2


@pytest.mark.parametrize("kind", ["json", "csv", "env"])
async def test_what_is_exported_is_imported_again(cronium: Cli, kind: str):
    values = {"A": "=1+1", "B": [1, {"c": None}], "C": "two\nlines 'quoted'", "D": "5", "E": 5}
    for key, value in values.items():
        await cronium("variables", "set", key, json.dumps(value))
    (cronium.home / f"all.{kind}").write_text((await cronium("variables", "export", "--format", kind)).out, newline="")
    for key in values:
        await cronium("variables", "delete", key)
    assert (await cronium("variables", "import", f"all.{kind}")).err == "cronium: 5 variables were written\n"
    back = json.loads((await cronium("variables", "list", "--json")).out)["items"]
    assert {item["key"]: item["value"] for item in back} == values


async def test_an_import_can_leave_what_is_there(cronium: Cli):
    await cronium("variables", "set", "A", "1")
    answer = await cronium("variables", "import", "-", "--keep", stdin=b'{"A": 2, "B": 2}')
    assert answer.err == "cronium: 1 variables were written, 1 were left as they are\n"
    assert (await cronium("variables", "get", "A")).out == "1\n"


async def test_an_import_that_ends_early_says_how_far_it_came(cronium: Cli):
    answer = await cronium("variables", "import", "-", stdin=b'{"A": 2, "CRONIUM_B": 2}')
    assert answer.code != 0
    assert "1 of 2" in answer.err
    assert "reserved" in answer.err


async def test_the_variables_of_an_event_and_who_names_a_key(cronium: Cli):
    (cronium.home / "nightly.yaml").write_text("name: nightly\nbash: echo region\n")
    assert (await cronium("events", "create", "nightly.yaml")).code == 0
    assert (await cronium("variables", "set", "region", "eu", "--scope", "event:nightly")).code == 0
    assert (await cronium("variables", "get", "region", "--scope", "event:nightly")).out == "eu\n"
    assert (await cronium("variables", "usage", "region")).out.splitlines()[1].split() == ["nightly", "active", "bash"]
    assert (await cronium("variables", "usage", "nothing")).out.strip() in ("", "EVENT  STATUS  IN")
