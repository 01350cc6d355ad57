"""How a command finds its server, and who is given which token."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.address import data_directory, find_server
from orchestrator.errors import DeniedError, InvalidError, UnavailableError

LOCAL, OTHER = "crn_" + "l" * 43, "crn_" + "o" * 43


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data directory of a server that runs (this very process)."""
    leave(tmp_path, pid=os.getpid())
    (tmp_path / "admin.token").write_text(LOCAL + "\n")
    return tmp_path


def leave(directory: Path, **content: object) -> None:
    (directory / "server.json").write_text(json.dumps({"url": "http://127.0.0.1:8123", "version": "0.1.0", **content}))


def gone_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_server_of_the_data_directory_is_found_with_its_token(data):
    found = find_server({"CRONIUM_DATA_DIR": str(data)})
    assert (found.url, found.token) == ("http://127.0.0.1:8123", LOCAL)
    assert LOCAL not in repr(found)


def test_a_named_server_and_token_need_no_data_directory():
    found = find_server({"CRONIUM_URL": "https://cronium.example.org/base/", "CRONIUM_TOKEN": f" {OTHER}\n"})
    assert (found.url, found.secure, found.prefix, found.token) == (
        "https://cronium.example.org:443/base",
        True,
        "/base",
        OTHER,
    )


def test_the_local_token_is_given_to_no_other_server(data):
    env = {"CRONIUM_DATA_DIR": str(data)}
    assert find_server({**env, "CRONIUM_URL": "http://example.org:8123"}).token is None
    assert find_server({**env, "CRONIUM_URL": "http://127.0.0.1:9999"}).token is None
    assert find_server({**env, "CRONIUM_URL": "http://127.0.0.1:8123/"}).token == LOCAL


def test_a_named_token_goes_to_the_local_server(data):
    assert find_server({"CRONIUM_DATA_DIR": str(data), "CRONIUM_TOKEN": OTHER}).token == OTHER


def test_a_token_can_lie_in_a_file(data):
    (data / "mine").write_text(OTHER + "\n")
    env = {"CRONIUM_URL": "http://example.org", "CRONIUM_TOKEN_FILE": str(data / "mine")}
    assert find_server(env).token == OTHER


def test_the_token_is_not_sent_where_the_server_has_ended(data):
    leave(data, pid=gone_pid())
    with pytest.raises(UnavailableError, match="does not run any more") as caught:
        find_server({"CRONIUM_DATA_DIR": str(data)})
    assert caught.value.code == "server_not_found"
    assert find_server({"CRONIUM_DATA_DIR": str(data), "CRONIUM_URL": "http://127.0.0.1:8123"}).token is None


def test_no_server_is_said_with_the_directory(tmp_path):
    with pytest.raises(UnavailableError, match=str(tmp_path)) as caught:
        find_server({"CRONIUM_DATA_DIR": str(tmp_path)})
    assert caught.value.code == "server_not_found"


def test_a_server_without_a_token_file_is_asked_without_a_token(data):
    (data / "admin.token").unlink()
    assert find_server({"CRONIUM_DATA_DIR": str(data)}).token is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"url": 3}', "{}"])
def test_a_broken_file_of_a_server_is_named(tmp_path, content):
    (tmp_path / "server.json").write_text(content)
    with pytest.raises(InvalidError, match=r"server\.json"):
        find_server({"CRONIUM_DATA_DIR": str(tmp_path)})


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8080",
        "ftp://x",
        "http://",
        "http://a:99999",
        "http://u:p@host",
        "http://h/?q=1",
        "http://h/a b",
        "http://h/\r\nX: y",
    ],
)
def test_a_url_that_makes_no_sense_is_refused(url):
    with pytest.raises(InvalidError, match="CRONIUM_URL"):
        find_server({"CRONIUM_URL": url, "CRONIUM_TOKEN": OTHER})


@pytest.mark.parametrize("token", ["a b", "a\nX-Other: b", "ü", " "])
def test_a_token_that_would_break_the_request_is_refused_and_not_repeated(token):
    with pytest.raises(InvalidError, match="CRONIUM_TOKEN") as caught:
        find_server({"CRONIUM_URL": "http://x", "CRONIUM_TOKEN": token})
    assert "X-Other" not in caught.value.message


@pytest.mark.parametrize(
    ("listening", "asked"), [("http://0.0.0.0:80", "http://127.0.0.1:80"), ("http://[::]:81", "http://[::1]:81")]
)
def test_a_server_that_listens_everywhere_is_asked_here(data, listening, asked):
    leave(data, url=listening, pid=os.getpid())
    assert find_server({"CRONIUM_DATA_DIR": str(data)}).url == asked


def test_the_data_directory_follows_the_settings_of_the_server(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert data_directory({}) == Path("/home/ada/.local/share/cronium")
    assert data_directory({"XDG_DATA_HOME": "/data"}) == Path("/data/cronium")
    assert data_directory({"XDG_DATA_HOME": "/data", "CRONIUM_DATA_DIR": "/mine"}) == Path("/mine")


def test_a_server_whose_directory_a_project_file_names_is_found_from_there(tmp_path, monkeypatch):
    data = tmp_path / "project" / "data"
    data.mkdir(parents=True)
    (tmp_path / "project" / "cronium.yaml").write_text("data_dir: data\n")
    (data / "server.json").write_text(json.dumps({"url": "http://127.0.0.1:9", "pid": os.getpid()}))
    env = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "nothing")}
    monkeypatch.chdir(tmp_path / "project")
    assert find_server(env).url == "http://127.0.0.1:9"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnavailableError, match="nothing"):
        find_server(env)


def test_a_project_file_with_a_fault_does_not_hide_that_there_is_no_server(tmp_path, monkeypatch):
    (tmp_path / "cronium.yaml").write_text("databse_url: x\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnavailableError):
        find_server({"HOME": str(tmp_path)})


def test_a_project_file_of_a_stranger_is_told_nothing(tmp_path, monkeypatch):
    """A checkout can bring any file: it leads to no other machine, and a token from elsewhere is not for it."""
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "cronium.yaml").write_text("data_dir: data\n")
    leave(data, url="http://cronium.example:8080", pid=os.getpid())
    monkeypatch.chdir(tmp_path)
    env = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "nothing"), "CRONIUM_TOKEN": OTHER}
    with pytest.raises(DeniedError, match="CRONIUM_URL"):
        find_server(env)
    leave(data, url="http://127.0.0.1:9", pid=os.getpid())
    assert find_server(env).token is None
