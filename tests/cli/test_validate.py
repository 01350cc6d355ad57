"""`cronium validate`: every fault of a file, where an editor finds it."""

from __future__ import annotations

import json

GOOD_FLOW = "name: nightly\nsteps:\n  a:\n    bash: echo a\n  b:\n    needs: [a]\n    python: print(1)\n"
BAD_FLOW = "name: nightly\nsteps:\n  a:\n    bash: echo a\n    timout: 3s\n  b:\n    needs: [c]\n    python: print(1)\n"


async def test_a_valid_workflow_is_said(lonely):
    (lonely.home / "flow.yaml").write_text(GOOD_FLOW)
    answer = await lonely("validate", "flow.yaml")
    assert (answer.code, answer.out, answer.err) == (0, "flow.yaml: valid workflow nightly, 2 steps\n", "")


async def test_a_valid_job_is_said(lonely):
    (lonely.home / "job.json").write_text('{"bash": "echo", "name": "x"}')
    answer = await lonely("validate", "job.json")
    assert (answer.code, answer.out) == (0, "job.json: valid job x\n")
    assert (await lonely("validate", "-", stdin=b"shell: echo")).out == "<stdin>: valid job\n"


async def test_every_fault_of_a_workflow_has_its_line(lonely):
    (lonely.home / "flow.yaml").write_text(BAD_FLOW)
    answer = await lonely("validate", "flow.yaml")
    first, second = answer.out.splitlines()
    assert (answer.code, answer.err) == (2, "")
    assert first.startswith("flow.yaml:5: steps.a.timout: ")
    assert second.startswith("flow.yaml:7: steps.b.needs")


async def test_every_fault_of_a_job_has_its_line(lonely):
    (lonely.home / "job.yaml").write_text("bash: x\nname: [1]\nenv:\n  A: 1\n  B-: 2\n")
    answer = await lonely("validate", "job.yaml")
    first, second = answer.out.splitlines()
    assert answer.code == 2
    assert first.startswith("job.yaml:2: name: ")
    assert second.startswith("job.yaml:5: env.B-: ")


async def test_faults_as_json_say_where_and_what(lonely):
    (lonely.home / "flow.yaml").write_text(BAD_FLOW)
    answer = await lonely("validate", "flow.yaml", "--json")
    found = json.loads(answer.out)
    assert (answer.code, found["file"], found["kind"], found["valid"]) == (2, "flow.yaml", "workflow", False)
    assert [(fault["line"], bool(fault["message"])) for fault in found["faults"]] == [(5, True), (7, True)]
    (lonely.home / "flow.yaml").write_text(GOOD_FLOW)
    assert json.loads((await lonely("validate", "flow.yaml", "--json")).out) == {
        "file": "flow.yaml",
        "kind": "workflow",
        "name": "nightly",
        "valid": True,
        "faults": [],
    }


async def test_broken_syntax_is_a_fault_with_a_line(lonely):
    (lonely.home / "flow.yaml").write_text("steps:\n  a: [\n")
    answer = await lonely("validate", "flow.yaml")
    assert (answer.code, answer.err) == (2, "")
    assert answer.out.startswith("flow.yaml:")
    assert answer.out.count("\n") == 1


async def test_what_cannot_be_checked_is_refused(lonely):
    (lonely.home / "a.py").write_text("x")
    answer = await lonely("validate", "a.py")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("cronium: a.py is a script")
    answer = await lonely("validate", "nowhere.yaml")
    assert (answer.code, answer.err) == (2, "cronium: nowhere.yaml cannot be read: no such file or directory.\n")


async def test_control_characters_of_a_file_are_shown_and_not_obeyed(lonely):
    (lonely.home / "job.yaml").write_text('bash: x\n"\\e[2Jkey": 1\n')
    answer = await lonely("validate", "job.yaml")
    assert answer.code == 2
    assert "\x1b" not in answer.out
