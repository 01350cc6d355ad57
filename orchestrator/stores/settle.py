"""Wait for what must not be left half done."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TypeVar

ResultT = TypeVar("ResultT")


async def settle(call: asyncio.Future[ResultT]) -> bool:
    """
    Wait until a call has ended, whatever happens; say whether we were cancelled meanwhile.

    A thread, or a statement on its way to a server, is not stopped by leaving: its connection would go to others
    while it is still at work.
    """
    interrupted = False
    while not call.done():
        # Not `asyncio.wait`, which takes five times as long.
        ended = call.get_loop().create_future()
        call.add_done_callback(partial(_tell, ended))
        try:
            await ended
        except asyncio.CancelledError:
            interrupted = True
    if not call.cancelled():
        call.exception()  # whoever was cancelled does not ask for it
    return interrupted


def _tell(ended: asyncio.Future[None], _call: asyncio.Future[ResultT]) -> None:
    if not ended.done():
        ended.set_result(None)
