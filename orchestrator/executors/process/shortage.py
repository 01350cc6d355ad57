"""Being out of descriptors or memory: trouble of this process, which says nothing about the one that is looked at."""

from __future__ import annotations

import errno

_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def is_shortage(error: OSError) -> bool:
    """Whether the same call may succeed a little later, when others have given back what they hold."""
    return error.errno in _SHORTAGES
