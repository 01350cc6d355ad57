"""Start here: the `cronium` command."""

from __future__ import annotations

import sys

from orchestrator import __version__
from orchestrator.cli.descriptors import open_closed


def main() -> None:
    """Answer `--version` at once; everything else is in `orchestrator.cli.main`."""
    open_closed()
    if sys.argv[1:] in (["--version"], ["-V"]):
        sys.stdout.write(f"cronium {__version__}\n")
        return
    from orchestrator.cli.main import main as run_command  # noqa: PLC0415 - click takes longer than the answer above

    sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
