"""Jobs through the server's API, on each executor, with real scripts."""

from __future__ import annotations

import json
import resource

import aiohttp
import pytest

from tests.e2e.serving import Serving, eventually

LANGUAGES = {
    "python": "import cronium\n{}",
    "node": 'const cronium = require("cronium");\n(async () => {{\n{}\n}})();',
    "bash": "{}",
}


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_job_ends_with_the_exit_code_of_its_script(shared: Serving, executor: str, code: int):
    job = shared.wait(shared.submit(shell=f"exit {code}", executor=executor))

    assert (job["status"], job["exit_code"]) == ("succeeded" if code == 0 else "failed", code)
    assert job["reason"] == (None if code == 0 else "exit_code")


def test_a_script_killed_by_a_signal_ends_with_128_and_its_number(shared: Serving, executor: str):
    job = shared.wait(shared.submit(bash="kill -9 $$", executor=executor))

    assert (job["status"], job["exit_code"], job["reason"]) == ("failed", 137, "exit_code")


def test_the_two_streams_are_kept_apart_and_every_line_is_exact(shared: Serving, executor: str):
    script = r"""
import sys
print("ünï – 漢字 🎉")
print("\x1b[31mred\x1b[0m")
print("")
print("tab\tand \\ backslash")
print("error line", file=sys.stderr)
sys.stdout.write("no newline at the end")
"""
    job_id = shared.submit(python=script, executor=executor)
    job = shared.wait(job_id)

    expected = ["ünï – 漢字 🎉", "\x1b[31mred\x1b[0m", "", "tab\tand \\ backslash", "no newline at the end"]
    assert shared.text(job_id) == expected
    assert shared.text(job_id, "stderr") == ["error line"]
    assert job["log"]["lines"] == 6


def test_a_line_of_three_mebibytes_comes_back_in_marked_pieces(shared: Serving, executor: str):
    job_id = shared.submit(python="print('é' * (3 * 512 * 1024)); print('after')", executor=executor)
    shared.wait(job_id)

    lines = shared.lines(job_id)
    assert "".join(line["text"] for line in lines[:-1]) == "é" * (3 * 512 * 1024)
    assert [line.get("continued", False) for line in lines] == [True] * (len(lines) - 2) + [False, False]
    assert lines[-1]["text"] == "after"


async def watch(server: Serving, job_id: str, after: int = 0) -> tuple[list[dict], dict]:
    """Everything a WebSocket watcher is told: the lines and the last message."""
    lines: list[dict] = []
    url = f"{server.url}/ws/jobs/{job_id}/logs?after={after}"
    headers = {"Authorization": f"Bearer {server.token}"}
    async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=headers, max_msg_size=0) as socket:
        last: dict = {}
        async for message in socket:
            last = json.loads(message.data)
            if last["type"] == "lines":
                lines += last["lines"]
        assert socket.close_code == 1000
    return lines, last


async def test_20000_lines_are_read_in_order_while_the_job_runs_and_after_it_ended(shared: Serving, executor: str):
    script = "import sys\nfor n in range(20000):\n    print(n, flush=n % 100 == 0)\n"
    job_id = shared.submit(python=script, executor=executor)

    live, end = await watch(shared, job_id)
    later, end_again = await watch(shared, job_id)
    rest, _ = await watch(shared, job_id, after=19_990)

    expected = [str(n) for n in range(20_000)]
    assert [line["text"] for line in live] == expected
    assert [line["seq"] for line in live] == list(range(1, 20_001))
    assert later == live
    assert [line["text"] for line in rest] == expected[19_990:]
    assert (end["type"], end["job"]["status"]) == ("end", "succeeded")
    assert end_again == end


def test_a_job_over_its_time_is_ended(shared: Serving, executor: str):
    job = shared.wait(shared.submit(shell="echo begun; sleep 1000", timeout="1s", executor=executor))

    assert (job["status"], job["reason"]) == ("timed_out", "timeout")


def test_cancelling_ends_a_running_job(shared: Serving, executor: str):
    job_id = shared.submit(shell="echo begun; sleep 1000", executor=executor)
    eventually(lambda: shared.text(job_id) == ["begun"], "the first line")

    status, _ = shared.call("POST", f"/api/v3/jobs/{job_id}/cancel")

    assert status == 202
    job = shared.wait(job_id)
    assert (job["status"], job["reason"]) == ("cancelled", "cancelled")


