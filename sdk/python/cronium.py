"""
Cronium for Python scripts: the job's input and output, variables, the condition and the context.

    import cronium

    rows = cronium.input()["rows"]
    cronium.set_variable("last_count", len(rows))
    cronium.output({"count": len(rows)})

One file, standard library only, Python 3.8 or later. Importing it does nothing but define names. Inside a job it talks to
the runtime API that the environment names; outside of one it works on a local file, `CRONIUM_STUB_FILE` or `.cronium.json`.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time

# Every job pays for this import: `typing`, `http.client` and `asyncio` are loaded where they are used, if they are.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from http.client import HTTPConnection
    from types import TracebackType
    from typing import Any, Callable, Dict, Mapping, NoReturn, Optional, Tuple, Type, TypeVar, Union

    Result = TypeVar("Result")

__version__ = "0.1.0"
__all__ = [
    "AsyncCronium",
    "Cronium",
    "CroniumAPIError",
    "CroniumError",
    "CroniumTimeoutError",
    "event",
    "getCondition",
    "getEventContext",
    "getInput",
    "getVariable",
    "get_condition",
    "get_event_context",
    "get_input",
    "get_variable",
    "input",
    "output",
    "setCondition",
    "setOutput",
    "setVariable",
    "set_condition",
    "set_output",
    "set_variable",
]

BASE_NAMES = ("CRONIUM_RUNTIME_API", "CRONIUM_API_ENDPOINT", "CRONIUM_API_URL")
TOKEN_NAMES = ("CRONIUM_EXECUTION_TOKEN", "CRONIUM_API_TOKEN")
ID_NAMES = ("CRONIUM_EXECUTION_ID", "CRONIUM_JOB_ID")

DEADLINE_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0
RETRIED_STATUSES = (429, 502, 503, 504)
DEEPEST = 250


class CroniumError(Exception):
    """
    The call could not be made or was not answered. `code` says why in one stable word.

    `runtime_unavailable`: nothing answers at the address of the runtime API. `configuration`: an environment variable
    or the stub file is wrong. The subclasses have codes of their own.
    """

    def __init__(self, message: str, code: str = "runtime_unavailable") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class CroniumAPIError(CroniumError):
    """The runtime API refused: `status_code` is the HTTP status, `code` its stable reason, `message` what to do."""

    def __init__(self, status_code: int, code: str, message: str) -> None:
        super().__init__(message, code)
        self.status_code = status_code

    def __str__(self) -> str:
        return "{} ({} {})".format(self.message, self.status_code, self.code)


class CroniumTimeoutError(CroniumError):
    """The runtime API took the call and did not answer within the deadline; `code` is `timeout`."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "timeout")


class Cronium:
    """
    One job's side of the runtime API.

    What is not given is taken from the environment, at each call. A call is tried again while the runtime API cannot be
    reached or is busy, until `deadline_seconds` (default 60, or CRONIUM_SDK_DEADLINE_SECONDS) have passed. Every method
    may raise `CroniumError`; a value that is no JSON raises `TypeError` or `ValueError` before anything is sent.
    Instances keep no connection and may be shared by threads and inherited by forks.
    """

    def __init__(
        self,
        base: Optional[str] = None,
        token: Optional[str] = None,
        execution_id: Optional[str] = None,
        deadline_seconds: Optional[float] = None,
    ) -> None:
        self._base = base
        self._token = token
        self._execution_id = execution_id
        self._deadline_seconds = deadline_seconds

    def input(self) -> Any:
        """The job's input; None when it has none."""
        return self._door().get("input")

    def output(self, data: Any) -> None:
        """Keep the job's output, replacing what was kept before."""
        encoded = _encoded(data, "output")
        self._door().put("output", "data", encoded)

    def get_variable(self, key: str) -> Any:
        """The variable's value; None when there is no such variable."""
        return self._door().get_variable(_checked_key(key))

    def set_variable(self, key: str, value: Any) -> None:
        """Write the variable."""
        encoded = _encoded(value, _checked_key(key))
        self._door().set_variable(key, encoded)

    def get_condition(self) -> Optional[bool]:
        """The job's condition; None when none was set."""
        condition: Optional[bool] = self._door().get("condition")
        return condition

    def set_condition(self, condition: bool) -> None:
        """Keep the job's condition."""
        if not isinstance(condition, bool):
            raise TypeError("set_condition takes True or False, not {}".format(_shown(condition)))
        self._door().put("condition", "condition", _encoded(condition, "condition"))

    def event(self) -> Dict[str, Any]:
        """What runs this: the job, its attempt, event, run, step, trigger and times."""
        context: Dict[str, Any] = self._door().get("context") or {}
        return context

    get_input = getInput = input
    set_output = setOutput = output
    getVariable = get_variable
    setVariable = set_variable
    getCondition = get_condition
    setCondition = set_condition
    get_event_context = getEventContext = event

    def _door(self) -> Union[_RuntimeApi, _StubFile]:
        base = self._base or _from_environment(BASE_NAMES)
        token = self._token or _from_environment(TOKEN_NAMES)
        execution_id = self._execution_id or _from_environment(ID_NAMES)
        stub = os.environ.get("CRONIUM_STUB_FILE")
        if base and token:
            seconds = _deadline() if self._deadline_seconds is None else self._deadline_seconds
            return _RuntimeApi(base.rstrip("/"), token, execution_id or "current", seconds)
        if base:
            raise CroniumError("There is a runtime API but no token; set CRONIUM_EXECUTION_TOKEN.", "configuration")
        # A job that lost its way to the runtime API must not write its output to a file that nobody reads.
        if (token or execution_id) and not stub:
            raise CroniumError("This job has no way to the runtime API: CRONIUM_RUNTIME_API is not set.")
        return _StubFile(stub or ".cronium.json")


