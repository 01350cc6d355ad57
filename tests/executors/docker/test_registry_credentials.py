"""What logs in at a registry: read from Docker's own file at each pull, sent to the engine, and seen nowhere else."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator.contracts.executor import Executor
from orchestrator.errors import StartFailedError
from orchestrator.executors.docker.auth_file import AuthFile
from orchestrator.executors.docker.registry import RegistryAuth, registry_of, repository_of
from orchestrator.model.jobs import Reason
from tests.executors.docker.engine_for_tests import docker, inspect, make_spec, open_executor
from tests.executors.docker.registry import USERS, Registry, registry_for_tests
from tests.executors.docker.told import Told
from tests.suites.executor_suite import finish

PASSWORD = USERS["reader"]


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with registry_for_tests(locked=True) as registry:
        yield registry


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


@pytest.fixture
async def executor(tmp_path: Path, file: Path, nothing_left: None) -> AsyncIterator[Executor]:
    async with open_executor(tmp_path, registry_auth_file=file) as executor:
        yield executor


async def refusal(executor: Executor, state: Path, image: str) -> str:
    with pytest.raises(StartFailedError) as failure:
        await executor.start(make_spec(state, "true", image=image))
    assert failure.value.reason == Reason.IMAGE_UNAVAILABLE
    return failure.value.message


@pytest.mark.docker
async def test_an_image_of_a_locked_registry_is_pulled_and_no_secret_is_seen_anywhere(
    registry: Registry, executor: Executor, file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    image, told = registry.push(), Told()
    registry.auth_file(file)
    with caplog.at_level(logging.DEBUG):
        process = await executor.start(make_spec(tmp_path, "echo ran", image=image), told)
        seen = await finish(process)
    everything = [str(inspect(process.name)), str(told), caplog.text]
    await process.remove()
    assert seen.stdout == b"ran\n"
    assert told.lines[-1].startswith(f"Pulled {image} in ")
    assert "pulling an image" in caplog.text
    secrets = (PASSWORD, base64.b64encode(f"reader:{PASSWORD}".encode()).decode(), "X-Registry-Auth")
    assert [secret for secret in secrets for text in everything if secret in text] == []


@pytest.mark.docker
async def test_without_credentials_the_refusal_says_where_to_put_them(registry: Registry, tmp_path: Path):
    image = registry.push()
    async with open_executor(tmp_path) as executor:
        message = await refusal(executor, tmp_path, image)
    assert f"The image {image} is not here and could not be pulled: " in message
    assert "no basic auth credentials" in message
    assert f"{registry.address} wants to know who asks" in message
    assert "`registry_auth_file`" in message


@pytest.mark.docker
async def test_credentials_that_are_wrong_are_read_again_for_the_next_pull(
    registry: Registry, executor: Executor, file: Path, tmp_path: Path
):
    """They can be rotated without a restart."""
    image = registry.push()
    registry.auth_file(file, password="not-the-password")
    message = await refusal(executor, tmp_path, image)
    assert "unauthorized" in message
    assert "renew the credentials" in message
    assert "not-the-password" not in message
    registry.auth_file(file, user="other")
    process = await executor.start(make_spec(tmp_path, "echo ran", image=image))
    assert (await finish(process)).stdout == b"ran\n"
    await process.remove()


@pytest.mark.docker
async def test_an_image_that_is_here_needs_no_file_and_one_that_is_not_names_the_file(
    registry: Registry, executor: Executor, file: Path, tmp_path: Path
):
    process = await executor.start(make_spec(tmp_path, "echo ran"))
    assert (await finish(process)).stdout == b"ran\n"
    await process.remove()
    message = await refusal(executor, tmp_path, f"{registry.address}/cronium/none:1")
    assert f"The credentials in {file} cannot be read: No such file or directory" in message


@pytest.mark.docker
async def test_a_program_that_keeps_credentials_is_asked(
    registry: Registry, executor: Executor, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    image = registry.push()
    answer = {"ServerURL": registry.address, "Username": "reader", "Secret": PASSWORD}
    asked = f'"$1 $server" = "get {registry.address}"'
    program(tmp_path, monkeypatch, f"read server; [ {asked} ] && echo '{json.dumps(answer)}'")
    file.write_text(json.dumps({"credHelpers": {registry.address: "tests"}}))
    process = await executor.start(make_spec(tmp_path, "echo ran", image=image))
    assert (await finish(process)).stdout == b"ran\n"
    await process.remove()
    docker("rmi", image)


def program(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A `docker-credential-tests` on the PATH."""
    path = directory / "bin" / "docker-credential-tests"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo hush-hush; exit 3", "failed with exit code 3"),
        ("echo hush-hush", "did not answer in its own format"),
    ],
)
async def test_a_program_that_fails_is_named_and_what_it_printed_is_not(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
):
    program(tmp_path, monkeypatch, script)
    file.write_text(json.dumps({"credsStore": "tests"}))
    with pytest.raises(StartFailedError, match=said) as failure:
        await AuthFile(file).credentials_for("registry.example.org")
    assert "docker-credential-tests" in failure.value.message
    assert "hush" not in failure.value.message


