"""The commands against a server, in each mode: what a user types and sees is the same."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.serving import Serving, eventually


def cronium(server: Serving, *args: str) -> tuple[int, str, str]:
    """A command that ends by itself: exit code, stdout, stderr."""
    process = server.cronium(*args)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def write(server: Serving, name: str, text: str) -> str:
    """A file beside the server's data, which is where the commands are started."""
    (server.data_dir.parent / name).write_text(text)
    return name


def test_submitting_follows_the_job_and_ends_with_its_exit_code(shared: Serving):
    """M12: output on stdout and stderr as the script wrote it."""
    script = write(shared, "both.sh", "echo out\necho err >&2\nexit 6\n")

    code, out, err = cronium(shared, "submit", script)

    assert (code, out) == (6, "out\n")
    assert "err\n" in err


def test_a_job_is_listed_shown_and_read_again(shared: Serving):
    """M12: by its id, after it has ended."""
    script = write(shared, "answer.py", "import cronium\nprint('said')\ncronium.output({'n': cronium.input()})\n")
    code, out, err = cronium(shared, "submit", script, "--detach", "--input", "41")
    assert code == 0, err
    job_id = out.strip()

    assert cronium(shared, "watch", job_id)[:2] == (0, "said\n")
    assert cronium(shared, "logs", job_id)[:2] == (0, "said\n")
    shown = json.loads(cronium(shared, "jobs", "show", job_id, "--json")[1])
    assert (shown["id"], shown["status"], shown["output"]) == (job_id, "succeeded", {"n": 41})
    assert job_id in cronium(shared, "jobs", "--json")[1]


def test_a_job_is_cancelled_while_somebody_follows_it(shared: Serving):
    """M12: who follows sees the end of it."""
    script = write(shared, "long.sh", "echo begun\nsleep 1000\n")
    job_id = cronium(shared, "submit", script, "--detach")[1].strip()
    follower = shared.cronium("logs", "-f", job_id)
    assert follower.stdout is not None
    assert follower.stdout.readline() == "begun\n"

    code, _, err = cronium(shared, "cancel", job_id)

    assert code == 0, err
    follower.communicate(timeout=60)
    assert follower.returncode == 0
    assert eventually(lambda: shared.job(job_id)["status"] == "cancelled", "the job to be cancelled")


def test_a_job_that_is_not_there_is_named(shared: Serving):
    """M12: the same words in either mode."""
    code, _, err = cronium(shared, "watch", "job_00000000000000000000000000")

    assert code == 1
    assert "job_00000000000000000000000000" in err


def test_a_bad_specification_is_refused_with_every_fault(shared: Serving, tmp_path: Path):
    """M12: before anything is stored."""
    spec = write(shared, "bad.yaml", "pyhton: x\ntimeout: soon\n")

    code, _, err = cronium(shared, "submit", spec)

    assert code == 2
    assert "pyhton" in err
    assert "timeout" in err
