"""Jobs that print as fast as they can: bounded memory and disk, exact counts, and everybody else's lines go on."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.executors.process import spool
from tests.e2e.serving import FINAL, Serving, eventually

pytestmark = pytest.mark.torture
GROWTH_MEGABYTES = 100
# One more than there can be: between two looks at a directory one may be freed and another begun.
SPOOL_BYTES = (spool.MAX_SEGMENTS + 1) * (spool.SEGMENT_BYTES + 2 * spool.MAX_FRAME_BYTES)
MANY = 60_000_000  # lines, about 500 MB: many times what a spool may hold
NUMBERED = "exec timeout -s TERM {seconds} seq 1000000000000"
UNBROKEN = "exec timeout -s TERM {seconds} cat /dev/zero"
LEFT_OUT = re.compile(r"Log limit reached: (\d+) lines were left out here; the last (\d+) follow\.")


def rss_megabytes(serving: Serving) -> float:
    status = Path(f"/proc/{serving.process_id}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def spooled(serving: Serving) -> int:
    """How much output lies on the disk."""
    total = 0
    for path in (serving.data_dir / "spool").glob("*/output*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # freed just now
    return total


def seen_to_end(serving: Serving, job_id: str, look: Callable[[], None]) -> dict[str, Any]:
    """The job when it is final; `look` is called until then."""

    def ended() -> dict[str, Any] | None:
        look()
        job = serving.job(job_id)
        return job if job["status"] in FINAL else None

    return dict(eventually(ended, "the flood to end", within=100))


def begun(serving: Serving, job_id: str) -> None:
    """Wait until the head is full: from then on lines are left out."""
    eventually(lambda: serving.job(job_id)["log"]["omitted_lines"] > 0, "lines to be left out")


def assert_counted(serving: Serving, job_id: str) -> None:
    """Head, tail and count of a job that printed 1, 2, 3, ...: together they are every line once."""
    log = serving.job(job_id)["log"]
    lines = serving.lines(job_id)
    assert [line["seq"] for line in lines] == list(range(1, log["lines"] + 1))
    notes = [at for at, line in enumerate(lines) if line["stream"] == "system"]
    assert len(notes) == 1, [lines[at] for at in notes]
    match = LEFT_OUT.fullmatch(lines[notes[0]]["text"])
    assert match, lines[notes[0]]
    omitted, kept = map(int, match.groups())
    head = [line["text"] for line in lines[: notes[0]]]
    tail = [line["text"] for line in lines[notes[0] + 1 :]]
    assert omitted == log["omitted_lines"]
    assert head == [str(number) for number in range(1, len(head) + 1)]
    first = len(head) + omitted + 1
    # The last line may have been cut by the signal that ended the script.
    assert tail[:-1] == [str(number) for number in range(first, first + kept - 1)]
    assert str(first + kept - 1).startswith(tail[-1])


@pytest.fixture
def limited(serving: Serving) -> Serving:
    """A server that keeps little of a log, so that most of a flood is left out."""
    serving.stop()
    serving.env |= {"CRONIUM_LOG_MAX_LINES": "50000", "CRONIUM_LOG_MAX_BYTES": "5000000"}
    serving.start()
    return serving


@pytest.mark.parametrize("script", [NUMBERED, UNBROKEN], ids=["lines", "no newline"])
def test_a_flood_ends_counted_in_bounded_memory_and_others_go_on(limited: Serving, executor: str, script: str):
    serving = limited
    serving.wait(serving.submit(shell="echo warm", executor=executor))
    before = rss_megabytes(serving)
    flood = serving.submit(shell=script.format(seconds=5), executor=executor)
    eventually(lambda: serving.job(flood)["log"]["lines"] > 0, "the flood to begin")

    other = serving.submit(shell="echo out; echo err >&2", executor=executor)
    most = {"rss": 0.0, "spool": 0}

    def look() -> None:
        most["rss"] = max(most["rss"], rss_megabytes(serving) - before)
        most["spool"] = max(most["spool"], spooled(serving))

    job = seen_to_end(serving, flood, look)

    assert serving.wait(other)["status"] == "succeeded"
    assert (serving.text(other), serving.text(other, "stderr")) == (["out"], ["err"])
    assert job["exit_code"] == 124
    assert most["rss"] < GROWTH_MEGABYTES
    assert most["spool"] <= SPOOL_BYTES
    if script == NUMBERED:
        assert_counted(serving, flood)
    else:
        assert set("".join(serving.text(flood))) == {"\0"}
        assert job["log"]["omitted_lines"] > 0


def test_a_job_that_is_submitted_during_a_flood_ends_during_it(limited: Serving, executor: str):
    flood = limited.submit(shell="exec seq 1000000000000", executor=executor)
    begun(limited, flood)

    other = limited.submit(shell="echo out", executor=executor)

    assert limited.wait(other)["status"] == "succeeded"
    assert limited.text(other) == ["out"]
    assert limited.job(flood)["status"] == "running"
    limited.call("POST", f"/api/v3/jobs/{flood}/cancel")
    assert limited.wait(flood)["status"] == "cancelled"
    assert_counted(limited, flood)


def test_a_flood_is_counted_exactly_over_two_kills_of_the_server(limited: Serving):
    flood = limited.submit(shell=f"exec seq {MANY}", executor="process")
    for _ in range(2):
        counted = limited.job(flood)["log"]["omitted_lines"]
        eventually(lambda counted=counted: limited.job(flood)["log"]["omitted_lines"] > counted, "more to be left out")
        limited.kill()
        limited.start()

    job = limited.wait(flood)

    assert (job["exit_code"], job["attempt"]) == (0, 1)
    assert_counted(limited, flood)
    assert limited.text(flood)[-1] == str(MANY)


def test_while_there_is_no_server_the_script_waits_for_one(limited: Serving):
    flood = limited.submit(shell=f"exec seq {MANY}", executor="process")
    begun(limited, flood)
    limited.kill()
    directory = str(limited.data_dir / "spool" / f"cronium-{flood}-1")

    eventually(lambda: len(spool.segments(directory)) == spool.MAX_SEGMENTS, "the spool to be full")
    assert spooled(limited) <= SPOOL_BYTES

    limited.start()
    assert limited.wait(flood)["exit_code"] == 0
    assert_counted(limited, flood)
    assert limited.text(flood)[-1] == str(MANY)


def test_a_line_that_never_ends_does_not_stop_a_flood_of_the_other_stream(limited: Serving):
    """What is behind the unfinished line could not be freed, and the script would wait for ever."""
    script = "printf 'name: ' >&2; seq 15000000; echo Ada >&2"
    flood = limited.submit(shell=script, executor="process")

    assert limited.wait(flood)["status"] == "succeeded"
    assert limited.text(flood, "stderr")[-1].endswith("Ada")
    assert limited.text(flood)[-1] == "15000000"
