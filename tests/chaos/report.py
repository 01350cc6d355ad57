"""What a chaos run was asked for, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.chaos.check import Score
from tests.chaos.clients import Ledger
from tests.chaos.faults import Tormentor

PROBLEMS_SHOWN = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to do; the same options are the same run."""

    seed: int
    kills: int
    seconds: float
    store: str = "sqlite"
    executor: str = "process"
    keep: bool = False

    def __str__(self) -> str:
        return (
            f"--seed {self.seed} --kills {self.kills} --seconds {self.seconds:g} --store {self.store} "
            f"--executor {self.executor}"
        )


@dataclass(slots=True, kw_only=True)
class Report:
    """What came of it."""

    options: Options
    score: Score
    ledger: Ledger
    tormentor: Tormentor
    seconds: float
    killing: float
    tombstones: int
    starts: int
    kinds: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        tormentor, ledger = self.tormentor, self.ledger
        waits = sorted(tormentor.restart_seconds) or [0.0]
        kills = tormentor.done.total()
        first = f"{self.seconds:.0f} s, {self.killing / max(1, kills):.2f} a kill · {kills} kills ({_listed(tormentor.done)})"
        second = f"{len(ledger.submitted)} jobs ({_listed(self.kinds)}) · {self.starts} starts of scripts, {self.score.given_back} given back"
        third = f"answers lost {ledger.lost_answers}, of these jobs found again {ledger.found_again}"
        fourth = f"ready again p50 {waits[len(waits) // 2]:.2f} s, max {waits[-1]:.2f} s"
        fifth = f"starts refused for a backend {tormentor.refused_starts} · tombstones kept {self.tombstones}"
        sixth = f"died at {len(tormentor.points)} points: {_listed(tormentor.points)}"
        if tormentor.passed_by:
            sixth += f" · did not come to: {_listed(tormentor.passed_by)}"
        text = [first, sixth, f"{second} · {self.score.lines} lines", f"{third} · {fourth} · {fifth}", str(self.score)]
        return "\n".join(text + self._verdict())

    def _verdict(self) -> list[str]:
        """What follows from it: a bound, or what was wrong and how to see it again."""
        kills = self.tormentor.done.total()
        if self.score.clean:
            return [f"no loss in {kills} kills: at 95 % confidence fewer than {bound(kills)} of kills lose something"]
        again = f"again: .venv/bin/python -m tests.chaos.run {self.options} --keep"
        return [*self.score.problems[:PROBLEMS_SHOWN], f"{len(self.score.problems)} problems", again]


def _listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(numbers.items()))


def bound(trials: int) -> str:
    """The rule of three: what `trials` without a failure say of the rate of failures."""
    return f"{300 / trials:.2g} %" if trials else "100 %"
