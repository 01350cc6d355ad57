"""The graph that `needs` draws: its cycles, and what comes before a step. Without recursion: chains may be long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def find_cycle(needs: Mapping[str, Sequence[str]]) -> list[str] | None:
    """A cycle as the steps on it, each needing the one after it and the last the first; None when there is none."""
    done: set[str] = set()
    for first in needs:
        path: dict[str, None] = {}
        waiting = [(first, False)]
        while waiting:
            name, is_leaving = waiting.pop()
            if is_leaving:
                del path[name]
                done.add(name)
            elif name in path:
                steps = list(path)
                return steps[steps.index(name) :]
            elif name not in done:
                path[name] = None
                waiting.append((name, True))
                waiting.extend((need, False) for need in reversed(needs.get(name, ())))
    return None


def upstream(name: str, needs: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """All steps that have ended when this one starts: what it needs, and what that needs."""
    found: set[str] = set()
    waiting = list(needs.get(name, ()))
    while waiting:
        need = waiting.pop()
        if need not in found:
            found.add(need)
            waiting.extend(one for one in needs.get(need, ()) if one not in found)
    return frozenset(found)
