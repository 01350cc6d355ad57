"""Which jobs a chaos run submits, drawn from its seed, and how each must end. Pure."""

from __future__ import annotations

import json
import random
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.chaos.workload import AGAIN

SCRIPT = Path(__file__).with_name("workload.py").read_text()
PIECE = 1024 * 1024
MARK = "CHAOS_RUN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """
    One job as it is to be: `lines` on each stream (None: without end), `batch` of them at once, then `pause` seconds.

    `saves` calls increment a variable. All but the last of `attempts` fail, and are tried again. `cancel_after` and `timeout_seconds` end what would not end by itself.
    Of those with the same `limit` no more than that run at a time; the others wait.
    """

    name: str
    kind: str
    lines: int | None = 3
    batch: int = 1
    pause: float = 0.0
    wide: int = 0
    bare_end: bool = False
    exit_code: int = 0
    signal: int = 0
    saves: int = 0
    family: bool = False
    stubborn: bool = False
    attempts: int = 1
    cancel_after: float | None = None
    timeout_seconds: float | None = None
    limit: int | None = None

    @property
    def ending(self) -> tuple[str, int | None]:
        """The status and the exit code that it must end with; no code where Cronium ends it."""
        if self.cancel_after is not None:
            return "cancelled", None
        if self.timeout_seconds is not None:
            return "timed_out", None
        code = 128 + self.signal if self.signal else self.exit_code
        return ("failed" if code else "succeeded"), code

    @property
    def output(self) -> Any:
        """What the job must have handed in."""
        return {"name": self.name, "count": self.saves} if self.saves else None

    def spec(self, executor: str, run: str, witness: Path | None) -> dict[str, Any]:
        """The job specification. Its environment carries the mark by which leftovers are found."""
        env = {MARK: run}
        if witness is not None:
            env["CHAOS_WITNESS"] = str(witness)
        spec = {
            "python": SCRIPT,
            "name": self.name,
            "executor": executor,
            "args": [json.dumps(asdict(self))],
            "env": env,
        }
        if self.timeout_seconds is not None:
            spec["timeout"] = f"{self.timeout_seconds:g}s"
        if self.limit is not None:
            spec["concurrency"] = {"key": f"chaos-{self.limit}", "limit": self.limit, "when_full": "queue"}
        if self.attempts > 1:
            spec["retry"] = {"attempts": self.attempts + 2, "delay": "200ms", "exit_codes": [AGAIN]}
        return spec


def draw(dice: random.Random, name: str) -> Work:
    """The next job: mostly short ones, and every kind that has its own way of going wrong."""
    [kind] = dice.choices(list(KINDS), weights=[weight for weight, _ in KINDS.values()])
    return Work(name=name, kind=kind, **KINDS[kind][1](dice))


def _short(dice: random.Random) -> dict[str, Any]:
    return {"lines": dice.randint(1, 5), "exit_code": dice.choice((0, 0, 0, 1, 7)), "bare_end": dice.random() < 0.3}


def _long(dice: random.Random) -> dict[str, Any]:
    return {"lines": dice.randint(20, 60), "pause": 0.05, "exit_code": dice.choice((0, 3)), "saves": 1}


def _chatty(dice: random.Random) -> dict[str, Any]:
    batch = dice.choice((1, 40, 100))
    wide = dice.choice((0, 0, 20_000))
    return {"lines": batch * dice.randint(3, 30), "batch": batch, "wide": wide, "bare_end": dice.random() < 0.5}


def _huge(dice: random.Random) -> dict[str, Any]:
    return {"lines": 26, "wide": 2 * PIECE + dice.randint(-3, 300_000), "exit_code": 5}


def _saving(dice: random.Random) -> dict[str, Any]:
    return {"saves": dice.randint(2, 12), "lines": 2, "exit_code": dice.choice((0, 0, 4))}


def _retried(dice: random.Random) -> dict[str, Any]:
    return {"attempts": dice.randint(2, 4), "lines": dice.randint(1, 30), "exit_code": dice.choice((0, 6)), "saves": 1}


def _killed(dice: random.Random) -> dict[str, Any]:
    return {"lines": 4, "signal": dice.choice((signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM))}


def _family(dice: random.Random) -> dict[str, Any]:
    return {"lines": dice.randint(2, 20), "pause": 0.03, "family": True}


def _cancelled(dice: random.Random) -> dict[str, Any]:
    after = dice.choice((0.0, dice.uniform(0, 0.3), dice.uniform(0.3, 3)))
    return {
        "lines": None,
        "pause": 0.02,
        "cancel_after": after,
        "family": dice.random() < 0.3,
        "stubborn": dice.random() < 0.3,
    }


def _overdue(dice: random.Random) -> dict[str, Any]:
    return {"lines": None, "pause": 0.02, "timeout_seconds": 2.0, "stubborn": dice.random() < 0.3}


def _limited(dice: random.Random) -> dict[str, Any]:
    """Some keep their place between two attempts, and some are cancelled while they wait for one."""
    after = dice.uniform(0, 2) if dice.random() < 0.25 else None
    return {
        "limit": dice.choice((1, 2)),
        "lines": dice.randint(2, 8) if after is None else None,
        "pause": 0.03,
        "attempts": dice.choice((1, 1, 2)) if after is None else 1,
        "exit_code": dice.choice((0, 0, 2)),
        "cancel_after": after,
    }


KINDS = {
    "short": (40, _short),
    "long": (15, _long),
    "chatty": (12, _chatty),
    "huge": (1, _huge),
    "saving": (12, _saving),
    "retried": (8, _retried),
    "killed": (4, _killed),
    "family": (5, _family),
    "cancelled": (8, _cancelled),
    "overdue": (3, _overdue),
    "limited": (8, _limited),
}