@pytest.mark.parametrize("language", ["python", "node", "bash"])
@pytest.mark.parametrize("value", [0, "", False, None, [], {}], ids=json.dumps)
def test_falsy_values_survive_the_way_in_and_out(shared: Serving, executor: str, language: str, value: object):
    bodies = {
        "python": "cronium.output(cronium.input())",
        "node": "await cronium.output(await cronium.input());",
        # In Bash a value is text: what is JSON comes back as what it was, an empty string as an empty string.
        "bash": 'cronium_output "$(cronium_input)"',
    }
    expected = "" if language == "bash" and value is None else value
    spec = {language: LANGUAGES[language].format(bodies[language]), "input": value, "executor": executor}

    job = shared.wait(shared.submit(**spec))

    assert (job["status"], job["output"]) == ("succeeded", expected), shared.lines(job["id"])
    assert type(job["output"]) is type(expected)


@pytest.mark.parametrize("language", ["python", "node", "bash"])
def test_each_language_has_the_whole_runtime_api(shared: Serving, executor: str, language: str):
    key = f"e2e-{language}-{executor}-ключ"
    bodies = {
        "python": f"""
assert cronium.get_variable("{key}") is None
cronium.set_variable("{key}", {{"n": 1}})
assert cronium.get_variable("{key}") == {{"n": 1}}
assert cronium.get_condition() is None
cronium.set_condition(True)
assert cronium.get_condition() is True
cronium.output(cronium.event()["job_id"])
""",
        "node": f"""
if (await cronium.getVariable("{key}") !== null) throw new Error("not null");
await cronium.setVariable("{key}", {{n: 1}});
if ((await cronium.getVariable("{key}")).n !== 1) throw new Error("not 1");
if (await cronium.getCondition() !== null) throw new Error("condition");
await cronium.setCondition(true);
if (await cronium.getCondition() !== true) throw new Error("not true");
await cronium.output((await cronium.event()).job_id);
""",
        "bash": f"""
set -euo pipefail
[ -z "$(cronium_get_variable "{key}")" ]
cronium_set_variable "{key}" '{{"n": 1}}'
[ "$(cronium_get_variable "{key}")" = '{{"n":1}}' ]
[ -z "$(cronium_get_condition)" ]
cronium_set_condition true
[ "$(cronium_get_condition)" = true ]
cronium_output "$(cronium_event_field job_id)"
""",
    }

    job_id = shared.submit(**{language: LANGUAGES[language].format(bodies[language]), "executor": executor})
    job = shared.wait(job_id)

    assert job["status"] == "succeeded", shared.lines(job_id)
    assert (job["output"], job["condition"]) == (job_id, True)


def test_a_token_does_not_outlive_its_attempt_and_is_masked_in_the_log(shared: Serving, executor: str):
    script = "import os, base64, cronium\nt = os.environ['CRONIUM_EXECUTION_TOKEN']\nprint(t)\ncronium.output(t[::-1])"
    job_id = shared.submit(python=script, executor=executor)
    token = shared.wait(job_id)["output"][::-1]
    assert shared.text(job_id) == ["***"]

    again = shared.submit(
        python="import os\nos.environ['CRONIUM_EXECUTION_TOKEN'] = "
        + repr(token)
        + "\nimport cronium\ncronium.input()",
        executor=executor,
    )

    assert shared.wait(again)["exit_code"] == 1
    assert any("401" in line or "token" in line for line in shared.text(again, "stderr"))


def test_a_bad_spec_is_refused_with_every_fault_and_nothing_is_stored(shared: Serving):
    before = shared.call("GET", "/api/v3/jobs?limit=1")[1]["items"]

    status, problem = shared.call("POST", "/api/v3/jobs", {"pyhton": "x", "timeout": "soon", "executor": "cloud"})

    assert status == 422
    assert {fault["path"] for fault in problem["errors"]} >= {"pyhton", "timeout", "executor"}
    assert shared.call("GET", "/api/v3/jobs?limit=1")[1]["items"] == before


def test_the_journal_tells_the_life_of_a_job(shared: Serving, executor: str):
    job_id = shared.submit(shell="true", executor=executor)
    shared.wait(job_id)

    _, journal = shared.call("GET", f"/api/v3/jobs/{job_id}/journal")

    assert [entry["kind"] for entry in journal["entries"]] == ["queued", "claimed", "started", "finished"]
    assert [entry["seq"] for entry in journal["entries"]] == [1, 2, 3, 4]


def test_scripts_have_the_limit_of_open_files_that_the_server_was_started_with(shared: Serving):
    job_id = shared.submit(shell="ulimit -n", executor="process")
    shared.wait(job_id)

    assert shared.text(job_id) == [str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])]
