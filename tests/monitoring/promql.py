"""As much of PromQL as it takes to say which series an expression asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")
RANGE = re.compile(r"\[[^\]]*\]")
SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?(?!\w|\s*\()")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*")')
WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


@dataclass(frozen=True)
class Matcher:
    """One condition on a label."""

    label: str
    operator: str
    value: str

    def allows(self, value: str) -> bool:
        is_same = bool(re.fullmatch(self.value, value)) if "~" in self.operator else value == self.value
        return is_same is not self.operator.startswith("!")


@dataclass(frozen=True)
class Selector:
    """A metric, and what its labels must be."""

    metric: str
    matchers: tuple[Matcher, ...]

    def finds(self, series: Iterable[tuple[str, Mapping[str, str]]]) -> bool:
        """Whether it finds any of `series`, all of whose labels it names."""
        return any(
            name == self.metric
            and all(matcher.label in labels and matcher.allows(labels[matcher.label]) for matcher in self.matchers)
            for name, labels in series
        )


def selectors(expression: str) -> list[Selector]:
    """Every selector of an expression, in order."""
    texts: list[str] = []

    def hide(found: re.Match[str]) -> str:
        texts.append(found[0])
        return f'"{len(texts) - 1}"'

    bare = RANGE.sub("", GROUPING.sub("", STRING.sub(hide, expression)))
    found = []
    for name, braces in SELECTOR.findall(_without_numbers(bare)):
        if name.lower() in WORDS:
            continue
        matchers = tuple(
            Matcher(label, operator, texts[int(text.strip('"'))][1:-1])
            for label, operator, text in MATCHER.findall(braces)
        )
        found.append(Selector(name, matchers))
    return found


def _without_numbers(text: str) -> str:
    """Numbers and durations have letters in them; what is in quotes by now are numbers, and stays."""
    return re.sub(r'"\d+"|\b\d[\w.]*', lambda found: found[0] if found[0].startswith('"') else "", text)


def grouping_labels(expression: str) -> set[str]:
    """The labels that an expression groups or joins by."""
    bare = STRING.sub('""', expression)
    return {label.strip() for group in GROUPING.findall(bare) for label in group.split(",") if label.strip()}
