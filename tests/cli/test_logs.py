"""`cronium logs`, `cronium watch`: what scripts wrote, where it belongs, each line once."""

from __future__ import annotations

import asyncio
import json

import pytest

from orchestrator.cli.address import parse_url
from orchestrator.cli.client import Client
from orchestrator.cli.follow import follow
from orchestrator.errors import NotFoundError, UnavailableError
from orchestrator.model.documents import line_document
from orchestrator.model.jobs import JobStatus, Reason
from tests.cli.fake_server import CUT, TOKEN, failed, make_job, make_lines, message, open_fake_server, running

JOB = make_job().id
MIXED = make_lines("one", ("stderr", "two"), ("system", "three"), "four", ("stderr", "five"))


async def test_each_stream_goes_where_it_belongs(cronium, server):
    server.add(make_job(), MIXED)
    answer = await cronium("logs", JOB)
    assert (answer.code, answer.out, answer.err) == (0, "one\nfour\n", "two\ncronium: three\nfive\n")


async def test_both_streams_on_one_pipe_keep_their_order(cronium, server):
    server.add(make_job(), MIXED)
    process = await cronium.start("logs", JOB, stderr=asyncio.subprocess.STDOUT)
    out, _ = await process.communicate()
    assert out == b"one\ntwo\ncronium: three\nfour\nfive\n"


