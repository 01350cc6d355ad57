"""What monitoring/ holds, read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT

MONITORING = ROOT / "monitoring"
PAGE = ROOT / "docs" / "container-migration" / "monitoring.md"


def commands(word: str) -> list[str]:
    """The blocks of commands on the page about monitoring in which `word` is."""
    return [block for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL) if word in block]


def alerts() -> list[dict[str, Any]]:
    """The alert rules."""
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    return dict(json.loads((MONITORING / "grafana" / "dashboards" / "cronium.json").read_text()))


def panels() -> list[dict[str, Any]]:
    """The panels that ask for something."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> dict[str, str]:
    """Every expression there is, by where it is; Grafana's variables have values."""
    found = {f"alert {rule['alert']}": rule["expr"] for rule in alerts()}
    for panel in panels():
        for target in panel["targets"]:
            found[f"panel {panel['title']} {target['refId']}"] = target["expr"]
    return {where: re.sub(r"\$__(rate_)?interval", "5m", text).strip() for where, text in found.items()}


def promtool(*args: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    assert program is not None, "promtool is not here"
    return subprocess.run([program, *args], input=stdin, capture_output=True, text=True, timeout=60)
