"""Read what a job asks of its container: packages, volumes, its workspace, whether it may be warm."""

from __future__ import annotations

import re

from orchestrator.jobs.faults import Reading, kind_of, near, shown
from orchestrator.model.json import Json
from orchestrator.model.specs import Volume, Workspace

# A name, for npm with its scope, and what follows it; no address and no path, which nobody has looked through.
PACKAGE = re.compile(
    r"(?:@[A-Za-z0-9~_-][A-Za-z0-9._~-]{0,99}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,199}(?:[\[<>=!~;@( ][^/\\:\x00-\x1f\x7f]{0,299})?"
)
VOLUME_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
PATH = re.compile(r"/[^\x00-\x1f\x7f:]{1,4000}")
MAX_PACKAGES = 200
MAX_VOLUMES = 50
VOLUME_KEYS = ("source", "target")
OURS = ("/cronium", "/run/cronium", "/workspace", "/tmp", "/artifacts", "/packages", "/proc", "/sys", "/dev")  # noqa: S108

# Read-only in the place of what the engine has to make its own mounts in.
ABOVE_OURS = ("/etc", "/run", "/sbin", "/usr", "/usr/sbin", "/var", "/var/run")


def read_packages(value: Json, reading: Reading) -> tuple[str, ...] | None:
    """A list of requirements, such as ["requests>=2.31", "rich"] or ["lodash@4", "@scope/name"]."""
    if not isinstance(value, list) or len(value) > MAX_PACKAGES:
        reading.wrong(f"Must be a list of at most {MAX_PACKAGES} requirements, such as [requests>=2.31, rich].")
        return None
    for index, item in enumerate(value):
        if not isinstance(item, str) or not PACKAGE.fullmatch(item):
            reading.at(index).wrong(
                "Must be a requirement such as `requests>=2.31` or `lodash@4`: a name that the index has, no address, no path."
            )
    return tuple(item for item in value if isinstance(item, str))


def read_volumes(value: Json, reading: Reading) -> tuple[Volume, ...] | None:
    """A list of `source:target` or `{source: ..., target: ...}`."""
    if not isinstance(value, list) or len(value) > MAX_VOLUMES:
        reading.wrong(f"Must be a list of at most {MAX_VOLUMES} volumes, such as [/srv/data:/data].")
        return None
    volumes = [_volume(item, reading.at(index)) for index, item in enumerate(value)]
    found = tuple(volume for volume in volumes if volume is not None)
    targets = [volume.target for volume in found]
    for target in sorted({target for target in targets if targets.count(target) > 1}):
        reading.wrong(f"Two volumes have the target {target}: give each its own.")
    return found


def _volume(value: Json, reading: Reading) -> Volume | None:
    if isinstance(value, str):
        source, colon, target = value.partition(":")
        target, _, mode = target.partition(":")
        if not colon or mode not in ("", "ro"):
            reading.wrong("Must be `source:target`; volumes are read-only, so write no mode but `ro` behind it.")
            return None
    elif isinstance(value, dict):
        for key in value:
            if key not in VOLUME_KEYS:
                reading.at(shown(key)).wrong(f"Unknown key `{shown(key)}`.{near(key, VOLUME_KEYS)}")
        given = {key: value.get(key) for key in VOLUME_KEYS}
        source, target = (text if isinstance(text, str) else "" for text in given.values())
    else:
        reading.wrong(f"Must be `source:target`, not {kind_of(value)}.")
        return None
    return _checked(source, target.rstrip("/"), reading)


def _checked(source: str, target: str, reading: Reading) -> Volume | None:
    if not PATH.fullmatch(source) and not VOLUME_NAME.fullmatch(source):
        reading.wrong("The source must be an absolute path, or the name of a volume.")
    elif not PATH.fullmatch(target) or _has_dots(source) or _has_dots(target):
        reading.wrong(
            "The target must be an absolute path such as /data, and neither may hold `.`, `..` or empty steps."
        )
    elif any(target == place or target.startswith(f"{place}/") for place in OURS):
        reading.wrong(f"{target} is taken by Cronium or the system: choose another target, such as /data.")
    elif target in ABOVE_OURS:
        reading.wrong(
            f"{target} holds what every container needs: choose a directory in it, or another, such as /data."
        )
    else:
        return Volume(source=source, target=target)
    return None


def _has_dots(path: str) -> bool:
    return "//" in path or any(part in (".", "..") for part in path.split("/"))


def read_workspace(value: Json, reading: Reading) -> Workspace | None:
    """`tmpfs` or `volume`."""
    if isinstance(value, str) and value in tuple(Workspace):
        return Workspace(value)
    reading.wrong("Must be `tmpfs` (in memory, within the job's limit) or `volume` (on disk).")
    return None


def read_flag(value: Json, reading: Reading) -> bool | None:
    """True or false."""
    if isinstance(value, bool):
        return value
    reading.wrong(f"Must be true or false, not {kind_of(value)}.")
    return None
