"""
How fast output is masked: MB/s by number of secrets, for output without and with secrets in it.

`python -m benchmarks.redaction [--megabytes 20]`. Seconds are of the processor: others may use the machine beside it.
"""

from __future__ import annotations

import argparse
import random
import string
import time
from collections.abc import Callable, Iterator

from orchestrator.jobs.redact import Mask, Screen

PART_BYTES = 64 * 1024
LETTERS = string.ascii_letters + string.digits + "!$&/+=-_"
TOKEN = "cra_" + "Zx1-" * 10 + "abc"
COUNTS = (0, 1, 10, 100)
SHARES = (0.0, 0.001, 0.01, 0.1)  # of the lines that hold a secret


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=20)
    megabytes: int = parser.parse_args().megabytes
    random.seed(1)
    print("secrets  made in    lines with one  MB/s, parts  MB/s, as a job's log does")
    for count in COUNTS:
        secrets = {f"S{number}": _secret() for number in range(count)}
        begun = time.process_time()
        mask = Mask([TOKEN], secrets)
        made = time.process_time() - begun
        for share in SHARES:
            data = _output(megabytes, [*secrets.values()] or [TOKEN], share)
            parts = _rate(data, mask.data)
            lines = _rate(data, _by_lines(mask))
            print(f"{count:>7}  {made * 1000:5.1f} ms  {share:>14.1%}  {parts:>11.0f}  {lines:>8.0f}")


def _secret() -> str:
    return "".join(random.choices(LETTERS, k=random.randrange(8, 60)))


def _output(megabytes: int, secrets: list[str], share: float) -> bytes:
    def lines() -> Iterator[str]:
        size = 0
        while size < megabytes * 1_000_000:
            line = f"2026-11-21T10:00:00Z INFO request {random.randrange(10**6)} served in {random.randrange(999)} ms"
            if random.random() < share:
                line += f" {random.choice(secrets)}"
            size += len(line) + 1
            yield line

    return "\n".join(lines()).encode()


def _by_lines(mask: Mask) -> Callable[[bytes], None]:
    """As a job's log does: only the lines in which the screen has seen a secret are masked."""
    screen = Screen(mask)
    at = 0

    def take(part: bytes) -> None:
        nonlocal at
        screen.feed(part)
        for line in part.split(b"\n"):
            end = at + len(line) + 1
            if not screen.is_clean(at, end):
                mask.data(line)
            at = end
        at -= 1

    return take


def _rate(data: bytes, work: Callable[[bytes], object]) -> float:
    begun = time.process_time()
    for begin in range(0, len(data), PART_BYTES):
        work(data[begin : begin + PART_BYTES])
    return len(data) / 1e6 / (time.process_time() - begun)


if __name__ == "__main__":
    main()
