"""The process executor keeps every promise of the seam."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from orchestrator.contracts.executor import Executor, ProcessSpec
from orchestrator.executors.process import ProcessSettings, open_process_executor
from tests.suites.executor_suite import ExecutorSuite

ROOT = Path(__file__).parents[3]


class TestProcessExecutor(ExecutorSuite):
    def open_executor(self, state: Path) -> AbstractAsyncContextManager[Executor]:
        spool = state / "spool"
        spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        return open_process_executor(
            ProcessSettings(
                spool=spool,
                sdk=ROOT / "sdk",
                runtime_socket=state / "api.sock",
                inherit={"PATH": "/usr/local/bin:/usr/bin:/bin"},
            )
        )

    def spec(self, executor: Executor, state: Path, script: str, **changes: Any) -> ProcessSpec:
        spec = super().spec(executor, state, script, **changes)
        if spec.workdir.endswith("/work"):
            Path(spec.workdir).mkdir(exist_ok=True)
        return spec
