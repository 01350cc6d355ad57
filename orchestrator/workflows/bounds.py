"""How large values of expressions may get, and the arithmetic that cannot get past it."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeGuard

from orchestrator.errors import InvalidError
from orchestrator.model.json import Json

MAX_WEIGHT = 4 * 1024 * 1024  # of one value, roughly its bytes as JSON; what scripts put out is at most 1 MiB each
MAX_DEPTH = 100
MAX_POWER_BITS = 64
INTEGERS = range(-(2**63), 2**64)
CHARACTERS_PER_VALUE = 64  # walking a text is that much cheaper than walking a list
TOO_LARGE = "the value is larger than 4 MiB"

ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}


@dataclass(slots=True)
class Budget:
    """What filling in the templates of one place may cost: `work` in values looked at, `size` in characters written."""

    work: int = 1_000_000
    size: int = MAX_WEIGHT

    def look_at(self, value: object) -> int:
        """
        Pay for working on a value and return its weight.

        Raises `InvalidError` when the budget is spent, for a value above `MAX_WEIGHT` or `MAX_DEPTH`, and for what is
        not JSON. Walked without recursion, and in pieces: a value that is shared a thousand times costs a thousandfold.
        """
        weight = 0
        waiting: list[tuple[object, int]] = [(value, 0)]
        while waiting:
            item, depth = waiting.pop()
            weight += _own_weight(item)
            self.work -= 1
            if isinstance(item, list | tuple | dict):
                inner = item.values() if isinstance(item, dict) else item
                if len(waiting) + len(inner) > self.work:
                    raise InvalidError("there is more to work through than one expression may")
                waiting.extend((one, depth + 1) for one in inner)
            if weight > MAX_WEIGHT:
                raise InvalidError(TOO_LARGE)
            if depth > MAX_DEPTH:
                raise InvalidError(f"the value is nested more than {MAX_DEPTH} deep")
        self.work -= weight // CHARACTERS_PER_VALUE
        return weight

    def write(self, value: object) -> None:
        """Pay for a result that is kept."""
        self.size -= self.look_at(value)
        if self.size < 0:
            raise InvalidError("all values filled in here together are larger than 4 MiB")


def _own_weight(value: object) -> int:
    if isinstance(value, str):
        return 1 + len(value)
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise InvalidError("the keys of a mapping must be text")
        return 1 + sum(map(len, value))
    if not isinstance(value, list | tuple):
        _check_number(value)
    return 1


def _check_number(value: object) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, int) and value in INTEGERS:
        return
    if isinstance(value, float) and math.isfinite(value):
        return
    raise InvalidError("the number is too large" if isinstance(value, int | float) else "the value is not JSON")


def calculate(sign: str, left: object, right: object) -> Json:
    """Arithmetic on numbers; `+` also joins two texts or two lists. Raises `InvalidError`."""
    if sign == "+" and isinstance(left, str) and isinstance(right, str):
        check_length(len(left) + len(right))
        return left + right
    if sign == "+" and isinstance(left, list) and isinstance(right, list):
        check_length(len(left) + len(right))
        return [*left, *right]
    if not is_number(left) or not is_number(right):
        what = "two numbers, two texts or two lists" if sign == "+" else "two numbers"
        raise InvalidError(f"`{sign}` needs {what}; `| int`, `| float` and `| string` convert")
    if sign == "**":
        _check_power(left, right)
    result: Json = ARITHMETIC[sign](left, right)
    _check_number(result)
    return result


def is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_length(length: int) -> None:
    """Refuse a text or list of this length before it is made."""
    if length > MAX_WEIGHT:
        raise InvalidError(TOO_LARGE)


def _check_power(base: float, exponent: float) -> None:
    """Refuse whole powers beyond 64 bits before they are worked out."""
    if isinstance(base, int) and isinstance(exponent, int) and abs(base).bit_length() * exponent > MAX_POWER_BITS * 2:
        raise InvalidError("the number is too large")
