"""An orchestrator to be killed: starts one process, says `started`, reads its output until the end of time."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from orchestrator.contracts.executor import ProcessSpec
from orchestrator.executors.process import ProcessSettings, open_process_executor
from orchestrator.model.logs import Cursor


async def main(state: Path, name: str, script: str, tied: bool) -> None:
    settings = ProcessSettings(spool=state / "spool", sdk=state, runtime_socket=state / "api.sock", inherit={})
    async with open_process_executor(settings) as executor:
        process = await executor.start(
            ProcessSpec(
                name=name,
                directory=state,
                argv=["/bin/sh", "-c", script],
                env={"PATH": "/usr/bin:/bin"},
                workdir="/",
                tied=tied,
            )
        )
        print("started", flush=True)
        async for _ in process.output(Cursor()):
            pass
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "tied"))
