"""`Requests` over a bus."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from orchestrator import errors
from orchestrator.caches.background import in_background
from orchestrator.caches.documents import pack
from orchestrator.contracts.cache import Bus, Handler, Subscription, literally
from orchestrator.errors import CroniumError, LimitExceededError, NotFoundError, UnavailableError
from orchestrator.model.json import Json

log = logging.getLogger(__name__)

MAX_AT_ONCE = 100
_KINDS: dict[str, type[CroniumError]] = {
    kind.__name__: kind
    for kind in (
        errors.NotFoundError,
        errors.ConflictError,
        errors.InvalidError,
        errors.DeniedError,
        errors.LeaseLostError,
        errors.UnavailableError,
        errors.LimitExceededError,
    )
}


class BusRequests:
    """
    `Requests` on a bus that nothing else uses.

    A caller listens at an address of its own and publishes `{"ask": id, ...}` to the name. Who serves it answers there
    first `taken`, then `done` or `failed`. `{"cancel": id}` says that the caller has gone.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    @asynccontextmanager
    async def serve(self, name: str, handler: Handler) -> AsyncIterator[None]:
        async with self._bus.subscribe(literally(_desk(name))) as incoming:
            desk = _Desk(self._bus, name, handler)
            async with in_background(desk.serve(incoming)):
                yield

    async def call(self, name: str, body: Json, *, within: timedelta) -> Json:
        number = secrets.token_hex(16)
        address = f"answer/{number}"
        taken = False
        try:
            async with (
                asyncio.timeout(within.total_seconds()),
                self._bus.subscribe(address) as answers,
                self._cancelling(name, number),
            ):
                if not await self._bus.publish(_desk(name), {"ask": number, "answer": address, "body": body}):
                    raise _nobody(name)
                async for answer in answers:
                    taken = True
                    if not (isinstance(answer.body, dict) and "taken" in answer.body):
                        return _result(name, answer.body)
        except TimeoutError:
            pass
        if not taken:
            raise _nobody(name)
        raise UnavailableError(
            f"The request {name!r} was taken but not answered within {within}: try again, or allow more time.",
            code="request_timeout",
        )

    @asynccontextmanager
    async def _cancelling(self, name: str, number: str) -> AsyncIterator[None]:
        """Tell the handler when the caller gives up, in time or because it is cancelled itself."""
        try:
            yield
        except asyncio.CancelledError:
            try:
                await self._bus.publish(_desk(name), {"cancel": number})
            except UnavailableError as error:
                log.warning("a handler was not told that its caller gave up", extra=_about(name, error))
            raise


class _Desk:
    """Where requests for one name come in."""

    def __init__(self, bus: Bus, name: str, handler: Handler) -> None:
        self._bus = bus
        self._name = name
        self._handler = handler
        self._working: dict[str, asyncio.Task[None]] = {}

    async def serve(self, incoming: Subscription) -> None:
        async with asyncio.TaskGroup() as tasks:
            async for message in incoming:
                match message.body:
                    case {"ask": str(number), "answer": str(address), "body": body}:
                        self._working[number] = tasks.create_task(self._answer(number, address, body))
                    case {"cancel": str(number)} if number in self._working:
                        self._working[number].cancel()

    async def _answer(self, number: str, address: str, body: Json) -> None:
        try:
            await self._bus.publish(address, {"taken": True})
            await self._bus.publish(address, await self._outcome(body))
        except UnavailableError as error:  # the caller's time will be over
            log.warning("a request could not be answered", extra=_about(self._name, error))
        finally:
            self._working.pop(number, None)

    async def _outcome(self, body: Json) -> Json:
        """The answer as a message; whatever the handler raises becomes one too."""
        try:
            if len(self._working) > MAX_AT_ONCE:
                raise LimitExceededError(f"More than {MAX_AT_ONCE} requests {self._name!r} at once: try again later.")
            result = await self._handler(body)
            pack(result)  # what is not JSON is the handler's fault, and told as such
        except CroniumError as error:
            return {"failed": {"kind": type(error).__name__, "code": error.code, "message": error.message}}
        except Exception as error:
            log.exception("a handler of requests failed", extra=_about(self._name, error))
            message = f"The handler of {self._name!r} failed; its log says why."
            return {"failed": {"kind": "CroniumError", "code": "request_failed", "message": message}}
        return {"done": result}


def _desk(name: str) -> str:
    return f"ask/{name}"


def _result(name: str, answer: Json) -> Json:
    match answer:
        case {"done": result}:
            return result
        case {"failed": {"kind": str(kind), "code": str(code), "message": str(message)}}:
            raise _KINDS.get(kind, CroniumError)(message, code=code)
        case _:
            message = f"The request {name!r} got an answer of another version of Cronium."
            raise CroniumError(message, code="request_failed")


def _nobody(name: str) -> NotFoundError:
    return NotFoundError(
        f"Nobody takes the request {name!r}: whatever serves it does not run, or has too much to do.",
        code="request_no_handler",
    )


def _about(name: str, error: Exception) -> dict[str, str]:
    return {"request": name, "error": str(error)}
