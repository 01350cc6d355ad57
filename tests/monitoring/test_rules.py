"""The alerts: each is tested both ways, promtool accepts them, and the compose file can be read."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from tests.conftest import ROOT
from tests.monitoring.files import MONITORING, alerts, commands, promtool

TESTS = yaml.safe_load((MONITORING / "alerts_test.yml").read_text())["tests"]
CASES = [case for test in TESTS for case in test["alert_rule_test"]]


@pytest.mark.parametrize("alert", [rule["alert"] for rule in alerts()])
def test_every_alert_is_tested_firing_and_not_firing(alert):
    outcomes = {bool(case["exp_alerts"]) for case in CASES if case["alertname"] == alert}
    assert outcomes == {True, False}


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_says_what_is_wrong_and_how_bad_it_is(rule):
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description"}
    assert len(rule["annotations"]["description"]) > 20


@pytest.mark.prometheus
def test_every_alert_fires_when_it_should_and_not_when_it_should_not():
    done = promtool("test", "rules", MONITORING / "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.prometheus
def test_the_commands_of_the_page_check_the_rules():
    (block,) = commands("promtool")
    done = subprocess.run(["bash", "-euc", block], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCESS") == 2


@pytest.mark.prometheus
def test_the_configuration_is_accepted(tmp_path):
    """The token is only in the container; the rest is checked as it stands."""
    token = tmp_path / "token"
    token.write_text("none")
    text = (MONITORING / "prometheus.yml").read_text()
    (tmp_path / "prometheus.yml").write_text(text.replace("/run/cronium-monitoring/cronium.token", str(token)))
    (tmp_path / "alerts.yml").write_text((MONITORING / "alerts.yml").read_text())
    done = promtool("check", "config", tmp_path / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(token) in (tmp_path / "prometheus.yml").read_text()
    assert "rule files found" in done.stdout


@pytest.mark.prometheus
def test_a_scrape_is_what_prometheus_calls_well_formed(text):
    """Names, units, help texts: `promtool check metrics` finds nothing."""
    done = promtool("check", "metrics", stdin=text)
    said = [line for line in done.stdout.splitlines() + done.stderr.splitlines() if line]
    assert (done.returncode, said) == (0, [])


COMPOSE = yaml.safe_load((MONITORING / "docker-compose.monitoring.yml").read_text())


def test_the_compose_file_keeps_to_what_old_and_new_compose_understand():
    assert set(COMPOSE) == {"services", "networks", "volumes"}
    assert COMPOSE["networks"] == {"cronium": {"name": "${NETWORK_NAME:-cronium}"}}


def test_ports_are_on_loopback_unless_changed_and_no_password_is_written_down():
    text = (MONITORING / "docker-compose.monitoring.yml").read_text()
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(port.startswith("${MONITORING_BIND:-127.0.0.1}:") for port in ports)
    assert not re.search(r"PASSWORD(__FILE)?: (?!/run/cronium-monitoring/)", text)


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_files_that_are_mounted_are_there(name):
    mounts = [volume.split(":")[0] for volume in COMPOSE["services"][name]["volumes"] if volume.startswith("./")]
    assert len(mounts) == 2
    assert all((MONITORING / mount).exists() for mount in mounts)


def test_the_first_start_makes_a_password_and_later_ones_keep_it(tmp_path):
    """The script of `init`, run as it stands but for what only root may do."""
    script = COMPOSE["services"]["init"]["command"][0].replace("$$", "$")
    script = script.replace("cd /run/cronium-monitoring", f"cd {tmp_path}").replace("chown ", ": chown ")

    def start(token: str) -> tuple[str, str]:
        env = {"PATH": "/usr/bin:/bin", "CRONIUM_SCRAPE_TOKEN": token}
        subprocess.run(["/bin/sh", "-euc", script], env=env, check=True, capture_output=True)
        return (tmp_path / "grafana.password").read_text(), (tmp_path / "cronium.token").read_text()

    first = start("")
    assert len(first[0]) >= 32
    assert first[1] == "none"
    assert start("crn_given") == (first[0], "crn_given")
    assert start("") == (first[0], "crn_given")
    assert (tmp_path / "grafana.password").stat().st_mode & 0o077 == 0
