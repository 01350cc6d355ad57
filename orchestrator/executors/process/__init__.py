"""The process executor: scripts as processes of this account, each under a small supervisor that outlives us."""

from __future__ import annotations

from orchestrator.executors.process.executor import ProcessSettings, open_process_executor

__all__ = ["ProcessSettings", "open_process_executor"]
