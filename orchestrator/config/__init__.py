"""Every setting of the server: flag, environment, project file, user file, default. `mode` is read here and nowhere else."""

from __future__ import annotations

from orchestrator.config.load import load_settings
from orchestrator.config.settings import ServerSettings, default_data_dir, is_loopback
from orchestrator.config.urls import Database, PostgresDatabase, SecretUrl, SqliteDatabase

__all__ = [
    "Database",
    "PostgresDatabase",
    "SecretUrl",
    "ServerSettings",
    "SqliteDatabase",
    "default_data_dir",
    "is_loopback",
    "load_settings",
]