async def test_what_a_script_wrote_is_not_changed(cronium, server):
    texts = [
        "\x1b[31mred\x1b[0m",
        "[bold]no markup[/bold]",
        "tab\tnul\0bell\a",
        "ü 日本 👩‍💻 \ufffd",
        "",
        "\r50%\r99%",
        " x ",
    ]
    server.add(make_job(), make_lines(*texts))
    answer = await cronium("logs", JOB)
    assert answer.out == "".join(f"{text}\n" for text in texts)
    cronium.env.update(LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert (await cronium("logs", JOB)).out == answer.out


async def test_lines_come_page_by_page_without_gap(cronium, server):
    server.page_size = 1000
    texts = [f"line {number}" for number in range(1, 10_501)]
    server.add(make_job(), make_lines(*texts))
    answer = await cronium("logs", JOB)
    assert answer.out.splitlines() == texts
    assert len(server.asked) == 11


@pytest.mark.parametrize(
    ("args", "out"),
    [
        (["--after", "3"], "four\n"),
        (["--tail", "2"], "four\n"),
        (["-n", "0"], ""),
        (["-n", "100", "--stream", "stdout"], "one\nfour\n"),
        (["--timestamps", "--after", "3"], "2026-05-04T10:30:00.000000Z four\n"),
    ],
)
async def test_where_it_begins_and_what_is_shown_can_be_said(cronium, server, args, out):
    server.add(make_job(), MIXED)
    assert (await cronium("logs", JOB, *args)).out == out
    assert (await cronium("logs", "last", "-f", *args)).out == out


async def test_one_stream_is_free_of_the_others(cronium, server):
    server.add(make_job(), MIXED)
    answer = await cronium("logs", JOB, "--stream", "stderr")
    assert (answer.out, answer.err) == ("", "two\nfive\n")


async def test_lines_as_json_are_those_of_the_server(cronium, server):
    server.add(make_job(), MIXED)
    for follow_it in ([], ["-f"]):
        answer = await cronium("logs", JOB, "--json", *follow_it)
        assert [json.loads(line) for line in answer.out.splitlines()] == [line_document(line) for line in MIXED]


async def test_the_pieces_of_a_long_line_are_one_line_again(cronium, server):
    pieces = [line_document(line) for line in make_lines("aaa", ("stderr", "between"), "bbb", "ccc")]
    pieces[0]["continued"] = pieces[2]["continued"] = True
    server.add(make_job())
    server.plays = [[{"type": "lines", "lines": pieces}, message("end", job=make_job())]] * 2
    assert (await cronium("logs", "-f", JOB)).out == "aaabbbccc\n"
    assert (await cronium("logs", "-f", JOB, "--timestamps")).out == "2026-05-04T10:30:00.000000Z aaabbbccc\n"


async def test_the_log_of_a_failed_job_is_no_failure(cronium, server):
    server.add(failed(code=9), MIXED)
    assert (await cronium("logs", "-f", JOB)).code == 0


async def test_watching_shows_state_lines_and_end(cronium, server):
    job = server.add(failed(code=3, message="The script exited with 3."), MIXED)
    queued = make_job(status=JobStatus.QUEUED)
    server.plays = [
        [
            message("status", job=queued),
            message("status", job=running(job)),
            message("lines", lines=MIXED[:2]),
            message("status", job=running(job)),
            message("news", of="a later version"),
            message("lines", lines=MIXED[2:]),
            message("end", job=job),
        ]
    ]
    answer = await cronium("watch", JOB)
    assert (answer.code, answer.out) == (3, "one\nfour\n")
    assert answer.err.splitlines() == [
        f"cronium: {JOB} queued",
        f"cronium: {JOB} running",
        "two",
        "cronium: three",
        "five",
        f"cronium: {JOB} failed in 2.0s: The script exited with 3.",
    ]


@pytest.mark.parametrize(
    ("job", "code"),
    [
        (make_job(), 0),
        (failed(code=3), 3),
        (failed(code=137), 137),
        (failed(code=None), 1),
        (failed(code=0), 1),
        (make_job(status=JobStatus.TIMED_OUT, reason=Reason.TIMEOUT, exit_code=143), 124),
        (make_job(status=JobStatus.TIMED_OUT, reason=Reason.TIMEOUT, exit_code=None), 124),
        (make_job(status=JobStatus.CANCELLED, reason=Reason.CANCELLED, exit_code=143), 143),
        (make_job(status=JobStatus.CANCELLED, reason=Reason.CANCELLED, exit_code=None), 1),
        (make_job(status=JobStatus.SKIPPED, exit_code=None), 1),
    ],
    ids=lambda value: f"{value.status}-{value.exit_code}" if not isinstance(value, int) else str(value),
)
async def test_watching_exits_as_the_script_did(cronium, server, job, code):
    server.add(job)
    assert (await cronium("watch", job.id)).code == code


async def test_watching_as_json_passes_each_message_on(cronium, server):
    job = server.add(failed(code=3), MIXED)
    server.plays = [[message("status", job=running(job)), message("lines", lines=MIXED), message("end", job=job)]]
    told = list(server.plays[0])
    answer = await cronium("watch", JOB, "--json")
    assert (answer.code, answer.err) == (3, "")
    assert [json.loads(line) for line in answer.out.splitlines()] == told


async def test_a_connection_that_is_cut_is_opened_again_after_the_last_line(cronium, server):
    job = server.add(make_job(), MIXED)
    start = message("status", job=running(job))
    server.plays = [
        [start, message("lines", lines=MIXED[:2]), CUT],
        [start, message("lines", lines=MIXED[1:3])],  # ends as a draining server does, and repeats a line
        [start, message("lines", lines=MIXED[3:]), message("end", job=job)],
    ]
    answer = await cronium("watch", JOB)
    assert (answer.code, answer.out) == (0, "one\nfour\n")
    assert answer.err.count("running") == 1
    assert answer.err.count("two") == 1
    assert [path.partition("?")[2] for _, path in server.asked] == [f"after={n}&follow=1" for n in (0, 2, 3)]


async def test_a_server_that_starts_again_is_found_again(tmp_path):
    """Also at another address: the one it was found at first is gone."""
    job, seen = make_job(), []
    async with open_fake_server() as first, open_fake_server() as second:
        first.add(job, MIXED)
        second.add(job, MIXED)
        first.plays = [[message("status", job=running(job)), message("lines", lines=MIXED[:3]), CUT]]
        urls = [first.url, "http://127.0.0.1:1", "http://127.0.0.1:1", second.url]

        def open_next() -> Client:
            return _client(urls.pop(0))

        def read() -> None:
            seen.extend(follow(open_next, job.id))

        await asyncio.to_thread(read)
    assert [line.seq for part in seen for line in part.lines] == [1, 2, 3, 4, 5]
    assert [part.kind for part in seen] == ["status", "lines", "lines", "end"]


async def test_a_server_that_stays_away_is_given_up(capsys):
    job = make_job()
    async with open_fake_server() as server:
        server.add(job, MIXED)
        server.plays = [[message("status", job=running(job)), message("lines", lines=MIXED[:3]), CUT]]
        urls = [server.url]

        def read() -> None:
            for _ in follow(
                lambda: _client(urls.pop() if urls else "http://127.0.0.1:1"), job.id, patience_seconds=0.0
            ):
                pass

        with pytest.raises(UnavailableError, match=f"cronium logs -f {job.id} --after 3") as caught:
            await asyncio.to_thread(read)
    assert caught.value.code == "server_unreachable"
    assert capsys.readouterr().err == "cronium: the server is away, trying again\n"


async def test_a_server_that_says_nothing_is_given_up(capsys):
    job = make_job()
    async with open_fake_server() as server:
        server.add(job)
        server.plays = [[message("status", job=running(job))], [], []]
        with pytest.raises(UnavailableError, match="says nothing"):
            await asyncio.to_thread(lambda: list(follow(lambda: _client(server.url), job.id, patience_seconds=0.0)))


async def test_a_job_that_is_not_there_is_not_waited_for(server):
    with pytest.raises(NotFoundError):
        await asyncio.to_thread(lambda: list(follow(lambda: _client(server.url), JOB)))


def _client(url: str) -> Client:
    return Client(address=parse_url(url, source="the test", token=TOKEN))
