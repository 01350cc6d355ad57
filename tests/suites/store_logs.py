"""Lines and their cursors."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.errors import ConflictError
from orchestrator.model.jobs import (
    JobId,
    LogTotals,
)
from orchestrator.model.logs import MAX_LINE_BYTES, Cursor, Line, Position, Stream
from tests.suites.store_making import (
    LEASE,
    ODD_TEXT,
    StoreOpening,
    claim_all,
    claim_one,
    get,
    insert,
    make_job,
    make_lines,
)


class LogSuite(StoreOpening):
    """Lines and their cursors."""

    async def test_lines_come_back_as_they_were(self, store, clock):
        claim = await claim_one(store, clock)
        lines = [
            Line(
                seq=seq,
                at=clock.now() + timedelta(microseconds=(seq * 7919) % 1000 - 500),  # times may go back
                stream=list(Stream)[seq % 3],
                text=["", ODD_TEXT, f"line {seq}", "\r", " "][seq % 5],
                attempt=1 + seq // 11_000,
                continued=seq % 4 == 0,
            )
            for seq in range(1, 20_001)
        ]
        cursor = Cursor(stdout=Position(bytes=2**40, newlines=3, tail=1), stderr=Position(bytes=4, newlines=1))
        async with store.begin() as repos:
            await repos.logs.append(claim, lines[:7], Cursor())
            await repos.logs.append(claim, lines[7:], cursor)
        async with store.read() as repos:
            assert await repos.logs.read(claim.job.id, after=0, limit=20_000) == lines
            assert await repos.logs.cursor(claim.job.id) == (20_000, cursor)
            for after, limit in [(0, 1), (0, 7), (6, 2), (4095, 4), (12_345, 5000), (19_999, 9), (20_000, 9), (-3, 2)]:
                wanted = lines[max(after, 0) : max(after, 0) + limit]
                assert await repos.logs.read(claim.job.id, after=after, limit=limit) == wanted
        totals = (await get(store, claim.job.id)).log
        assert totals == LogTotals(lines=20_000, bytes=sum(len(line.text.encode()) for line in lines))

    async def test_lines_of_a_mebibyte_come_back(self, store, clock):
        claim = await claim_one(store, clock)
        texts = ["x" * MAX_LINE_BYTES, "é" * (MAX_LINE_BYTES // 2), "\0" * 100_000, "short"]
        lines = make_lines(clock, 1, texts)
        async with store.begin() as repos:
            await repos.logs.append(claim, lines, Cursor())
        async with store.read() as repos:
            assert await repos.logs.read(claim.job.id, after=0, limit=10) == lines
            assert await repos.logs.read(claim.job.id, after=2, limit=1) == lines[2:3]

    async def test_a_lone_surrogate_in_a_line_does_not_lose_the_line(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.logs.append(claim, make_lines(clock, 1, ["a\ud800b", "c"]), Cursor())
            stored = await repos.logs.read(claim.job.id, after=0, limit=10)
        assert [line.text for line in stored] == ["a\N{REPLACEMENT CHARACTER}b", "c"]

    async def test_a_gap_in_the_numbers_is_refused(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.logs.append(claim, make_lines(clock, 1, ["a", "b"]), Cursor())
        lines = make_lines(clock, 3, ["c", "d", "e"])
        for wrong in (make_lines(clock, 2, ["b"]), make_lines(clock, 4, ["d"]), [lines[0], lines[2]], lines[::-1]):
            with pytest.raises(ConflictError):
                async with store.begin() as repos:
                    await repos.logs.append(claim, wrong, Cursor(stdout=Position(bytes=9)))
        async with store.read() as repos:
            assert await repos.logs.cursor(claim.job.id) == (2, Cursor())
            assert len(await repos.logs.read(claim.job.id, after=0, limit=10)) == 2

    async def test_omitted_lines_are_counted_also_without_lines(self, store, clock):
        claim = await claim_one(store, clock)
        cursor = Cursor(stderr=Position(bytes=5, newlines=0, tail=5))
        async with store.begin() as repos:
            await repos.logs.append(claim, [], cursor, omitted=3)
            await repos.logs.append(claim, make_lines(clock, 1, ["a"]), cursor, omitted=4)
            assert await repos.logs.cursor(claim.job.id) == (1, cursor)
            assert (await repos.jobs.get(claim.job.id)).log == LogTotals(lines=1, bytes=1, omitted_lines=7)

    async def test_another_attempt_goes_on_numbering_with_a_cursor_of_its_own(self, store, clock):
        claim = await claim_one(store, clock)
        async with store.begin() as repos:
            await repos.logs.append(claim, make_lines(clock, 1, ["a"]), Cursor(stdout=Position(bytes=2, newlines=1)))
            await repos.jobs.release(claim)
        [again] = await claim_all(store)
        async with store.begin() as repos:
            assert await repos.logs.cursor(again.job.id) == (1, Cursor())
            await repos.logs.append(again, make_lines(clock, 2, ["b"], attempt=2), Cursor())
            stored = await repos.logs.read(again.job.id, after=0, limit=10)
        assert [(line.seq, line.text, line.attempt) for line in stored] == [(1, "a", 1), (2, "b", 2)]

    async def test_an_adopter_goes_on_at_the_stored_cursor(self, store, clock):
        claim = await claim_one(store, clock)
        cursor = Cursor(stdout=Position(bytes=2, newlines=1))
        async with store.begin() as repos:
            await repos.logs.append(claim, make_lines(clock, 1, ["a"]), cursor)
            await repos.jobs.adopt("two", "main", lease=LEASE, alone=True)
            assert await repos.logs.cursor(claim.job.id) == (1, cursor)

    async def test_a_job_without_lines_reads_as_empty(self, store, clock):
        job = make_job(clock)
        await insert(store, job)
        async with store.read() as repos:
            assert await repos.logs.cursor(job.id) == (0, Cursor())
            assert await repos.logs.read(job.id, after=0, limit=10) == []
            assert await repos.logs.read(JobId("job_nowhere"), after=0, limit=10) == []
