"""The little that we read of PromQL is read right."""

from __future__ import annotations

from tests.monitoring.promql import Matcher, Selector, grouping_labels, selectors

HARD = """
  histogram_quantile(0.95, sum by (job, le) (rate(a_bucket{x="b{c}", y!~"d|e"}[5m])))
    > on (job) group_left (z) max without (q) (f) and absent(g{h="by (i)"}) offset 5m or 1e3 * time()
"""


def test_selectors_are_found_with_their_matchers_and_functions_words_and_strings_are_not_taken_for_them():
    assert selectors(HARD) == [
        Selector("a_bucket", (Matcher("x", "=", "b{c}"), Matcher("y", "!~", "d|e"))),
        Selector("f", ()),
        Selector("g", (Matcher("h", "=", "by (i)"),)),
    ]
    assert grouping_labels(HARD) == {"job", "le", "z", "q"}


def test_a_selector_finds_only_series_that_have_all_of_its_labels():
    series = [("up", {"job": "cronium", "code": "a"})]
    assert selectors('up{job="cronium",code=~"a|b"}')[0].finds(series)
    assert not selectors('up{job="cronium",cod!="x"}')[0].finds(series)
    assert not selectors('up{code!~"a|b"}')[0].finds(series)
    assert not selectors("down")[0].finds(series)
