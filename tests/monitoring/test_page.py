"""What the page about monitoring says is so: every metric, every label, every alert, every variable."""

from __future__ import annotations

import re

import yaml

from tests.monitoring.files import MONITORING, PAGE, alerts

TEXT = PAGE.read_text()
METRICS = re.findall(r"^\| `(cronium_\w+)` \| (\w+)[^|]* \| ([^|]*)\| [^|]+ \|$", TEXT, re.MULTILINE)


def test_the_table_has_every_metric_with_its_type_and_nothing_else(text):
    exposed = dict(re.findall(r"^# TYPE (cronium_\w+) (\w+)$", text, re.MULTILINE))
    assert {name: kind for name, kind, _ in METRICS} == exposed
    assert len(METRICS) == len(exposed)


def test_the_table_has_the_labels_of_every_metric(series):
    exposed: dict[str, set[str]] = {}
    kinds = {name: kind for name, kind, _ in METRICS}
    for name, labels in series:
        family = name if name in kinds else re.sub(r"_(bucket|count|sum)$", "", name)
        exposed.setdefault(family, set()).update(set(labels) - {"job", "instance", "le"})
    told = {name: set(re.sub(r"\([^)]*\)|[`\s]", "", labels).split(",")) - {""} for name, _, labels in METRICS}
    assert {name: exposed[name] for name in told} == told


def test_the_metrics_of_the_process_are_named(text):
    exposed = set(re.findall(r"^# TYPE (process_\w+) ", text, re.MULTILINE))
    assert set(re.findall(r"`(process_\w+_(?:total|bytes|fds|seconds))`", TEXT)) == exposed


def test_there_is_something_to_do_about_every_alert():
    told = re.findall(r"^\| `(Cronium\w+)` \| ([^|]{20,}) \|$", TEXT, re.MULTILINE)
    assert [name for name, _ in told] == [rule["alert"] for rule in alerts()]


def test_every_variable_of_the_compose_file_is_told_with_its_default():
    compose = (MONITORING / "docker-compose.monitoring.yml").read_text()
    variables = dict(re.findall(r"(?<!\$)\$\{(\w+):-([^}]*)\}", compose))
    told = {
        name for row in re.findall(r"^\| (`[A-Z_`, ]+`) \|", TEXT, re.MULTILINE) for name in re.findall(r"\w+", row)
    }
    assert told == set(variables)
    assert all(f"`{value}`" in TEXT for name, value in variables.items() if value and not name.endswith("_IMAGE"))


def test_the_scrape_is_where_the_page_says(busy):
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    (job,) = (job for job in config["scrape_configs"] if job["job_name"] == "cronium")
    assert job["metrics_path"] == "/metrics"
    assert busy.ask("GET", job["metrics_path"]).status == 200