async def test_a_program_that_knows_nothing_leaves_it_to_the_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    program(tmp_path, monkeypatch, "echo credentials not found in native keychain; exit 1")
    entries = {"a.example.org": {"username": "u", "password": "p"}, "b.example.org": {}}
    file.write_text(json.dumps({"credsStore": "tests", "auths": entries}))
    found = await AuthFile(file).credentials_for("a.example.org")
    assert found == RegistryAuth(registry="a.example.org", username="u", password="p")
    assert await AuthFile(file).credentials_for("b.example.org") is None


async def test_a_program_that_is_not_installed_or_has_no_proper_name_is_refused(file: Path):
    for name in ("cronium-no-such-program", "../../bin/sh"):
        file.write_text(json.dumps({"credHelpers": {"a.example.org": name}}))
        with pytest.raises(StartFailedError, match="registry_auth_file") as failure:
            await AuthFile(file).credentials_for("a.example.org")
        assert failure.value.reason == Reason.IMAGE_UNAVAILABLE
    assert await AuthFile(file).credentials_for("other.example.org") is None


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("registry.example.org:5000", "registry.example.org:5000"),
        ("https://registry.example.org/v2/", "registry.example.org"),
    ],
)
async def test_an_entry_is_found_under_the_names_that_docker_gives_it(file: Path, key: str, registry: str):
    pair = base64.b64encode(b"name:pass:word").decode()
    file.write_text(json.dumps({"auths": {"other.example.org": {"auth": "!"}, key: {"auth": pair}}}))
    found = await AuthFile(file).credentials_for(registry)
    assert found is not None
    assert (found.username, found.password) == ("name", "pass:word")
    assert await AuthFile(file).credentials_for("third.example.org") is None


@pytest.mark.parametrize(
    "content",
    ["hush-hush", '{"auths": "hush-hush"}', '{"auths": {"a.example.org": {"auth": "aHVzaC1odXNo"}}}', " " * 1100000],
)
async def test_a_file_of_another_kind_is_named_and_nothing_of_its_content_is_shown(file: Path, content: str):
    file.write_text(content)
    with pytest.raises(StartFailedError, match=r"config\.json") as failure:
        await AuthFile(file).credentials_for("a.example.org")
    assert "hush" not in failure.value.message
    assert "aHVz" not in failure.value.message
    assert failure.value.__cause__ is None


def test_what_is_secret_is_in_no_text_of_the_credentials_and_taken_out_of_what_a_registry_says():
    auth = RegistryAuth(registry="r.example.org", username="somebody", password="hush-hush")
    assert "hush" not in repr(auth)
    assert "somebody" not in repr(auth)
    assert json.loads(base64.urlsafe_b64decode(auth.header)) == {
        "serveraddress": "r.example.org",
        "username": "somebody",
        "password": "hush-hush",
    }
    said = f"GET /token?account=somebody&scope=x: hush-hush {auth.header} is wrong"
    assert auth.hide(said) == "GET /token?account=***&scope=x: *** *** is wrong"


def test_a_token_stands_for_name_and_password():
    auth = RegistryAuth(registry="r.example.org", identity_token="hush-hush")
    assert json.loads(base64.urlsafe_b64decode(auth.header)) == {
        "serveraddress": "r.example.org",
        "identitytoken": "hush-hush",
    }


@pytest.mark.parametrize(
    ("image", "registry", "repository"),
    [
        ("python", "docker.io", "python"),
        ("python:3.12-slim", "docker.io", "python"),
        ("someone/image@sha256:00", "docker.io", "someone/image"),
        ("index.docker.io/library/python:3", "docker.io", "index.docker.io/library/python"),
        ("localhost/image", "localhost", "localhost/image"),
        ("localhost:5000/image:1", "localhost:5000", "localhost:5000/image"),
        ("ghcr.io/owner/image:1@sha256:00", "ghcr.io", "ghcr.io/owner/image"),
    ],
)
def test_the_registry_of_an_image_is_found_as_docker_finds_it(image: str, registry: str, repository: str):
    assert (registry_of(image), repository_of(image)) == (registry, repository)
