"""Runs in the container that installs packages for Python, with the image's own Python: pip, then what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import distributions

UNFIT = 3  # the exit code for a Python that the script does not want
LOG = "/tmp/pip.log"  # noqa: S108 - in the container
UNREACHED = "Could not fetch URL"


def main(requires: str, target: str, scripts: str, *requirements: str) -> int:
    """`requires`: the script's requires-python, or nothing; `scripts` "1": packages may run code of their own."""
    os.umask(0)  # whoever keeps the packages has another account, and must be able to remove them
    if requires and not fits(requires):
        return UNFIT
    if requirements:
        wheels = [] if scripts == "1" else ["--only-binary", ":all:"]
        quiet = ["--no-cache-dir", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
        call = [sys.executable, "-m", "pip", "install", "--log", LOG, *quiet, *wheels]
        call += ["--target", target, "--", *requirements]
        if subprocess.call(call):  # noqa: S603 - no shell, and no option among the requirements
            return failed()
    open_up(target)
    found = {one.metadata["Name"]: one.version for one in distributions(path=[target])}
    sys.stdout.write("\ncronium-packages:" + json.dumps(found) + "\n")
    return 0


def fits(requires: str) -> bool:
    """Ask pip's own library: the image need not have another."""
    from pip._vendor.packaging.specifiers import SpecifierSet  # noqa: PLC0415

    version = ".".join(map(str, sys.version_info[:3]))
    if SpecifierSet(requires).contains(version, prereleases=True):
        return True
    sys.stdout.write(f"cronium-python:{version}\n")
    return False


def failed() -> int:
    """Of an index that cannot be reached, or wants a password, pip says only in its log that this was why."""
    try:
        with open(LOG, encoding="utf-8", errors="replace") as lines:  # noqa: PTH123
            reasons = [line[line.index(UNREACHED) :].strip() for line in lines if UNREACHED in line]
    except OSError:
        reasons = []
    for reason in sorted(set(reasons))[:3]:
        sys.stdout.write(f"ERROR: {reason}\n")
    return 1


def open_up(target: str) -> None:
    """A package may bring directories that only their owner can enter."""
    for place, names, _ in os.walk(target):
        for name in names:
            path = os.path.join(place, name)  # noqa: PTH118
            if not os.path.islink(path):  # noqa: PTH114
                os.chmod(path, 0o777)  # noqa: PTH101, S103


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