class AsyncCronium:
    """The same as `Cronium` with coroutines; each call runs in a thread of the event loop's pool."""

    def __init__(
        self,
        base: Optional[str] = None,
        token: Optional[str] = None,
        execution_id: Optional[str] = None,
        deadline_seconds: Optional[float] = None,
    ) -> None:
        self._cronium = Cronium(base, token, execution_id, deadline_seconds)

    async def __aenter__(self) -> AsyncCronium:
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Nothing is kept open; here so that a client can be closed like any other."""

    async def input(self) -> Any:
        """The job's input; None when it has none."""
        return await _in_thread(self._cronium.input)

    async def output(self, data: Any) -> None:
        """Keep the job's output, replacing what was kept before."""
        await _in_thread(self._cronium.output, data)

    async def get_variable(self, key: str) -> Any:
        """The variable's value; None when there is no such variable."""
        return await _in_thread(self._cronium.get_variable, key)

    async def set_variable(self, key: str, value: Any) -> None:
        """Write the variable."""
        await _in_thread(self._cronium.set_variable, key, value)

    async def get_condition(self) -> Optional[bool]:
        """The job's condition; None when none was set."""
        return await _in_thread(self._cronium.get_condition)

    async def set_condition(self, condition: bool) -> None:
        """Keep the job's condition."""
        await _in_thread(self._cronium.set_condition, condition)

    async def event(self) -> Dict[str, Any]:
        """What runs this: the job, its attempt, event, run, step, trigger and times."""
        return await _in_thread(self._cronium.event)

    get_input = getInput = input
    set_output = setOutput = output
    getVariable = get_variable
    setVariable = set_variable
    getCondition = get_condition
    setCondition = set_condition
    get_event_context = getEventContext = event


async def _in_thread(call: Callable[..., Result], *arguments: Any) -> Result:
    import asyncio

    return await asyncio.get_running_loop().run_in_executor(None, call, *arguments)


