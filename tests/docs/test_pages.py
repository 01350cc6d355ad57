"""What the pages about deployment name is there: links, files, routes, settings, variables, messages, figures."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest

from orchestrator.api.access import CACHED_FOR
from orchestrator.api.context import Pulse
from orchestrator.api.payloads import MAX_BODY_BYTES
from orchestrator.api.routes import all_routes
from orchestrator.config import ServerSettings
from orchestrator.config.keys import SETTINGS, VARIABLES
from orchestrator.executors.docker.settings import DockerSettings
from orchestrator.jobs.dispatch import Leases
from orchestrator.jobs.logs import BATCH_SECONDS
from orchestrator.jobs.submit import KEYS_KEPT
from orchestrator.telemetry.metrics import PrometheusObserver
from runtime_api.payloads import MAX_VALUE_BYTES
from runtime_api.routes import OPERATIONS
from tests.conftest import ROOT
from tests.docs.pages import FENCE, PAGES, blocks, text_of
from tests.docs.settings_table import FILES, settings_in_containers

NAMES = sorted(path.name for path in PAGES.glob("*.md"))
OURS = [name for name in NAMES if name != "monitoring.md"]  # whose metrics, variables and commands tests/monitoring has
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
FILE = re.compile(
    r"(?:orchestrator|runtime_api|sdk|tests|docs|examples|docker|monitoring)/[\w./-]*|docker-compose[\w.]*yml"
)
# Files that a reader writes, or that are elsewhere than in the repository.
THEIRS = ("docker-compose.override.yml",)
COMPOSE_FILES = tuple(FILES.values())
OF_SCRIPTS = {"CRONIUM_RUNTIME_API", "CRONIUM_EXECUTION_TOKEN", "CRONIUM_SDK_DEADLINE_SECONDS"}
OF_CLIENTS = {"CRONIUM_URL", "CRONIUM_TOKEN", "CRONIUM_TOKEN_FILE"}
NO_VARIABLES = {"CRONIUM_CRASH_AT"}
GAP = "\0"


def anchors(path: Path) -> set[str]:
    """How a page's headings are linked to."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_of_every_document_leads_to_a_file_and_a_heading():
    broken, links = [], 0
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for link in LINK.findall(page.read_text()):
            target, _, heading = link.partition("#")
            if "://" in link:
                continue
            links += 1
            file = page.parent / target if target else page
            if not file.exists() or (heading and heading not in anchors(file)):
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert links > 30
    assert broken == []


def test_the_first_page_names_all_others():
    told = set(LINK.findall(text_of("README.md")))
    assert set(NAMES) - {"README.md"} <= told


@pytest.mark.parametrize("name", NAMES)
def test_every_file_that_a_page_names_exists(name: str):
    named = {part for code in CODE.findall(text_of(name)) for part in code.split() if FILE.fullmatch(part)}
    assert sorted(part for part in named if part not in THEIRS and not (ROOT / part).exists()) == []


def routes() -> Iterator[tuple[str, str]]:
    for route in all_routes(metrics_public=False):
        yield route.method, route.path
    for operation in OPERATIONS:
        yield operation.method, re.sub(r":[^}]+}", "}", operation.path)
    yield "GET", "/health"


@pytest.mark.parametrize("name", NAMES)
def test_every_route_that_a_page_names_is_served(name: str):
    there = set(routes())
    paths = {path for _, path in there}
    text = re.sub(r"\s*\n\s*", " ", text_of(name))
    told = re.findall(
        r"`(?:(GET|POST|PUT)\s+)?(/(?:api/v3|ws|executions|hooks|healthz|readyz|health|metrics)[^`\s]*)`", text
    )
    wrong = [
        (method, path)
        for method, path in told
        if path.partition("?")[0] not in paths or (method and (method, path.partition("?")[0]) not in there)
    ]
    assert wrong == []


@pytest.mark.parametrize("name", OURS)
def test_every_setting_and_variable_that_a_page_names_is_read(name: str):
    text = text_of(name)
    known = set(VARIABLES) | OF_SCRIPTS | OF_CLIENTS | {f"{variable}_FILE" for variable in VARIABLES}
    named = set(re.findall(r"\b(?:CRONIUM_[A-Z_]+[A-Z]|DATABASE_URL\w*|VALKEY_URL\w*)\b", text))
    assert sorted(named - known - NO_VARIABLES) == []


@pytest.mark.parametrize("name", OURS)
def test_every_metric_that_a_page_names_is_exposed(name: str):
    exposed = PrometheusObserver(version="0", mode="standalone", store_driver="sqlite", cache_driver="memory")
    there = exposed.render(None).decode()
    named = set(re.findall(r"`(cronium_[a-z_]+)[`{]", text_of(name))) - {"cronium_"}
    assert sorted(metric for metric in named if re.sub(r"_(bucket|sum|count)$", "", metric) not in there) == []


