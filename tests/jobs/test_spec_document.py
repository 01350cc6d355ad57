"""Reading job specifications: what is accepted, what is refused, and what the refusal says."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InvalidError
from orchestrator.jobs.node_source import is_module
from orchestrator.jobs.quantities import parse_duration, parse_size
from orchestrator.jobs.spec_document import parse_job_spec
from orchestrator.model.specs import (
    Concurrency,
    ExecutorKind,
    JobSpec,
    Language,
    Limits,
    PullPolicy,
    Script,
    WhenFull,
    Workspace,
)

BASH = {"bash": "echo hi"}


def faults(document, path="") -> dict[str, str]:
    with pytest.raises(InvalidError) as refused:
        parse_job_spec(document, path=path)
    return {fault.path: fault.message for fault in refused.value.faults}


def test_a_script_alone_gets_the_defaults():
    assert parse_job_spec({"python": "print(1)\n"}) == JobSpec(
        script=Script(language=Language.PYTHON, text="print(1)\n")
    )


def test_every_key_is_read():
    document = {
        "node": "console.log(1)",
        "name": "nightly",
        "executor": "docker",
        "image": "node:22-slim",
        "pull": "never",
        "network": "bridge",
        "args": ["--day", 3, 1.5, True, ""],
        "workdir": "/srv",
        "input": {"rows": [1, None]},
        "env": {"DAY": "today", "COUNT": 3, "DRY": False},
        "timeout": "1h30m",
        "priority": -5,
        "concurrency": {"limit": 2, "key": "db", "when_full": "replace"},
        "cpus": 2,
        "memory": "1GiB",
        "pids": 64,
    }

    assert parse_job_spec(document) == JobSpec(
        script=Script(language=Language.NODE, text="console.log(1)"),
        name="nightly",
        executor=ExecutorKind.DOCKER,
        image="node:22-slim",
        pull=PullPolicy.NEVER,
        network="bridge",
        args=("--day", "3", "1.5", "true", ""),
        workdir="/srv",
        input={"rows": [1, None]},
        env={"DAY": "today", "COUNT": "3", "DRY": "false"},
        timeout=timedelta(minutes=90),
        priority=-5,
        concurrency=Concurrency(limit=2, key="db", when_full=WhenFull.REPLACE),
        limits=Limits(memory_bytes=2**30, pids=64, cpus=2.0),
    )


def test_every_fault_is_listed_with_its_path():
    found = faults(
        {"timeout": "soon", "env": {"1A": "x", "B": None}, "args": ["a", []], "cpus": 0}, path="steps.extract"
    )

    assert set(found) == {
        "steps.extract",
        "steps.extract.timeout",
        "steps.extract.env.1A",
        "steps.extract.env.B",
        "steps.extract.args.1",
        "steps.extract.cpus",
    }


def test_an_unknown_key_gets_a_hint():
    assert "Did you mean `python`?" in faults({"pyhton": "x"})["pyhton"]
    assert "Did you mean `bash`?" in faults({"run": "x"})["run"]


@pytest.mark.parametrize("key", ["http", "tool", "llm", "file_read", "file_write", "event", "workflow"])
def test_other_kinds_are_refused_as_not_supported(key):
    found = faults({key: {"x": 1}})

    assert list(found) == [key]
    assert "not supported by this version" in found[key]


@pytest.mark.parametrize("key", ["on", "isolation"])
def test_keys_that_are_not_built_yet_are_refused(key):
    assert "not supported by this version yet" in faults({**BASH, key: {}})[key]


@pytest.mark.parametrize("key", ["needs", "if", "when", "foreach"])
def test_keys_of_steps_are_refused_in_a_job(key):
    assert "belongs to the steps of a workflow" in faults({**BASH, key: "x"})[key]


@pytest.mark.parametrize("document", [None, 3, "echo", [], True])
def test_a_document_that_is_no_mapping_is_refused(document):
    assert "Must be a mapping" in faults(document)[""]


def test_two_scripts_exclude_each_other():
    assert "`bash` and `python` exclude each other" in faults({"bash": "a", "python": "b"})["python"]


@pytest.mark.parametrize("key", ["image", "pull", "network"])
def test_what_needs_a_container_is_refused_for_a_process(key):
    value = {"image": "x", "pull": "always", "network": "none"}[key]

    assert "needs `executor: docker`" in faults({**BASH, "executor": "process", key: value})[key]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("bash", "", "empty"),
        ("bash", ["ls"], "Must be text, not a list"),
        ("bash", "a\0b", "NUL"),
        ("bash", "a\ud800", "surrogate"),
        ("name", "a\nb", "one line"),
        ("name", "x" * 201, "one line"),
        ("executor", "dokcer", "Did you mean `docker`?"),
        ("executor", "ssh", "not supported"),
        ("image", "a b", "name of an image"),
        ("image", "--privileged", "name of an image"),
        ("pull", True, "Must be one of"),
        ("network", "container:other", "Must be `none`"),
        ("network", "host", "host"),
        ("args", "ls -l", "Must be a list"),
        ("workdir", "relative", "absolute path"),
        ("env", [], "Must be a mapping"),
        ("timeout", 0, "longer than 0"),
        ("timeout", -1, "longer than 0"),
        ("timeout", True, "number of seconds"),
        ("timeout", float("nan"), "longer than 0"),
        ("timeout", float("inf"), "at most"),
        ("timeout", 10**400, "at most"),
        ("timeout", "1 fortnight", "number of seconds"),
        ("priority", 1001, "whole number"),
        ("priority", 1.5, "whole number"),
        ("concurrency", 1, "Needs a `key`"),
        ("cpus", float("nan"), "number of cores"),
        ("cpus", "2", "number of cores"),
        ("memory", "5MB", "at least"),
        ("memory", -1, "at least"),
        ("memory", 10**400, "number of bytes"),
        ("memory", "much", "number of bytes"),
        ("pids", 0, "whole number"),
        ("pids", True, "whole number"),
        ("input", float("nan"), "finite"),
        ("input", 2**64, "64 bits"),
    ],
)
def test_a_wrong_value_is_refused(key, value, message):
    assert message in faults({**BASH, key: value})[key]


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"A-B": "x"}, "not a name"),
        ({"": "x"}, "not a name"),
        ({"A\n": "x"}, "not a name"),
        ({"CRONIUM_JOB_ID": "x"}, "belong to Cronium"),
        ({"A": None}, "not null"),
        ({"A": {}}, "not a mapping"),
        ({"A": "x\0"}, "NUL"),
        ({"A": "x" * 131070}, "128 KiB"),
        ({"A": float("inf")}, "finite"),
        ({"A": 10**5000}, "64 bits"),
    ],
)
def test_a_wrong_environment_is_refused(env, message):
    found = faults({**BASH, "env": env})

    assert message in found[f"env.{next(iter(env))}"]


@pytest.mark.parametrize(
    ("more", "path", "message"),
    [
        ({"limit": 0}, "limit", "whole number of jobs"),
        ({"limit": True}, "limit", "whole number of jobs"),
        ({"limit": "2"}, "limit", "whole number of jobs"),
        ({"key": ""}, "key", "one line"),
        ({"key": "a\nb"}, "key", "one line"),
        ({"key": 5}, "key", "one line"),
        ({"when_full": "wait"}, "when_full", "`queue`, `skip` or `replace`"),
        ({"limits": 1}, "limits", "Did you mean `limit`?"),
    ],
)
def test_a_wrong_concurrency_limit_is_refused(more, path, message):
    found = faults({**BASH, "concurrency": {"key": "k", **more}})
    assert list(found) == [f"concurrency.{path}"]
    assert message in found[f"concurrency.{path}"]


def test_an_argument_of_full_length_is_accepted():
    assert len(parse_job_spec({**BASH, "args": ["x" * 131071]}).args[0]) == 131071
    assert "128 KiB" in faults({**BASH, "args": ["x" * 131072]})["args.0"]


def test_a_wrong_value_deep_in_the_input_is_found():
    assert "finite" in faults({**BASH, "input": {"a": [1, {"b": float("inf")}]}})["input.a.1.b"]


def test_an_input_that_is_nested_too_deep_is_refused():
    deep: object = 1
    for _ in range(5000):
        deep = [deep]

    assert "deep" in next(iter(faults({**BASH, "input": deep}).values()))


def test_templates_mean_nothing_in_a_job():
    assert parse_job_spec({**BASH, "env": {"A": "{{ x }}"}}).env == {"A": "{{ x }}"}


def test_a_document_full_of_faults_is_refused_with_some_of_them():
    assert len(faults({f"unknown{n}": 1 for n in range(50_000)})) <= 100


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (90, 90),
        (0.5, 0.5),
        ("90", 90),
        ("90s", 90),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86400),
        ("1h30m", 5400),
        ("250ms", 0.25),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [(1024, 1024), ("512MB", 512 * 2**20), ("1GiB", 2**30), ("64k", 65536), ("1.5 gb", 3 * 2**29), ("9b", 9)],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ('import fs from "fs"', True),
        ("import 'x'", True),
        ("  import * as a from 'a'", True),
        ("import {a} from 'a'", True),
        ("export const a = 1", True),
        ("export default 1", True),
        ("console.log(import.meta.url)", True),
        ("const a = await b()", True),
        ("for (const a of b) {\n  await c(a)\n}", True),
        ("async function f() {\n  await g()\n}\nawait f()", True),
        ("const a = require('a')", False),
        ("import('a').then(console.log)", False),
        ("importantThing()", False),
        ("async function f() {\n  await g()\n}\nf()", False),
        ("const f = async () => { await g() }; f()", False),
        ("// import a from 'a'\n/* await\nexport const x = 1 */ const x = 'await'", False),
        ("const text = `\nimport a from 'a'\n`", False),
        ("", False),
    ],
)
def test_a_module_is_told_from_a_common_script(source, module):
    assert is_module(source) is module


@pytest.mark.parametrize("piece", ["/*", '"\\', "`", "'", "//", "await ", " ", "import "])
def test_a_long_hostile_script_is_looked_at_quickly(piece):
    assert is_module(piece * (1_000_000 // len(piece))) in (True, False)  # the test's timeout is what fails


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
KEYS = st.sampled_from(["bash", "node", "args", "env", "timeout", "memory", "image", "input", "if"]) | st.text()


@settings(deadline=None)
@given(st.dictionaries(KEYS, JSON))
def test_any_document_is_read_or_refused_with_faults(document):
    try:
        parse_job_spec(document)
    except InvalidError as error:
        assert error.faults


def test_what_a_container_is_asked_for_is_read():
    spec = parse_job_spec(
        {
            "python": "pass",
            "packages": ["requests>=2.31", "rich"],
            "volumes": ["/srv/data:/data", "models:/models/:ro", {"source": "/srv/x", "target": "/x"}],
            "workspace": "volume",
            "warm": False,
        }
    )

    assert spec.packages == ("requests>=2.31", "rich")
    assert [(volume.source, volume.target) for volume in spec.volumes] == [
        ("/srv/data", "/data"),
        ("models", "/models"),
        ("/srv/x", "/x"),
    ]
    assert (spec.workspace, spec.warm) == (Workspace.VOLUME, False)


@pytest.mark.parametrize(
    ("document", "path", "words"),
    [
        ({"packages": ["x"]}, "packages", "Only `python` and `node` have packages"),
        ({"python": "x", "packages": "requests"}, "packages", "Must be a list"),
        ({"python": "x", "packages": ["--index-url=http://x"]}, "packages.0", "Must be a requirement"),
        ({"python": "x", "packages": ["a", 3]}, "packages.1", "Must be a requirement"),
        ({"volumes": "/a:/b"}, "volumes", "Must be a list"),
        ({"volumes": [3]}, "volumes.0", "Must be `source:target`"),
        ({"volumes": ["/a"]}, "volumes.0", "Must be `source:target`"),
        ({"volumes": ["/a:/b:rw"]}, "volumes.0", "read-only"),
        ({"volumes": ["a/b:/b"]}, "volumes.0", "The source must be"),
        ({"volumes": ["/a/../etc:/b"]}, "volumes.0", "`..`"),
        ({"volumes": ["/a:b"]}, "volumes.0", "The target must be"),
        ({"volumes": ["/a:/proc/sys"]}, "volumes.0", "taken by Cronium or the system"),
        ({"volumes": ["/a:/d", "/b:/d"]}, "volumes", "Two volumes have the target /d"),
        ({"volumes": [{"src": "/a", "target": "/b"}]}, "volumes.0.src", "Unknown key"),
        ({"workspace": "disk"}, "workspace", "`tmpfs`"),
        ({"warm": "no"}, "warm", "true or false"),
        ({"executor": "process", "packages": []}, "packages", "needs `executor: docker`"),
        ({"executor": "process", "warm": False}, "warm", "needs `executor: docker`"),
    ],
)
def test_what_a_container_cannot_be_asked_for_is_refused(document, path, words):
    found = faults({**(BASH if "python" not in document else {}), **document})

    assert words in found[path], found