class _RuntimeApi:
    """The runtime API over HTTP: one connection per call, tried again until the deadline."""

    def __init__(self, base: str, token: str, execution_id: str, deadline_seconds: float) -> None:
        self._base = base
        self._token = token
        self._execution_id = execution_id
        self._deadline_seconds = deadline_seconds

    def get(self, name: str) -> Any:
        return self._call("GET", name, None)

    def put(self, name: str, field: str, encoded: bytes) -> None:
        self._call("POST", name, b'{"%s":%s}' % (field.encode(), encoded))

    def get_variable(self, key: str) -> Any:
        try:
            return self._call("GET", "variables/" + _quoted(key), None)
        except CroniumAPIError as error:
            if error.code == "variable_not_found":
                return None
            raise

    def set_variable(self, key: str, encoded: bytes) -> None:
        self._call("PUT", "variables/" + _quoted(key), b'{"value":%s}' % encoded)

    def _call(self, method: str, name: str, body: Optional[bytes]) -> Any:
        """Every operation here may be repeated: each writes the whole of what it names."""
        path = "/executions/{}/{}".format(_quoted(self._execution_id), name)
        deadline = time.monotonic() + self._deadline_seconds
        tries = 0
        while True:
            wish: Optional[float] = None
            try:
                status, headers, answer = self._exchange(method, path, body, deadline)
                if status < 300:
                    return _data(status, answer)
                failure: CroniumError = _refusal(status, answer)
                if status not in RETRIED_STATUSES:
                    raise failure
                wish = _seconds(headers.get("retry-after"))
            except (ConnectionError, FileNotFoundError) as error:  # nobody listens, not yet, or not any more
                failure = CroniumError("The runtime API at {} does not answer: {}".format(self._base, error))
                failure.__cause__ = error
            pause = _backoff(tries) if wish is None else wish
            if time.monotonic() + pause >= deadline:
                raise failure
            time.sleep(pause)
            tries += 1

    def _exchange(
        self, method: str, path: str, body: Optional[bytes], deadline: float
    ) -> Tuple[int, Mapping[str, str], bytes]:
        """One request and its answer. Raises `ConnectionError` or `FileNotFoundError` where trying again may help."""
        import http.client
        import socket

        try:
            connection, prefix = _connect(self._base, max(deadline - time.monotonic(), 0.001))
            try:
                return _answer(connection, method, prefix + path, body, self._token)
            finally:
                connection.close()
        except socket.timeout as error:
            message = "The runtime API at {} did not answer within {:g} s".format(self._base, self._deadline_seconds)
            raise CroniumTimeoutError(message) from error
        except (ConnectionError, FileNotFoundError):
            raise
        except http.client.HTTPException as error:
            raise ConnectionError("the answer broke off ({!r})".format(error)) from error
        except OSError as error:
            raise CroniumError("The runtime API at {} cannot be reached: {}".format(self._base, error)) from error


def _connect(base: str, timeout: float) -> Tuple[HTTPConnection, str]:
    """A connection to `base` and what comes before the path there. Proxies are none of its business."""
    import http.client
    import socket
    from urllib.parse import urlsplit

    if base.startswith("unix:"):
        plug = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection = http.client.HTTPConnection("localhost", timeout=timeout)
        connection.sock = plug
        try:
            plug.settimeout(timeout)
            plug.connect(re.sub("^unix:(//)?", "", base))
        except BaseException:
            plug.close()
            raise
        return connection, ""
    try:
        address = urlsplit(base)
        kind = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}[address.scheme]
        if not address.hostname:
            raise ValueError("no host")
        return kind(address.hostname, address.port, timeout=timeout), address.path
    except (KeyError, ValueError) as error:  # another scheme; a port that is no number; no host
        message = "The runtime API address {!r} is neither unix:/path nor http://host:port.".format(base)
        raise CroniumError(message, "configuration") from error


