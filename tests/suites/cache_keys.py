"""What every cache promises about keys."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.contracts.cache import Keys, literally
from orchestrator.errors import InvalidError
from tests.suites.cache_opening import MINUTE, SOON, CacheOpening

ODD_KEYS = [
    "a",
    "ab",
    "a*b",
    "a?b",
    "a[b]c",
    "a\\b",
    "é",
    "aéb",
    "",
    "A",
    "a\nb",
    "\0",
    "a-c",
    "]",
    "^",
    "b",
    "\U0001f600",
]


async def all_keys(keys: Keys, pattern: str = "*", *, limit: int = 100) -> set[str]:
    """The union of the pages."""
    page = await keys.page(pattern, limit=limit)
    found = set(page.keys)
    while page.next_cursor is not None:
        page = await keys.page(pattern, cursor=page.next_cursor, limit=limit)
        found |= set(page.keys)
    return found


class KeySuite(CacheOpening):
    """Keys of every kind."""

    @pytest.mark.parametrize(
        ("pattern", "matching"),
        [
            ("*", ODD_KEYS),
            ("", [""]),
            ("a", ["a"]),
            ("a*", ["a", "ab", "a*b", "a?b", "a[b]c", "a\\b", "aéb", "a\nb", "a-c"]),
            ("**b", ["ab", "a*b", "a?b", "a\\b", "aéb", "a\nb", "b"]),
            ("a?b", ["a*b", "a?b", "a\\b", "aéb", "a\nb"]),
            ("?", ["a", "é", "A", "\0", "]", "^", "b", "\U0001f600"]),
            (r"a\*b", ["a*b"]),
            (r"a\?b", ["a?b"]),
            (r"a\[b\]c", ["a[b]c"]),
            (r"a\\b", ["a\\b"]),
            (r"\a", ["a"]),
            ("a[*?]b", ["a*b", "a?b"]),
            ("a[^*?]b", ["a\\b", "aéb", "a\nb"]),
            ("[a-b]", ["a", "b"]),
            ("[b-a]", ["a", "b"]),
            ("[^a-z]", ["é", "A", "\0", "]", "^", "\U0001f600"]),
            (r"[\]]", ["]"]),
            (r"[\^a]", ["^", "a"]),
            ("[à-ÿ]", ["é"]),
            ("a[b-]*", ["ab", "a-c"]),
            ("a[-]c", ["a-c"]),
            ("[]", []),
            ("*]*", ["a[b]c", "]"]),
        ],
    )
    async def test_a_pattern_matches(self, cache, pattern, matching):
        """M30: escapes and classes, in characters and not in bytes."""
        for key in ODD_KEYS:
            await cache.set(key, 1, ttl=MINUTE)
        assert await all_keys(cache.keys, pattern) == set(matching)

    async def test_a_literal_pattern_matches_only_itself(self, cache):
        for key in ODD_KEYS:
            await cache.set(key, 1, ttl=MINUTE)
        for key in ODD_KEYS:
            assert await all_keys(cache.keys, literally(key)) == {key}

    @pytest.mark.parametrize("pattern", ["[", "a[", "a[b", "[^", "[a-", "\\", "a\\", "[\\", "\ud800"])
    async def test_an_unfinished_pattern_is_refused(self, cache, pattern):
        with pytest.raises(InvalidError):
            await cache.keys.page(pattern)
        with pytest.raises(InvalidError):
            async with cache.bus.subscribe(pattern):
                pytest.fail("the pattern was taken")

    async def test_pages_together_hold_every_key_while_others_are_written(self, cache):
        """M30: 5,000 keys."""
        wanted = {f"job:{number}:[log]" for number in range(5_000)}
        for key in wanted:
            await cache.set(key, 1, ttl=MINUTE)
        found: set[str] = set()
        cursor, written = None, 0
        while True:
            page = await cache.keys.page(r"job:*:\[log\]", cursor=cursor, limit=250)
            found |= set(page.keys)
            cursor = page.next_cursor
            if cursor is None:
                break
            for _ in range(20):
                written += 1
                await cache.set(f"other:{written}", 1, ttl=MINUTE)
                await cache.delete(f"other:{written - 15}")
        assert found == wanted
        assert written > 100

    async def test_a_page_can_be_small(self, cache):
        for number in range(25):
            await cache.set(str(number), 1, ttl=MINUTE)
        assert await all_keys(cache.keys, limit=1) == {str(number) for number in range(25)}

    async def test_keys_of_every_kind_are_there_and_locks_are_not(self, cache):
        await cache.set("value", 1, ttl=MINUTE)
        await cache.counters.increment("counter", ttl=MINUTE)
        await cache.hashes.set("hash", {"f": 1}, ttl=MINUTE)
        await cache.lists.append("list", 1, ttl=MINUTE)
        assert await cache.locks.acquire("lock", ttl=MINUTE)
        assert await all_keys(cache.keys) == {"value", "counter", "hash", "list"}

    async def test_what_has_expired_is_no_key(self, cache, clock):
        """M25"""
        await cache.set("value", 1, ttl=SOON)
        await cache.hashes.set("hash", {"f": 1}, ttl=SOON)
        await cache.lists.append("list", 1, ttl=SOON)
        await cache.counters.increment("counter", ttl=SOON)
        await cache.set("lasting", 1, ttl=MINUTE)
        await self.pass_time(clock, SOON)
        assert await all_keys(cache.keys) == {"lasting"}
        assert await cache.keys.remaining("hash") is None
        assert not await cache.keys.expire("list", MINUTE)
        assert await cache.keys.delete("value", "counter", "lasting") == 1

    async def test_a_cursor_that_no_page_gave_is_refused(self, cache):
        for cursor in ("", "x", "-1", str(2**64)):
            with pytest.raises(InvalidError):
                await cache.keys.page(cursor=cursor)

    async def test_a_page_of_nothing_is_refused(self, cache):
        with pytest.raises(InvalidError):
            await cache.keys.page(limit=0)

    async def test_the_time_left_is_told_and_changed(self, cache, clock):
        await cache.hashes.set("k", {"f": 1}, ttl=timedelta(seconds=10))
        assert timedelta(seconds=5) < await cache.keys.remaining("k") <= timedelta(seconds=10)
        assert await cache.keys.expire("k", MINUTE)
        assert await cache.keys.remaining("k") > timedelta(seconds=50)
        assert await cache.keys.expire("k", SOON)
        await self.pass_time(clock, SOON)
        assert await cache.hashes.all("k") == {}
        assert await cache.keys.remaining("k") is None
        assert not await cache.keys.expire("k", MINUTE)

    async def test_no_time_left_means_to_forget(self, cache):
        for ttl in (timedelta(), timedelta(days=-1)):
            await cache.set("k", 1, ttl=MINUTE)
            assert await cache.keys.expire("k", ttl)
            assert await cache.get("k") is None
            assert not await cache.keys.expire("k", ttl)
