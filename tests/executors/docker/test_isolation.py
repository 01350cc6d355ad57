"""What a script in a container can and cannot do, as it sees it itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.model.jobs import Reason
from orchestrator.model.specs import Limits
from tests.executors.docker.engine_for_tests import PYTHON, inspect, make_spec, open_executor
from tests.suites.executor_suite import Seen, finish, read_until

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("nothing_left")]


async def run(state: Path, script: str, **changes: Any) -> Seen:
    async with open_executor(state) as executor:
        process = await executor.start(make_spec(state, script, **changes))
        seen = await finish(process)
        await process.remove()
    return seen


async def test_a_script_has_no_rights_and_can_get_none(tmp_path: Path):
    seen = await run(tmp_path, "grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs):' /proc/self/status")
    fields = dict(line.split(":\t", 1) for line in seen.stdout.decode().splitlines())
    assert fields["Uid"].split() == ["65534"] * 4
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"] == "1"


@pytest.mark.parametrize("place", ["/", "/etc", "/usr/bin", "/cronium", "/run/cronium", "/var/tmp"])
async def test_a_script_cannot_write_outside_its_own_places(tmp_path: Path, place: str):
    seen = await run(tmp_path, f"touch {place}/new && echo written; chmod 777 {place} && echo changed")
    assert seen.stdout == b""


async def test_the_mounts_are_read_only_not_just_closed(tmp_path: Path):
    seen = await run(
        tmp_path, "grep -E ' (/cronium|/run/cronium|/) ' /proc/self/mounts | cut -d' ' -f2,4 | cut -d, -f1"
    )
    assert sorted(seen.stdout.decode().splitlines()) == ["/ ro", "/cronium ro", "/run/cronium ro"]


async def test_a_script_can_write_and_execute_in_its_workspace(tmp_path: Path):
    script = "pwd; printf '#!/bin/sh\\necho ran' > program && chmod 755 program && ./program && echo $HOME"
    seen = await run(tmp_path, script, env={"HOME": "/workspace"})
    assert seen.stdout == b"/workspace\nran\n/workspace\n"


async def test_tmp_is_writable_and_executes_nothing(tmp_path: Path):
    script = "printf '#!/bin/sh\\necho ran' > /tmp/program && chmod 755 /tmp/program && echo kept; /tmp/program"
    seen = await run(tmp_path, script)
    assert seen.stdout == b"kept\n"
    assert b"denied" in seen.stderr


async def test_the_workspace_is_smaller_than_the_memory(tmp_path: Path):
    script = "head -c 60M /dev/zero > fill; echo $?; wc -c < fill"
    seen = await run(tmp_path, script, limits=Limits(memory_bytes=64 * 1024 * 1024))
    assert seen.stdout.split() == [b"1", b"%d" % (32 * 1024 * 1024)]
    assert seen.exit.code == 0


async def test_there_is_no_network_unless_asked_for(tmp_path: Path):
    seen = await run(tmp_path, "ls /sys/class/net")
    assert seen.stdout == b"lo\n"


async def test_the_network_of_another_container_is_refused(tmp_path: Path):
    async with open_executor(tmp_path) as executor:
        with pytest.raises(Exception, match="another container") as failure:
            await executor.start(make_spec(tmp_path, "true", network="container:abc"))
    assert getattr(failure.value, "reason", None) == Reason.INVALID


async def test_the_number_of_processes_is_limited(tmp_path: Path):
    script = "i=0; while [ $i -lt 60 ]; do sleep 100 & i=$((i+1)); echo $i; done"
    seen = await run(tmp_path, script, limits=Limits(pids=32))
    assert 20 < len(seen.stdout.split()) < 32
    assert seen.exit.code != 0


async def test_the_directory_of_the_runtime_socket_is_there(tmp_path: Path):
    (tmp_path / "sockets").mkdir()
    (tmp_path / "sockets" / "api.sock").touch()
    seen = await run(tmp_path, "ls /run/cronium")
    assert seen.stdout == b"api.sock\n"


async def test_the_attempts_directory_may_lie_where_the_script_could_not_go(tmp_path: Path):
    closed = tmp_path / "data"
    closed.mkdir(mode=0o700)
    spec = make_spec(closed, "cat /cronium/input.json")
    file = spec.directory / "input.json"
    file.write_text("{}")
    file.chmod(0o444)
    spec.directory.chmod(0o555)
    async with open_executor(tmp_path) as executor:
        process = await executor.start(spec)
        seen = await finish(process)
        await process.remove()
    assert seen.stdout == b"{}"


async def test_a_script_that_takes_too_much_memory_is_out_of_memory(tmp_path: Path):
    argv = ["python3", "-c", "x = b'x' * 10**9"]
    seen = await run(tmp_path, "", argv=argv, image=PYTHON, limits=Limits(memory_bytes=64 * 1024 * 1024))
    assert (seen.exit.code, seen.exit.reason) == (137, Reason.OUT_OF_MEMORY)
    assert seen.exit.note is not None


async def test_a_script_that_survives_a_child_out_of_memory_has_succeeded_with_a_note(tmp_path: Path):
    script = "python3 -c \"x = b'x' * 10**9\"; exit 0"
    seen = await run(tmp_path, script, image=PYTHON, limits=Limits(memory_bytes=64 * 1024 * 1024))
    assert (seen.exit.code, seen.exit.reason) == (0, None)
    assert "memory" in (seen.exit.note or "")


async def test_a_container_says_whose_it_is_and_is_limited(tmp_path: Path):
    async with open_executor(tmp_path) as executor:
        spec = make_spec(tmp_path, "echo up; sleep 1000", limits=Limits(cpus=0.5, pids=40, memory_bytes=2**27))
        process = await executor.start(spec)
        await read_until(process, b"up\n")
        found = inspect(spec.name)
        await process.remove()
    labels = found["Config"]["Labels"]
    assert (labels["cronium.job"], labels["cronium.attempt"]) == ("job_1", "1")
    host = found["HostConfig"]
    assert (host["NanoCpus"], host["PidsLimit"], host["Memory"], host["MemorySwap"]) == (5 * 10**8, 40, 2**27, 2**27)
    assert host["LogConfig"]["Config"] == {"mode": "blocking", "max-size": "442572800", "max-file": "2"}


async def test_the_path_is_the_images_own(tmp_path: Path):
    seen = await run(tmp_path, "echo $PATH")
    assert b"/usr/bin" in seen.stdout


async def test_every_byte_arrives_unchanged_as_long_as_nobody_restarts(tmp_path: Path):
    every = bytes(range(256))
    octal = "".join(f"\\{byte:03o}" for byte in every)
    seen = await run(tmp_path, f"printf '{octal}'; printf '{octal}' >&2")
    assert (seen.stdout, seen.stderr) == (every, every)


async def test_each_start_has_a_workspace_of_its_own(tmp_path: Path):
    first = await run(tmp_path, "touch left; ls")
    second = await run(tmp_path, "ls")
    assert (first.stdout, second.stdout) == (b"left\n", b"")