def test_the_table_of_settings_is_that_of_the_image_and_the_compose_files():
    text = text_of("deployment.md")
    (table,) = re.findall(r"<!-- settings: .*? -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert table == settings_in_containers(), "put the output of `python -m tests.docs.settings_table` there"
    assert table.count("\n") == len(SETTINGS) + 2


def test_what_compose_itself_is_told_is_listed_with_its_default():
    """Every `${NAME:-default}` of the files that is no setting of the server."""
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| `([^`]*)` \|", text_of("deployment.md"), re.MULTILINE))
    found: dict[str, set[str]] = {}
    for file in COMPOSE_FILES:
        for variable, default in re.findall(r"\$\{([A-Z_]+)(?::-([^}]*))?\}", (ROOT / file).read_text()):
            if variable not in VARIABLES:
                found.setdefault(variable, set()).add(default)
    assert {name: default for name, default in rows.items() if name in found} == {
        name: next(default for default in sorted(defaults, reverse=True) if default == rows.get(name))
        for name, defaults in found.items()
    }


@cache
def texts() -> str:
    """Every text of the product; what is filled in is one character."""
    found = set()
    for file in [*ROOT.glob("orchestrator/**/*.py"), *ROOT.glob("runtime_api/**/*.py"), ROOT / "docker/bin/supervise"]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                found.add("".join(str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return "\n\n".join(found)


def quoted() -> list[str]:
    """What is quoted in the page's tables and sentences."""
    text = re.sub(r'`"[^`\n]*`', "", FENCE.sub("", text_of("troubleshooting.md")))
    return [re.sub(r"\s+", " ", words) for words in re.findall(r'"([^"]{12,})"', text)]


def is_said(message: str) -> bool:
    """Whether a text of the product has the words of a quotation in their order, and where it has `...`, one gap."""
    words = [re.escape(part.strip()) for part in message.split("...") if part.strip()]
    return re.search(rf"[ {GAP}]+".join(words), texts()) is not None


def test_every_message_that_is_quoted_is_one_of_the_product():
    assert len(quoted()) > 20
    assert [message for message in quoted() if not is_said(message)] == []
    assert not is_said("There is no engine at ...: start Docker")


def test_what_readyz_is_told_to_say_is_what_it_says():
    told = re.findall(r'^\| `"(\w+)": "([^"]+)"` \|', text_of("troubleshooting.md"), re.MULTILINE)
    assert {name for name, _ in told} == {"store", "cache", "engine"}
    assert [value for _, value in told if not is_said(value.replace("valkey", "..."))] == []


def test_the_keys_of_the_unit_that_the_page_explains_are_in_it():
    unit = (PAGES / "cronium.service").read_text()
    told = re.findall(r"`(\w+=[\w-]+)`", text_of("systemd.md"))
    assert len(told) >= 6
    assert [line for line in told if f"\n{line}\n" not in unit] == []


def test_the_figures_of_the_pages_are_those_of_the_product():
    flow = re.sub(r"\s+", " ", text_of("data-flow.md"))
    leases, pulse = Leases(), Pulse()
    told = (
        f"at most {MAX_BODY_BYTES // 1024 // 1024} MiB; all faults",
        f"user `{DockerSettings.__dataclass_fields__['user'].default}`",
        f"a lease of {leases.length.seconds} s, renewed every {leases.renew_every.seconds} s",
        f"it looks every {leases.poll_every.seconds} s",
        f"stores lines every {BATCH_SECONDS * 1000:.0f} ms",
        f"used within {KEYS_KEPT // timedelta(hours=1)} h",
        f"taken for up to {CACHED_FOR.seconds} s more",
        f"pings every {pulse.every_seconds:.0f} s and hangs up on a client that was silent for {pulse.silence_seconds:.0f} s",
        f"A value may have {MAX_VALUE_BYTES // 1024 // 1024} MiB",
    )
    assert [words for words in told if words not in flow] == []
    assert f"bodies of {MAX_BODY_BYTES // 1024 // 1024} MiB" in text_of("reverse-proxy.md")
    budget = ServerSettings.model_fields["rate_limit_failed_logins_per_minute"].default
    assert f"`CRONIUM_RATE_LIMIT_FAILED_LOGINS_PER_MINUTE`, {budget} a minute" in text_of("reverse-proxy.md")


def test_every_command_of_the_pages_is_run_by_a_test():
    """A heading with commands that no test asks for would be one that nobody runs."""
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    unrun = [
        f"{name}: {heading}"
        for name in OURS
        for heading, commands in blocks(name).items()
        if commands and (f'"{name}"' not in tests or f'["{heading}"]' not in tests)
    ]
    assert unrun == []
