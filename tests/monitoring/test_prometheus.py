"""A real Prometheus scrapes a real server as monitoring/prometheus.yml says, and can answer all that is asked of it."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.serving import Serving, eventually
from tests.monitoring.conftest import ended
from tests.monitoring.files import MONITORING, alerts, expressions
from tests.servers import free_port

pytestmark = pytest.mark.prometheus
PANELS = {where: text for where, text in expressions().items() if where.startswith("panel")}


@pytest.fixture(scope="module")
def url(busy: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus with the configuration as it is shipped, but for where the server is and how often it looks."""
    place = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    job = next(job for job in config["scrape_configs"] if job["job_name"] == "cronium")
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [busy.url.removeprefix("http://")]}]
    job["authorization"]["credentials_file"] = str(place / "token")
    (place / "token").write_text(busy.token)
    config["scrape_configs"] = [job]
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (place / "prometheus.yml").write_text(yaml.safe_dump(config))
    (place / "alerts.yml").write_text((MONITORING / "alerts.yml").read_text())
    yield from _running(place, free_port())


def _running(place: Path, port: int) -> Iterator[str]:
    command = ["prometheus", f"--config.file={place / 'prometheus.yml'}", f"--storage.tsdb.path={place / 'data'}"]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: _has_scraped_twice(url, process, place), "Prometheus to have scraped")
        yield url
    finally:
        ended(process)


def _has_scraped_twice(url: str, process: subprocess.Popen[bytes], place: Path) -> bool:
    assert process.poll() is None, (place / "log").read_text()
    try:
        found = ask(url, "query", query='count_over_time(up{job="cronium"}[1m]) and up{job="cronium"} == 1')
    except OSError:  # not there yet
        return False
    return bool(found["result"]) and float(found["result"][0]["value"][1]) >= 3


def ask(url: str, what: str, **query: str) -> Any:
    with urllib.request.urlopen(f"{url}/api/v1/{what}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
        return json.loads(answer.read())["data"]


def test_the_server_is_scraped_with_its_token(url):
    (target,) = ask(url, "targets")["activeTargets"]
    assert (target["health"], target["lastError"], target["labels"]["job"]) == ("up", "", "cronium")


def test_every_panel_shows_something_of_a_server_that_works(url):
    empty = [where for where, text in PANELS.items() if not ask(url, "query", query=text)["result"]]
    assert empty == []


def test_every_alert_is_evaluated_without_an_error_and_none_fires_on_a_healthy_server(url):
    def evaluated() -> list[dict[str, Any]] | None:
        rules = [rule for group in ask(url, "rules")["groups"] for rule in group["rules"]]
        return rules if all(rule["health"] != "unknown" for rule in rules) else None

    rules = eventually(evaluated, "the rules to be evaluated")
    assert {rule["name"] for rule in rules} == {rule["alert"] for rule in alerts()}
    assert {(rule["health"], rule.get("lastError", "")) for rule in rules} == {("ok", "")}
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