def _answer(
    connection: HTTPConnection, method: str, path: str, body: Optional[bytes], token: str
) -> Tuple[int, Mapping[str, str], bytes]:
    headers = {"Authorization": "Bearer " + token, "Accept": "application/json", "Connection": "close"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    try:
        connection.request(method, path, body, headers)
    except (BrokenPipeError, ConnectionResetError):
        if connection.sock is None:
            raise
        # Refused before all of it was read: the answer may be here already. If not, reading raises the like again.
    response = connection.getresponse()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def _data(status: int, answer: bytes) -> Any:
    try:
        return json.loads(answer.decode("utf-8"))["data"]
    except (ValueError, TypeError, KeyError) as error:
        message = "What answers is not a runtime API: {!r}".format(answer[:200])
        raise CroniumAPIError(status, "invalid_answer", message) from error


def _refusal(status: int, answer: bytes) -> CroniumAPIError:
    """The error that a problem document stands for; proxies in between answer with anything."""
    try:
        problem = json.loads(answer.decode("utf-8"))
        return CroniumAPIError(status, str(problem["code"]), str(problem["detail"]))
    except (ValueError, TypeError, KeyError):
        return CroniumAPIError(status, "http_error", "The runtime API answered {!r}".format(answer[:200]))


def _backoff(tries: int) -> float:
    import random

    longest = min(FIRST_PAUSE_SECONDS * 2.0 ** min(tries, 10), LONGEST_PAUSE_SECONDS)
    return longest * random.uniform(0.5, 1.0)


def _seconds(text: Optional[str]) -> Optional[float]:
    return float(text) if text and text.isdigit() else None


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


class _StubFile:
    """The same operations on a local JSON file, so that a script can be tried without a job."""

    _lock = threading.Lock()

    def __init__(self, path: str) -> None:
        self._path = os.path.realpath(path)

    def get(self, name: str) -> Any:
        return self._read().get(name)

    def put(self, name: str, field: str, encoded: bytes) -> None:
        del field  # of the request body over HTTP
        with self._lock:
            self._write({**self._read(), name: json.loads(encoded.decode("utf-8"))})

    def get_variable(self, key: str) -> Any:
        return self._variables(self._read()).get(key)

    def set_variable(self, key: str, encoded: bytes) -> None:
        with self._lock:
            content = self._read()
            variables = {**self._variables(content), key: json.loads(encoded.decode("utf-8"))}
            self._write({**content, "variables": variables})

    def _variables(self, content: Dict[str, Any]) -> Dict[str, Any]:
        variables = content.get("variables") or {}
        return variables if isinstance(variables, dict) else self._fail('"variables" is not an object')

    def _read(self) -> Dict[str, Any]:
        try:
            with open(self._path, encoding="utf-8") as file:
                content = json.load(file)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            self._fail(error)
        return content if isinstance(content, dict) else self._fail("it does not hold a JSON object")

    def _write(self, content: Dict[str, Any]) -> None:
        """Replace the file as a whole: who reads it at any moment finds the old or the new one."""
        draft = "{}.{}.tmp".format(self._path, os.getpid())
        try:
            with open(draft, "w", encoding="utf-8") as file:
                json.dump(content, file, ensure_ascii=False, indent=2)
                file.write("\n")
            os.replace(draft, self._path)
        except OSError as error:
            self._fail(error)

    def _fail(self, why: object) -> NoReturn:
        message = "The stub file {} cannot be used: {}. Mend or delete it, or set CRONIUM_STUB_FILE.".format(
            self._path, why
        )
        raise CroniumError(message, "configuration")


def _from_environment(names: Tuple[str, ...]) -> Optional[str]:
    values = (os.environ.get(name, "").strip() for name in names)
    return next((value for value in values if value), None)


def _deadline() -> float:
    text = os.environ.get("CRONIUM_SDK_DEADLINE_SECONDS")
    if not text:
        return DEADLINE_SECONDS
    try:
        return float(text)
    except ValueError as error:
        message = "CRONIUM_SDK_DEADLINE_SECONDS is {!r}; give a number of seconds.".format(text)
        raise CroniumError(message, "configuration") from error


def _checked_key(key: str) -> str:
    if not isinstance(key, str):
        raise TypeError("A variable's key is text, not {}".format(_shown(key)))
    if not key:
        raise ValueError("A variable's key is at least one character long")
    return key


def _encoded(value: Any, name: str) -> bytes:
    """`value` as JSON. Raises `TypeError` or `ValueError` that name the place in it that JSON cannot hold."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        encoded = text.encode("utf-8")
    except (TypeError, ValueError, RecursionError):
        _find_fault(value, name, 0)
        raise
    if re.search("[0-9]{19}", text):  # perhaps a number that the other side could only round
        _find_fault(value, name, 0)
    return encoded


def _find_fault(value: Any, where: str, depth: int) -> None:
    """Raise for the first thing in `value` that cannot travel as JSON; return when there is none."""
    if depth > DEEPEST:
        raise ValueError("{} is nested more than {} levels deep or contains itself".format(where[:60], DEEPEST))
    if isinstance(value, str):
        _check_text(value, where)
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError("{} is {!r}, which JSON cannot hold; send None or a string".format(where, value))
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise ValueError("{} is {!r}, an integer of more than 64 bits; send a string".format(where, value))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _find_fault(item, "{}[{}]".format(where, index), depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_field(key, where)
            _find_fault(item, "{}[{!r}]".format(where, key), depth + 1)
    elif value is not None:
        raise TypeError("{} is {}, which JSON cannot hold; convert it first".format(where, _shown(value)))


def _check_text(text: str, where: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("{} is {}, which is not valid Unicode: {}".format(where, _shown(text), error)) from error


def _check_field(key: Any, where: str) -> None:
    if isinstance(key, str):
        _check_text(key, "a key of " + where)
    elif key is not None and not isinstance(key, (int, float)):
        raise TypeError("{} has the key {}; the keys of a JSON object are strings".format(where, _shown(key)))


def _shown(value: object) -> str:
    text = repr(value)
    return "the {} {}".format(type(value).__name__, text if len(text) <= 80 else text[:77] + "...")


cronium = Cronium()

input = get_input = getInput = cronium.input
output = set_output = setOutput = cronium.output
get_variable = getVariable = cronium.get_variable
set_variable = setVariable = cronium.set_variable
get_condition = getCondition = cronium.get_condition
set_condition = setCondition = cronium.set_condition
event = get_event_context = getEventContext = cronium.event
