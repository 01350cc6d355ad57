"""What cannot run says why and what to do."""

from __future__ import annotations

import pytest

from tests.e2e.serving import Serving


def test_a_missing_interpreter_is_named(serving: Serving, tmp_path):
    serving.stop()
    empty = tmp_path / "bin"
    empty.mkdir()
    (empty / "sh").symlink_to("/bin/sh")
    serving.env["PATH"] = str(empty)
    serving.start()

    job = serving.wait(serving.submit(node="1"))

    assert (job["status"], job["reason"], job["exit_code"]) == ("failed", "invalid", None)
    assert "node" in job["message"]
    assert "install" in job["message"].lower()


@pytest.mark.docker
def test_an_unknown_image_is_named(shared: Serving):
    job = shared.wait(shared.submit(shell="true", image="cronium-no-such-image:1", pull="never"))

    assert (job["status"], job["reason"]) == ("failed", "image_unavailable")
    assert "cronium-no-such-image:1" in job["message"]


def test_a_dead_docker_daemon_is_named(serving: Serving, tmp_path):
    serving.stop()
    serving.env["CRONIUM_DOCKER_ENDPOINT"] = f"unix://{tmp_path}/nobody.sock"
    serving.start()

    job = serving.wait(serving.submit(shell="true", executor="docker"))

    assert (job["status"], job["reason"]) == ("failed", "host_unreachable")
    assert "nobody.sock" in job["message"]


def test_a_working_directory_that_is_not_there_is_named(shared: Serving):
    job = shared.wait(shared.submit(shell="true", workdir="/no/such/place"))

    assert (job["status"], job["reason"]) == ("failed", "invalid")
    assert "/no/such/place" in job["message"]
