"""Secrets as people use them: a value goes in by the command line and comes out only in the job that names it (S16, S18)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.conftest import CRONIUM
from tests.e2e.serving import Serving, environment, eventually

VALUE = "hunter-22-and-$'more\""
NEXT = "changed-meanwhile-33"
PRINTING = """
import base64, os, json, urllib.parse
value = os.environ["PGPASSWORD"]
print("raw", value)
print("base64", base64.b64encode(b"user:" + value.encode()).decode())
print("url", urllib.parse.quote(value, safe=""))
print("json", json.dumps({"password": value}))
print("hex", value.encode().hex())
print("x" * (1024 * 1024 - 5) + value)
print(len(value), sorted(name for name in os.environ if "PASSWORD" in name or "OTHER" in name))
"""


def cronium(serving: Serving, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    env = environment(CRONIUM_URL=serving.url, CRONIUM_TOKEN=serving.token)
    return subprocess.run(
        [CRONIUM, *args], env=env, input=stdin, cwd=serving.data_dir.parent, text=True, capture_output=True, timeout=60
    )


def put(serving: Serving, name: str, value: str) -> None:
    done = cronium(serving, "secrets", "set", name, stdin=f"{value}\n")
    assert done.returncode == 0, done.stderr
    assert value not in done.stdout + done.stderr


def holds(directory: Path, value: str) -> list[str]:
    """The files below a directory that hold a value."""
    return [str(path) for path in directory.rglob("*") if path.is_file() and value.encode() in path.read_bytes()]


def test_a_secret_is_given_to_the_job_that_names_it_and_is_nowhere_to_be_seen(serving):
    put(serving, "db-password", VALUE)
    put(serving, "OTHER_KEY", "not-for-this-job")
    job_id = serving.submit(python=PRINTING, secrets=[{"name": "db-password", "as": "PGPASSWORD"}])
    job = serving.wait(job_id)
    assert job["status"] == "succeeded", serving.lines(job_id)

    lines = serving.lines(job_id)
    text = "\n".join(line["text"] for line in lines)
    assert VALUE not in text
    assert VALUE.encode().hex() not in text
    assert f"{len(VALUE)} ['PGPASSWORD']" in text
    assert text.count("***") >= 6
    assert lines[-1]["text"].endswith("printed the secret db-password; the log shows *** instead.")
    said = [
        serving.job(job_id),
        serving.call("GET", f"/api/v3/jobs/{job_id}/journal"),
        serving.call("GET", "/api/v3/secrets"),
        cronium(serving, "secrets", "list", "--json").stdout,
        cronium(serving, "why", job_id).stdout,
        cronium(serving, "jobs", "show", job_id).stdout,
        serving.log(),
    ]
    assert VALUE not in json.dumps(said, ensure_ascii=False, default=str).replace('\\"', '"')
    # Of a database of another server there is nothing in the data directory, nor is there of this one.
    assert holds(serving.data_dir, VALUE) == []


def test_a_job_without_its_secret_fails_before_it_starts_and_says_what_to_do(serving):
    job = serving.wait(serving.submit(bash="echo started", secrets=["NO_SUCH_KEY"]))
    assert (job["status"], job["reason"]) == ("failed", "invalid")
    assert "cronium secrets set NO_SUCH_KEY" in job["message"]
    assert job["started_at"] is None


def test_after_a_kill_the_value_that_the_attempt_was_given_is_still_masked(serving, tmp_path):
    put(serving, "API_KEY", VALUE)
    go = tmp_path / "go"
    script = f'echo ready; while [ ! -e {go} ]; do sleep 0.05; done; echo "$API_KEY {NEXT}"'
    job_id = serving.submit(bash=script, secrets=["API_KEY"])
    eventually(lambda: "ready" in serving.text(job_id), "the script to run")
    put(serving, "API_KEY", NEXT)
    serving.kill()
    go.touch()
    serving.start()
    assert serving.wait(job_id)["status"] == "succeeded"
    assert serving.text(job_id)[-1] == f"*** {NEXT}"


def test_a_server_whose_key_is_gone_starts_says_which_and_goes_on_when_it_is_back(serving):
    put(serving, "API_KEY", VALUE)
    serving.stop()
    key = serving.data_dir / "secret.key"
    kept = key.with_suffix(".kept")
    key.rename(kept)
    serving.start()
    assert "the key of stored secrets is not here" in serving.log()
    job = serving.wait(serving.submit(bash='echo "$API_KEY"', secrets=["API_KEY"]))
    assert job["reason"] == "invalid"
    assert "need the key" in job["message"]
    assert cronium(serving, "secrets", "set", "API_KEY", stdin=NEXT).returncode == 1
    kept.replace(key)
    job_id = serving.submit(bash='test "${#API_KEY}" = ' + str(len(VALUE)), secrets=["API_KEY"])
    assert serving.wait(job_id)["status"] == "succeeded"


def test_the_key_is_rotated_while_jobs_run(serving):
    if serving.env.get("CRONIUM_MODE") == "distributed":
        done = cronium(serving, "secrets", "rotate-key")  # the other servers would not have the key
        put(serving, "API_KEY", VALUE)
        assert cronium(serving, "secrets", "rotate-key").returncode == 2, done.stderr
        return
    put(serving, "API_KEY", VALUE)
    done = cronium(serving, "secrets", "rotate-key", "--forget-old", "--json")
    assert json.loads(done.stdout)["rewrapped"] >= 1
    job = serving.wait(serving.submit(bash='test -n "$API_KEY"', secrets=["API_KEY"]))
    assert job["status"] == "succeeded"


def test_values_come_from_a_file_or_stdin_and_never_from_the_command_line(serving, tmp_path):
    file = tmp_path / "key.pem"
    file.write_text("-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----\n")
    assert cronium(serving, "secrets", "set", "PEM", "--from-file", str(file)).returncode == 0
    length = len(file.read_text())
    job = serving.wait(serving.submit(bash=f'test "${{#PEM}}" = {length}', secrets=["PEM"]))
    assert job["status"] == "succeeded"
    assert cronium(serving, "secrets", "set", "PEM", "a-value").returncode == 2
    refused = cronium(serving, "secrets", "set", "PEM", stdin="true")
    assert refused.returncode == 2
    assert "value" in refused.stderr
    assert cronium(serving, "secrets", "delete", "PEM").returncode == 0
    assert "PEM" not in cronium(serving, "secrets", "list").stdout


def test_a_key_that_is_too_weak_is_refused_at_the_start_with_the_command_that_makes_one(tmp_path):
    done = subprocess.run(
        [CRONIUM, "serve", "--port", "0", "--data-dir", tmp_path / "data"],
        env=environment(CRONIUM_ENCRYPTION_KEY="hunter-22"), text=True, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "openssl rand -base64 32" in done.stderr
    assert "hunter" not in done.stdout + done.stderr
