"""How a pull reads for people, what is advised when it fails, and which digest an image is recorded with."""

from __future__ import annotations

import json

import pytest

from orchestrator.executors.docker.images import digest_for
from orchestrator.executors.docker.progress import Progress
from orchestrator.executors.docker.refusals import LONGEST, plain, refused

DIGEST = "sha256:" + "5" * 64


def heard(*lines: object) -> Progress:
    progress = Progress()
    for line in lines:
        progress.hear(line if isinstance(line, bytes) else json.dumps(line).encode())
    return progress


def layer(number: int, status: str, current: int | None = None, total: int | None = None) -> dict[str, object]:
    amount = {} if current is None else {"current": current, "total": total}
    return {"id": f"layer{number}", "status": status, "progressDetail": amount}


def test_before_the_registry_has_answered_there_is_nothing_to_count():
    assert heard({"status": "Pulling from library/python", "id": "3.12"}).words() == "asking the registry"


def test_bytes_in_all_are_said_when_every_layer_has_begun():
    begun = [layer(1, "Downloading", 1_000_000, 5_000_000), layer(2, "Waiting")]
    assert heard(*begun).words() == "1.0 MB, 0 of 2 layers done"
    more = [*begun, layer(2, "Downloading", 500_000, 2_500_000)]
    assert heard(*more).words() == "1.5 of 7.5 MB, 0 of 2 layers done"


def test_layers_that_are_here_already_or_unpacked_are_done():
    progress = heard(
        layer(1, "Already exists"),
        layer(2, "Pulling fs layer"),
        layer(2, "Downloading", 100_000, 2_000_000),
        layer(2, "Verifying Checksum"),
        layer(2, "Download complete"),
    )
    assert progress.words() == "2.0 of 2.0 MB, 1 of 2 layers done"
    progress.hear(json.dumps(layer(2, "Extracting", 65536, 2_000_000)).encode())
    assert progress.words() == "2.0 of 2.0 MB, 1 of 2 layers done"
    progress.hear(json.dumps(layer(2, "Pull complete")).encode())
    assert progress.words() == "2.0 of 2.0 MB, 2 of 2 layers done"


def test_one_layer_is_one_layer():
    assert heard(layer(1, "Downloading", 0, 1_000_000)).words() == "0.0 of 1.0 MB, 0 of 1 layer done"


def test_that_the_engine_tries_again_is_said_until_it_gets_bytes():
    lines = [layer(1, "Downloading", 500_000, 1_000_000), layer(1, "Retrying in 5 seconds")]
    assert heard(*lines).words().endswith("; the registry broke off, the engine tries again")
    assert "tries again" not in heard(*lines, layer(1, "Downloading", 600_000, 1_000_000)).words()


def test_the_end_of_a_pull_is_read():
    done = heard({"status": f"Digest: {DIGEST}"}, {"status": "Status: Downloaded newer image for a:1"})
    assert (done.digest, done.is_up_to_date, done.error) == (DIGEST, False, None)
    same = heard({"status": f"Digest: {DIGEST}"}, {"status": "Status: Image is up to date for a:1"})
    assert (same.digest, same.is_up_to_date) == (DIGEST, True)
    bad = heard(layer(1, "Waiting"), {"error": "manifest unknown", "errorDetail": {"message": "manifest unknown"}})
    assert bad.error == "manifest unknown"


def test_what_is_no_line_of_progress_is_passed_over():
    assert heard(b"", b"  ", b"no JSON", b"[]", {"status": 3}, b"\xff").words() == "asking the registry"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("unauthorized: authentication required", "put credentials"),
        ("pull access denied for a/b, repository does not exist or may require 'docker login'", "put credentials"),
        ("manifest for a/b:1 not found: manifest unknown: manifest unknown", "Check the name and the tag"),
        ("dial tcp: lookup r.example.org on 10.0.0.2:53: no such host", "finds no machine of the name r.example.org"),
        ("net/http: request canceled while waiting for connection (Client.Timeout exceeded)", "is up and that"),
        ("dial tcp 10.0.0.1:443: i/o timeout", "is up and that"),
        ("dial tcp 10.0.0.1:443: connect: connection refused", "is up and that"),
        ("x509: certificate signed by unknown authority", "certs.d"),
        ("http: server gave HTTP response to HTTPS client", "insecure-registries"),
        ("toomanyrequests: You have reached your pull rate limit", "limits how much is pulled"),
        ("no matching manifest for linux/arm64/v8 in the manifest list entries", "not made for the machine"),
        ("write /var/lib/docker/tmp/x: no space left on device", "docker system prune"),
        ("the moon is full", "Check its name and that the engine can reach"),
    ],
)
def test_what_a_registry_says_comes_with_what_to_do(words: str, advice: str):
    said = refused(words, "r.example.org", logged_in=False)
    assert words in said
    assert advice in said


def test_credentials_that_did_not_help_are_to_be_renewed_and_not_to_be_added():
    said = refused("unauthorized: incorrect username or password", "r.example.org", logged_in=True)
    assert "renew the credentials" in said
    assert "r.example.org" in said
    assert "put credentials" not in said


def test_a_registry_cannot_write_lines_or_books_into_a_message():
    assert plain("one\r\ntwo\x1b[31m three") == "one two [31m three"
    assert len(plain("word " * 1000)) <= LONGEST + 3


@pytest.mark.parametrize(
    ("image", "digests", "found"),
    [
        ("r.example.org/a:1", ["other/a@sha256:1", "r.example.org/a@sha256:2"], "r.example.org/a@sha256:2"),
        ("mine:1", ["r.example.org/a@sha256:2"], "r.example.org/a@sha256:2"),
        ("a@sha256:2", ["a@sha256:1", "a@sha256:2"], "a@sha256:2"),
        ("mine:1", [], None),
    ],
)
def test_the_digest_is_that_of_the_repository_the_job_named(image: str, digests: list[str], found: str | None):
    assert digest_for(image, digests) == found
