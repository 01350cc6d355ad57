"""Talks to a server over HTTP: JSON in, JSON out, problem documents as errors of our tree."""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import quote, urlencode

from orchestrator import __version__
from orchestrator.cli.address import Address, find_server
from orchestrator.cli.inputs import load_json
from orchestrator.errors import (
    ConflictError,
    CroniumError,
    DeniedError,
    Fault,
    InvalidError,
    LimitExceededError,
    NotFoundError,
    UnavailableError,
)
from orchestrator.model.json import Json

TIMEOUT_SECONDS = 30.0
IDLE_SECONDS = 60.0  # a stream that is silent for so long is opened again: its connection may be dead unnoticed
MAX_ANSWER_BYTES = 256 * 1024 * 1024
BLOCK_BYTES = 256 * 1024
UNREACHABLE = ("server_not_found", "server_unreachable")
GATEWAY_STATUS = (502, 503, 504)  # without a problem document: a proxy speaks, the server behind it does not

Query = Mapping[str, str | int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """
    Asks one server; every call has a connection of its own and follows no redirect.

    Errors: `UnavailableError` with code `server_unreachable`; what a problem document says as the error of its
    status, with its code, detail and faults.
    """

    address: Address
    timeout_seconds: float = TIMEOUT_SECONDS

    def get(self, path: str, query: Query | None = None) -> dict[str, Json]:
        """The answer to `GET /api/v3{path}`."""
        with self.asked("GET", _target(path, query)) as response:
            return _document(_whole(response))

    def post(self, path: str, body: Json = None, *, idempotency_key: str | None = None) -> dict[str, Json]:
        """
        The answer to `POST /api/v3{path}`. Never sent twice: it may have had its effect.

        Whoever gives it an idempotency key may call again with the same.
        """
        with self.asked("POST", _target(path, None), body=body, idempotency_key=idempotency_key) as response:
            return _document(_whole(response))

    def put(
        self, path: str, body: Json, query: Query | None = None, *, headers: Mapping[str, str] | None = None
    ) -> dict[str, Json]:
        """The answer to `PUT /api/v3{path}`, with the conditions that `headers` name."""
        with self.asked("PUT", _target(path, query), body=body, headers=headers) as response:
            return _document(_whole(response))

    def delete(
        self, path: str, query: Query | None = None, *, headers: Mapping[str, str] | None = None
    ) -> dict[str, Json]:
        """The answer to `DELETE /api/v3{path}`, with the conditions that `headers` name."""
        with self.asked("DELETE", _target(path, query), headers=headers) as response:
            return _document(_whole(response))

    def stream(self, path: str, query: Query | None = None) -> Generator[dict[str, Json], None, None]:
        """
        The objects of an answer in NDJSON, as they come.

        Ends when the server ends the answer, and when the connection is cut or silent for too long: the caller, who
        knows the last object, decides whether to ask again.
        """
        with self.asked("GET", _target(path, query), accept="application/x-ndjson") as response:
            for line in _stream_lines(response):
                if line.strip():
                    yield _document(line)

    @contextmanager
    def asked(
        self,
        method: str,
        target: str,
        *,
        body: Json = None,
        accept: str = "application/json",
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[HTTPResponse]:
        """A response with a status of success, headers read, body not."""
        idle = IDLE_SECONDS if accept == "application/x-ndjson" else self.timeout_seconds
        connection = _connection(self.address, self.timeout_seconds)
        try:
            more = dict(headers or {}) | ({} if idempotency_key is None else {"Idempotency-Key": idempotency_key})
            response = self._send(connection, method, target, body=body, headers={"Accept": accept, **more})
            if connection.sock is not None:
                connection.sock.settimeout(idle)
            self._check(response)
            yield response
        finally:
            connection.close()

    def _send(
        self, connection: HTTPConnection, method: str, target: str, *, body: Json, headers: dict[str, str]
    ) -> HTTPResponse:
        headers["User-Agent"] = f"cronium/{__version__}"
        if self.address.token is not None:
            headers["Authorization"] = f"Bearer {self.address.token}"
        data = None
        if method in ("POST", "PUT"):
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode("ascii") if body is not None else b""
        try:
            connection.connect()
        except OSError as error:
            raise _unreachable(self.address, error) from error
        try:
            connection.request(method, self.address.prefix + target, body=data, headers=headers)
            return connection.getresponse()
        except (OSError, HTTPException) as error:
            doubt = " Whether the request had its effect is not known: look with `cronium jobs`." if data else ""
            raise UnavailableError(
                f"The server at {self.address.url} did not answer: {_cause(error)}.{doubt}", code="server_unreachable"
            ) from error

    def _check(self, response: HTTPResponse) -> None:
        """Raise what a response without success says."""
        if 200 <= response.status < 300:
            return
        if 300 <= response.status < 400:
            location = response.getheader("Location", "another place")
            raise InvalidError(
                f"The server at {self.address.url} sends us on to {location}: set CRONIUM_URL to the right address."
            )
        raise _problem(response, self.address)


def open_client() -> Client:
    """A client of the server that the environment names, or of this account's own."""
    return Client(address=find_server(os.environ))


def path_of(*parts: str) -> str:
    """A path from parts that may hold anything."""
    return "".join("/" + quote(part, safe="") for part in parts)


def _target(path: str, query: Query | None) -> str:
    given = {key: value for key, value in (query or {}).items() if value is not None}
    return f"/api/v3{path}" + (f"?{urlencode(given)}" if given else "")


def _connection(address: Address, timeout: float) -> HTTPConnection:
    if address.secure:
        return HTTPSConnection(address.host, address.port, timeout=timeout, context=ssl.create_default_context())
    return HTTPConnection(address.host, address.port, timeout=timeout)


def _unreachable(address: Address, error: OSError) -> UnavailableError:
    return UnavailableError(
        f"The server at {address.url} (from {address.source}) does not answer: {_cause(error)}.",
        code="server_unreachable",
    )


def _cause(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}; SSL_CERT_FILE names further authorities)"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def _whole(response: HTTPResponse) -> bytes:
    try:
        data = response.read(MAX_ANSWER_BYTES)
    except (OSError, HTTPException) as error:
        raise UnavailableError(f"The server's answer broke off: {_cause(error)}.", code="server_unreachable") from error
    if len(data) == MAX_ANSWER_BYTES:
        raise LimitExceededError("The server's answer is too large: ask for less at once.")
    return data


def _stream_lines(response: HTTPResponse) -> Iterator[bytes]:
    """The lines of a response as they come; a last one that was cut off is dropped."""
    rest: list[bytes] = []
    held = 0
    while block := _block(response):
        first, *others = block.split(b"\n")
        rest.append(first)
        held += len(first)
        if held > MAX_ANSWER_BYTES:
            raise LimitExceededError("The server sends a message without an end.")
        if others:
            yield b"".join(rest)
            yield from others[:-1]
            rest, held = [others[-1]], len(others[-1])


def _block(response: HTTPResponse) -> bytes:
    """What there is to read; nothing at the end, however it came."""
    try:
        return response.read1(BLOCK_BYTES)
    except (OSError, HTTPException):
        return b""


def _document(data: bytes) -> dict[str, Json]:
    try:
        value = load_json(data.decode("utf-8"))
    except ValueError as error:
        raise CroniumError(
            f"The answer is not JSON ({error}): is CRONIUM_URL the address of a Cronium server?", code="bad_answer"
        ) from error
    if not isinstance(value, dict):
        raise CroniumError("The answer is not a JSON object: is this a Cronium server?", code="bad_answer")
    return value


def _problem(response: HTTPResponse, address: Address) -> CroniumError:
    """The error that a problem document (RFC 9457) describes, or the best one can say without a document."""
    try:
        problem = _document(_whole(response))
    except CroniumError:
        problem = {}
    code, detail = problem.get("code"), problem.get("detail") or problem.get("title")
    if not isinstance(code, str) or not isinstance(detail, str):
        said = f"The server at {address.url} answered {response.status} {response.reason}"
        if response.status in GATEWAY_STATUS:
            return UnavailableError(f"{said}.", code="server_unreachable")
        return _error(response.status, f"{said}: is CRONIUM_URL right?", "bad_answer", ())
    return _error(response.status, detail, code, _faults(problem.get("errors")))


def _error(status: int, message: str, code: str, faults: tuple[Fault, ...]) -> CroniumError:
    match status:
        case 400 | 422:
            return InvalidError(message, code=code, faults=faults)
        case 401 | 403:
            return DeniedError(message, code=code)
        case 404:
            return NotFoundError(message, code=code)
        case 409:
            return ConflictError(message, code=code)
        case 413 | 429:
            return LimitExceededError(message, code=code)
        case 503:
            return UnavailableError(message, code=code)
        case _:
            return CroniumError(message, code=code)


def _faults(errors: Json) -> tuple[Fault, ...]:
    found: Sequence[Json] = errors if isinstance(errors, list) else []
    return tuple(
        Fault(path=str(fault.get("path", "")), message=str(fault.get("message", "")))
        for fault in found
        if isinstance(fault, dict)
    )
