"""Every expression of the alerts and of the dashboard asks for what a real server exposes."""

from __future__ import annotations

import pytest

from tests.monitoring.files import alerts, dashboard, expressions, panels, promtool
from tests.monitoring.promql import grouping_labels, selectors

EXPRESSIONS = expressions()


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_every_selector_finds_something_that_a_real_server_exposes(where, series):
    asked = selectors(EXPRESSIONS[where])
    assert asked, "no selector found: is it read right?"
    assert [selector for selector in asked if not selector.finds(series)] == []


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_every_label_that_is_grouped_by_is_one_of_the_metrics(where, series):
    metrics = {selector.metric for selector in selectors(EXPRESSIONS[where])}
    known = {label for name, labels in series if name in metrics for label in labels}
    assert grouping_labels(EXPRESSIONS[where]) <= known


def test_there_are_expressions_of_every_kind():
    assert len(alerts()) >= 10
    rows = [panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"]
    assert rows == ["Now", "Jobs", "Queue", "Latency", "Logs", "Store and cache", "API", "Process"]
    assert len(EXPRESSIONS) == len(alerts()) + sum(len(panel["targets"]) for panel in panels())


def test_panels_do_not_overlap_and_have_ids_of_their_own():
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])


@pytest.mark.prometheus
def test_promtool_accepts_every_expression(tmp_path):
    rules = "".join(f"      - record: check:{n}\n        expr: {text!r}\n" for n, text in enumerate(_quoted()))
    file = tmp_path / "rules.yml"
    file.write_text(f"groups:\n  - name: all\n    rules:\n{rules}")
    done = promtool("check", "rules", file)
    assert done.returncode == 0, done.stderr
    assert f"{len(EXPRESSIONS)} rules found" in done.stdout


def _quoted() -> list[str]:
    return [" ".join(text.split()) for text in EXPRESSIONS.values()]
