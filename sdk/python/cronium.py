"""
Cronium for Python scripts: input, output, variables, the condition, the context, progress, log entries, artifacts.

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
import time
from _thread import allocate_lock

# Every job pays for this import: `typing`, `threading`, `http.client` and `asyncio` are loaded where they are used, if
# they are.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from http.client import HTTPConnection
    from types import TracebackType
    from typing import IO, Any, Callable, Dict, List, Mapping, NoReturn, Optional, Tuple, Type, TypeVar, Union

    Result = TypeVar("Result")

__version__ = "0.1.0"
__all__ = [
    "AsyncCronium",
    "Cronium",
    "CroniumAPIError",
    "CroniumError",
    "CroniumTimeoutError",
    "CroniumUsageError",
    "artifact",
    "deleteVariable",
    "delete_variable",
    "event",
    "executeToolAction",
    "execute_tool_action",
    "executionMode",
    "execution_mode",
    "getCondition",
    "getEventContext",
    "getInput",
    "getVariable",
    "getVariableVersion",
    "get_condition",
    "get_event_context",
    "get_input",
    "get_variable",
    "get_variable_version",
    "incrementVariable",
    "increment_variable",
    "input",
    "listVariables",
    "list_variables",
    "log",
    "output",
    "progress",
    "sendDiscordMessage",
    "sendEmail",
    "sendSlackMessage",
    "send_discord_message",
    "send_email",
    "send_slack_message",
    "setCondition",
    "setOutput",
    "setProgress",
    "setVariable",
    "set_condition",
    "set_output",
    "set_progress",
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
PAGE = 200
SCOPES = ("global", "event")
LEVELS = ("debug", "info", "warning", "error")


class CroniumError(Exception):
    """
    The call could not be made or was not answered. `code` says why in one stable word.

    `runtime_unavailable`: nothing answers at the address of the runtime API. `configuration`: an environment variable
    or the stub file is wrong. `artifact_failed`: a file could not be left. `not_supported`: there is no such thing outside
    of a job. The subclasses have codes of their own.
    """

    def __init__(self, message: str, code: str = "runtime_unavailable") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class CroniumAPIError(CroniumError):
    """
    The runtime API refused: `status_code` is the HTTP status, `code` its stable reason, `message` what to do.

    `not_supported`: this server has no such operation.
    """

    def __init__(self, status_code: int, code: str, message: str) -> None:
        super().__init__(message, code)
        self.status_code = status_code

    def __str__(self) -> str:
        return "{} ({} {})".format(self.message, self.status_code, self.code)


class CroniumTimeoutError(CroniumError):
    """The runtime API took the call and did not answer within the deadline; `code` is `timeout`."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "timeout")


class CroniumUsageError(CroniumError, TypeError, ValueError):
    """The script called wrongly, and nothing was sent; `code` is `invalid_argument`, the message names the place."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "invalid_argument")


class Cronium:
    """
    One job's side of the runtime API.

    What is not given is taken from the environment, at each call. A call is tried again while the runtime API cannot be
    reached or is busy, until `deadline_seconds` (default 60, or CRONIUM_SDK_DEADLINE_SECONDS) have passed; however often a
    write is tried, it has its effect once. Every method may raise `CroniumError`, and `CroniumUsageError` before anything
    is sent. Instances keep no connection and may be shared by threads and inherited by forks.

    `scope` of a variable is "global" or "event"; reading without one looks at the event's own variables first, writing
    without one means the global ones. With `if_version` a write is carried out only if the variable has that version (0:
    only if there is none), else refused: 412 `version_mismatch`.
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

    def get_variable(self, key: str, scope: Optional[str] = None) -> Any:
        """The variable's value; None when there is no such variable."""
        return self._door().read_variable(_checked_key(key), _checked_scope(scope))[0]

    def get_variable_version(self, key: str, scope: Optional[str] = None) -> int:
        """The variable's version, for `if_version`; 0 when there is no such variable. Ask for it before the value."""
        return self._door().read_variable(_checked_key(key), _checked_scope(scope))[1]

    def set_variable(self, key: str, value: Any, if_version: Optional[int] = None, scope: Optional[str] = None) -> None:
        """Write the variable."""
        encoded = _encoded(value, _checked_key(key))
        self._door().set_variable(key, encoded, _checked_version(if_version), _checked_scope(scope))

    def increment_variable(self, key: str, by: float = 1, scope: Optional[str] = None) -> Any:
        """Add to a number, which starts at 0; the sum. Whoever does so at the same time, no addition is lost."""
        if isinstance(by, bool) or not isinstance(by, (int, float)):
            raise CroniumUsageError("increment_variable adds a number, not {}".format(_shown(by)))
        encoded = _encoded(by, "by")
        return self._door().increment_variable(_checked_key(key), encoded, _checked_scope(scope))

    def delete_variable(self, key: str, if_version: Optional[int] = None, scope: Optional[str] = None) -> None:
        """Remove the variable; that there was none is no error."""
        self._door().delete_variable(_checked_key(key), _checked_version(if_version), _checked_scope(scope))

    def list_variables(self, prefix: str = "", scope: Optional[str] = None) -> List[Dict[str, Any]]:
        """
        The variables of one scope (without one: global) whose key begins with `prefix`, by key.

        Each is a dict with `key`, `value`, `version`, `scope`, `updated_at` and `description`.
        """
        if not isinstance(prefix, str):
            raise CroniumUsageError("The prefix of keys is text, not {}".format(_shown(prefix)))
        _check_text(prefix, "prefix")
        return self._door().list_variables(prefix, _checked_scope(scope) or "global")

    def get_condition(self) -> Optional[bool]:
        """The job's condition; None when none was set."""
        condition: Optional[bool] = self._door().get("condition")
        return condition

    def set_condition(self, condition: bool) -> None:
        """Keep the job's condition."""
        if not isinstance(condition, bool):
            raise CroniumUsageError("set_condition takes True or False, not {}".format(_shown(condition)))
        self._door().put("condition", "condition", _encoded(condition, "condition"))

    def event(self) -> Dict[str, Any]:
        """What runs this: the job, its attempt, event, run, step, trigger and times."""
        context: Dict[str, Any] = self._door().get("context") or {}
        return context

    def progress(self, value: Any, message: Optional[str] = None) -> None:
        """Show how far the script is: a percentage, a message, both, or any small JSON value."""
        encoded = _encoded(_shape_of_progress(value, message), "progress")
        self._door().put("progress", None, encoded)

    def log(self, message: str, level: str = "info", data: Any = None) -> None:
        """Add an entry to the job's log: `level` is debug, info, warning or error, `data` any JSON value."""
        if not isinstance(message, str):
            raise CroniumUsageError("The message of a log entry is text, not {}".format(_shown(message)))
        if level not in LEVELS:
            raise CroniumUsageError("The level {!r} is none of {}".format(level, ", ".join(LEVELS)))
        entry = {"level": level, "message": message}
        self._door().log(_encoded(entry if data is None else {**entry, "data": data}, "log"), level)

    def artifact(self, name: str, content: Any) -> str:
        """
        Leave a file behind as the job's artifact `name`, such as "plots/orders.png"; returns the name.

        `content` is bytes, text, an open file, or a path (`pathlib.Path`) of a file to copy. The artifact is there as a
        whole or not at all, and one of that name is replaced.
        """
        _check_content(_checked_name(name), content)
        return _leave_file(self._artifacts(), name, content)

    def execution_mode(self) -> str:
        """Where this runs: "container", "ssh" or "process"; "local" outside of a job."""
        mode = _from_environment(("CRONIUM_EXECUTION_MODE",))
        if mode:
            return mode
        if _from_environment(("CRONIUM_HELPER_MODE",)):
            return "ssh"
        return "process" if self._base or _from_environment(BASE_NAMES) else "local"

    def execute_tool_action(
        self, tool: str, action: str, params: Optional[Dict[str, Any]] = None, credential: Optional[str] = None
    ) -> Any:
        """Have the server carry out a tool's action; what the action gives back."""
        request = {"tool": tool, "action": action, "params": {} if params is None else params, "credential": credential}
        return self._door().execute_tool_action(_encoded(request, "request"))

    def send_email(self, to: Any, subject: str, body: str, **more: Any) -> Any:
        """Send a mail by the server's tool `email`; `to` is an address or a list of them."""
        addresses = [to] if isinstance(to, str) else to
        return self.execute_tool_action(
            "email", "send_message", {"to": addresses, "subject": subject, "body": body, **more}
        )

    def send_slack_message(self, channel: str, text: str, **more: Any) -> Any:
        """Send a message by the server's tool `slack`."""
        return self.execute_tool_action("slack", "send_message", {"channel": channel, "text": text, **more})

    def send_discord_message(self, channel_id: str, content: str, **more: Any) -> Any:
        """Send a message by the server's tool `discord`."""
        return self.execute_tool_action(
            "discord", "send_message", {"channelId": channel_id, "content": content, **more}
        )

    get_input = getInput = input
    set_output = setOutput = output
    getVariable = get_variable
    getVariableVersion = get_variable_version
    setVariable = set_variable
    incrementVariable = increment_variable
    deleteVariable = delete_variable
    listVariables = list_variables
    getCondition = get_condition
    setCondition = set_condition
    get_event_context = getEventContext = event
    set_progress = setProgress = progress
    executionMode = execution_mode
    executeToolAction = execute_tool_action
    sendEmail = send_email
    sendSlackMessage = send_slack_message
    sendDiscordMessage = send_discord_message

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

    def _artifacts(self) -> str:
        return os.environ.get("CRONIUM_ARTIFACTS") or self._door().artifacts()


class AsyncCronium:
    """
    The same as `Cronium` with coroutines; each call runs in a thread of the event loop's pool.

    A call whose task is cancelled is not waited for; what it had sent may still have its effect.
    """

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
        return await _in_thread(self._cronium.input)

    async def output(self, data: Any) -> None:
        await _in_thread(self._cronium.output, data)

    async def get_variable(self, key: str, scope: Optional[str] = None) -> Any:
        return await _in_thread(self._cronium.get_variable, key, scope)

    async def get_variable_version(self, key: str, scope: Optional[str] = None) -> int:
        return await _in_thread(self._cronium.get_variable_version, key, scope)

    async def set_variable(
        self, key: str, value: Any, if_version: Optional[int] = None, scope: Optional[str] = None
    ) -> None:
        await _in_thread(self._cronium.set_variable, key, value, if_version, scope)

    async def increment_variable(self, key: str, by: float = 1, scope: Optional[str] = None) -> Any:
        return await _in_thread(self._cronium.increment_variable, key, by, scope)

    async def delete_variable(self, key: str, if_version: Optional[int] = None, scope: Optional[str] = None) -> None:
        await _in_thread(self._cronium.delete_variable, key, if_version, scope)

    async def list_variables(self, prefix: str = "", scope: Optional[str] = None) -> List[Dict[str, Any]]:
        return await _in_thread(self._cronium.list_variables, prefix, scope)

    async def get_condition(self) -> Optional[bool]:
        return await _in_thread(self._cronium.get_condition)

    async def set_condition(self, condition: bool) -> None:
        await _in_thread(self._cronium.set_condition, condition)

    async def event(self) -> Dict[str, Any]:
        return await _in_thread(self._cronium.event)

    async def progress(self, value: Any, message: Optional[str] = None) -> None:
        await _in_thread(self._cronium.progress, value, message)

    async def log(self, message: str, level: str = "info", data: Any = None) -> None:
        await _in_thread(self._cronium.log, message, level, data)

    async def artifact(self, name: str, content: Any) -> str:
        return await _in_thread(self._cronium.artifact, name, content)

    async def execution_mode(self) -> str:
        return self._cronium.execution_mode()

    async def execute_tool_action(
        self, tool: str, action: str, params: Optional[Dict[str, Any]] = None, credential: Optional[str] = None
    ) -> Any:
        return await _in_thread(self._cronium.execute_tool_action, tool, action, params, credential)

    async def send_email(self, to: Any, subject: str, body: str, **more: Any) -> Any:
        return await _in_thread(lambda: self._cronium.send_email(to, subject, body, **more))

    async def send_slack_message(self, channel: str, text: str, **more: Any) -> Any:
        return await _in_thread(lambda: self._cronium.send_slack_message(channel, text, **more))

    async def send_discord_message(self, channel_id: str, content: str, **more: Any) -> Any:
        return await _in_thread(lambda: self._cronium.send_discord_message(channel_id, content, **more))

    get_input = getInput = input
    set_output = setOutput = output
    getVariable = get_variable
    getVariableVersion = get_variable_version
    setVariable = set_variable
    incrementVariable = increment_variable
    deleteVariable = delete_variable
    listVariables = list_variables
    getCondition = get_condition
    setCondition = set_condition
    get_event_context = getEventContext = event
    set_progress = setProgress = progress
    executionMode = execution_mode
    executeToolAction = execute_tool_action
    sendEmail = send_email
    sendSlackMessage = send_slack_message
    sendDiscordMessage = send_discord_message


async def _in_thread(call: Callable[..., Result], *arguments: Any) -> Result:
    import asyncio

    return await asyncio.get_running_loop().run_in_executor(None, call, *arguments)


class _RuntimeApi:
    """The runtime API over HTTP: one connection per call, tried again until the deadline."""

    def __init__(self, base: str, token: str, execution_id: str, deadline_seconds: float) -> None:
        self._base = base
        self._token = token
        self._root = "/executions/{}/".format(_quoted(execution_id))
        self._deadline_seconds = deadline_seconds

    def get(self, name: str) -> Any:
        return self._call("GET", self._root + name)[0]

    def put(self, name: str, field: Optional[str], encoded: bytes) -> None:
        self._call("POST", self._root + name, encoded if field is None else b'{"%s":%s}' % (field.encode(), encoded))

    def log(self, encoded: bytes, level: str) -> None:
        del level  # of the stub file, which has no log
        self._call("POST", self._root + "log", encoded)

    def read_variable(self, key: str, scope: Optional[str]) -> Tuple[Any, int]:
        """The value and its version; None and 0 when there is no such variable."""
        try:
            value, headers = self._call("GET", self._variable(key, scope))
        except CroniumAPIError as error:
            if error.code == "variable_not_found":
                return None, 0
            raise
        version = headers.get("etag", "").strip('"')
        return value, int(version) if version.isdigit() else 0

    def set_variable(self, key: str, encoded: bytes, if_version: Optional[int], scope: Optional[str]) -> None:
        self._call("PUT", self._variable(key, scope), b'{"value":%s}' % encoded, _terms(if_version))

    def increment_variable(self, key: str, encoded: bytes, scope: Optional[str]) -> Any:
        return self._call("POST", self._variable(key, scope, "/increment"), b'{"by":%s}' % encoded)[0]["value"]

    def delete_variable(self, key: str, if_version: Optional[int], scope: Optional[str]) -> None:
        try:
            self._call("DELETE", self._variable(key, scope), None, _terms(if_version))
        except CroniumAPIError as error:
            if error.code != "variable_not_found":
                raise

    def list_variables(self, prefix: str, scope: str) -> List[Dict[str, Any]]:
        found: List[Dict[str, Any]] = []
        cursor = ""
        while True:
            query = "?scope={}&prefix={}&limit={}{}".format(scope, _quoted(prefix), PAGE, cursor)
            page = self._call("GET", self._root + "variables" + query)[0]
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            cursor = "&cursor=" + _quoted(page["next_cursor"])

    def execute_tool_action(self, encoded: bytes) -> Any:
        return self._call("POST", "/tool-actions/execute", encoded)[0]

    def artifacts(self) -> NoReturn:
        raise CroniumError("This job has no directory for artifacts: CRONIUM_ARTIFACTS is not set.", "configuration")

    def _variable(self, key: str, scope: Optional[str], more: str = "") -> str:
        return self._root + "variables/" + _quoted(key) + more + ("" if scope is None else "?scope=" + scope)

    def _call(
        self, method: str, path: str, body: Optional[bytes] = None, terms: Optional[Mapping[str, str]] = None
    ) -> Tuple[Any, Mapping[str, str]]:
        """
        The data of the answer, and its headers.

        Every operation may be repeated: each writes the whole of what it names, or is known by its Idempotency-Key.
        """
        headers = {"Authorization": "Bearer " + self._token, "Accept": "application/json", "Connection": "close"}
        headers.update(terms or {})
        if method != "GET":
            headers["Idempotency-Key"] = os.urandom(16).hex()
        if body is not None:
            headers["Content-Type"] = "application/json"
        deadline = time.monotonic() + self._deadline_seconds
        tries = 0
        while True:
            wish: Optional[float] = None
            try:
                status, told, answer = self._exchange(method, path, body, headers, deadline)
                if status < 300:
                    return _data(status, answer), told
                failure: CroniumError = _refusal(status, answer)
                if status not in RETRIED_STATUSES:
                    raise failure
                wish = _seconds(told.get("retry-after"))
            except (ConnectionError, FileNotFoundError) as error:  # nobody listens, not yet, or not any more
                failure = CroniumError("The runtime API at {} does not answer: {}".format(self._base, error))
                failure.__cause__ = error
            pause = _backoff(tries) if wish is None else wish
            if time.monotonic() + pause >= deadline:
                raise failure
            time.sleep(pause)
            tries += 1

    def _exchange(
        self, method: str, path: str, body: Optional[bytes], headers: Mapping[str, str], deadline: float
    ) -> Tuple[int, Mapping[str, str], bytes]:
        """One request and its answer. Raises `ConnectionError` or `FileNotFoundError` where trying again may help."""
        import http.client
        import socket

        try:
            connection, prefix = _connect(self._base, max(deadline - time.monotonic(), 0.001))
            try:
                return _answer(connection, method, prefix + path, body, headers)
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
    connection: HTTPConnection, method: str, path: str, body: Optional[bytes], headers: Mapping[str, str]
) -> Tuple[int, Mapping[str, str], bytes]:
    try:
        connection.request(method, path, body, dict(headers))
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
        code, message = str(problem["code"]), str(problem["detail"])
    except (ValueError, TypeError, KeyError):
        return CroniumAPIError(status, "http_error", "The runtime API answered {!r}".format(answer[:200]))
    if code in ("route_not_found", "method_not_allowed"):
        return CroniumAPIError(status, "not_supported", "This is not supported by this server; update it. " + message)
    return CroniumAPIError(status, code, message)


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

    _lock = allocate_lock()

    def __init__(self, path: str) -> None:
        self._path = os.path.realpath(path)

    def get(self, name: str) -> Any:
        return self._read().get(name)

    def put(self, name: str, field: Optional[str], encoded: bytes) -> None:
        del field  # of the request body over HTTP
        with self._lock:
            self._write({**self._read(), name: json.loads(encoded.decode("utf-8"))})

    def log(self, encoded: bytes, level: str) -> None:
        """Where a job's log would have the line."""
        import sys

        entry = json.loads(encoded.decode("utf-8"))
        stream = sys.stdout if level in ("debug", "info") else sys.stderr
        print(json.dumps(entry, ensure_ascii=False), file=stream, flush=True)

    def read_variable(self, key: str, scope: Optional[str]) -> Tuple[Any, int]:
        content = self._read()
        for place in ("event", "global") if scope is None else (scope,):
            version = self._version(content, key, place)
            if version:
                return self._part(content, place)[key], version
        return None, 0

    def set_variable(self, key: str, encoded: bytes, if_version: Optional[int], scope: Optional[str]) -> None:
        with self._lock:
            content = self._read()
            self._check_version(content, key, if_version, scope or "global")
            self._store(content, key, scope or "global", json.loads(encoded.decode("utf-8")))

    def increment_variable(self, key: str, encoded: bytes, scope: Optional[str]) -> Any:
        with self._lock:
            content = self._read()
            value = self._part(content, scope or "global").get(key, 0)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise CroniumAPIError(409, "not_a_number", "The variable {!r} holds no number to add to.".format(key))
            total = value + json.loads(encoded.decode("utf-8"))
            self._store(content, key, scope or "global", total)
            return total

    def delete_variable(self, key: str, if_version: Optional[int], scope: Optional[str]) -> None:
        place = scope or "global"
        with self._lock:
            content = self._read()
            version = self._version(content, key, place)
            if version:
                self._check_version(content, key, if_version, place)
                variables = {name: value for name, value in self._part(content, place).items() if name != key}
                versions = {**self._part(content, place, "versions"), key: version}
                self._write({**content, self._name(place): variables, self._name(place, "versions"): versions})

    def list_variables(self, prefix: str, scope: str) -> List[Dict[str, Any]]:
        content = self._read()
        return [
            {
                "key": key,
                "value": value,
                "version": self._version(content, key, scope),
                "scope": scope,
                "updated_at": None,
                "description": None,
            }
            for key, value in sorted(self._part(content, scope).items())
            if key.startswith(prefix)
        ]

    def execute_tool_action(self, encoded: bytes) -> NoReturn:
        raise CroniumError(
            "There are no tools outside of a job; start the script with: cronium run FILE", "not_supported"
        )

    def artifacts(self) -> str:
        return os.path.join(os.path.dirname(self._path), ".cronium-artifacts")

    def _name(self, scope: str, what: str = "variables") -> str:
        return what if scope == "global" else "event_" + what

    def _part(self, content: Dict[str, Any], scope: str, what: str = "variables") -> Dict[str, Any]:
        name = self._name(scope, what)
        part = content.get(name) or {}
        return part if isinstance(part, dict) else self._fail('"{}" is not an object'.format(name))

    def _version(self, content: Dict[str, Any], key: str, scope: str) -> int:
        """What is not noted is 1, so that a file written by hand needs no versions."""
        if key not in self._part(content, scope):
            return 0
        version = self._part(content, scope, "versions").get(key, 1)
        return version if isinstance(version, int) else 1

    def _check_version(self, content: Dict[str, Any], key: str, if_version: Optional[int], scope: str) -> None:
        version = self._version(content, key, scope)
        if if_version not in (None, version):
            message = "The variable {!r} has version {} by now; read it again, then write.".format(key, version)
            raise CroniumAPIError(412, "version_mismatch", message)

    def _store(self, content: Dict[str, Any], key: str, scope: str, value: Any) -> None:
        versions = self._part(content, scope, "versions")
        version = max(self._version(content, key, scope), versions.get(key, 0)) + 1
        changed = {**content, self._name(scope): {**self._part(content, scope), key: value}}
        if version > 1:
            changed[self._name(scope, "versions")] = {**versions, key: version}
        self._write(changed)

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


def _terms(if_version: Optional[int]) -> Dict[str, str]:
    if if_version is None:
        return {}
    return {"If-Match": '"{}"'.format(if_version)} if if_version else {"If-None-Match": "*"}


def _checked_key(key: str) -> str:
    if not isinstance(key, str):
        raise CroniumUsageError("A variable's key is text, not {}".format(_shown(key)))
    if not key:
        raise CroniumUsageError("A variable's key is at least one character long")
    _check_text(key, "key")
    return key


def _checked_scope(scope: Optional[str]) -> Optional[str]:
    if scope is None or scope in SCOPES:
        return scope
    raise CroniumUsageError('The scope of a variable is "global" or "event", not {}'.format(_shown(scope)))


def _checked_version(version: Optional[int]) -> Optional[int]:
    if version is None or (type(version) is int and version >= 0):
        return version
    raise CroniumUsageError("if_version is a version, or 0 for no variable, not {}".format(_shown(version)))


def _shape_of_progress(value: Any, message: Optional[str]) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return {"percent": value} if message is None else {"percent": value, "message": message}
    if message is not None:
        raise CroniumUsageError("progress takes a message beside a percentage, not beside {}".format(_shown(value)))
    return {"message": value} if isinstance(value, str) else value


def _leave_file(directory: str, name: str, content: Any) -> str:
    """Write beside the place and rename: who looks at any moment finds the whole file or none."""
    target = os.path.join(directory, name)
    draft = os.path.join(os.path.dirname(target), ".{}.tmp".format(os.urandom(8).hex()))
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            with open(draft, "xb") as file:
                _fill(file, content)
            os.replace(draft, target)
        except BaseException:
            if os.path.exists(draft):
                os.unlink(draft)
            raise
    except OSError as error:
        message = "The artifact {!r} cannot be left in {}: {}".format(name, directory, error)
        raise CroniumError(message, "artifact_failed") from error
    return name


def _fill(file: IO[bytes], content: Any) -> None:
    import shutil

    if isinstance(content, str):
        file.write(content.encode("utf-8"))
    elif isinstance(content, (bytes, bytearray, memoryview)):
        file.write(content)
    elif isinstance(content, os.PathLike):
        with open(content, "rb") as source:
            shutil.copyfileobj(source, file)
    else:
        for part in iter(lambda: content.read(65536), None):
            if not part:
                break
            file.write(part.encode("utf-8") if isinstance(part, str) else part)


def _check_content(name: str, content: Any) -> None:
    if isinstance(content, str):
        _check_text(content, "the content of " + name)
    elif not isinstance(content, (bytes, bytearray, memoryview, os.PathLike)) and not hasattr(content, "read"):
        message = "The content of the artifact {!r} is bytes, text, an open file or a pathlib.Path, not {}"
        raise CroniumUsageError(message.format(name, _shown(content)))


def _checked_name(name: str) -> str:
    if not isinstance(name, str):
        raise CroniumUsageError("The name of an artifact is text, not {}".format(_shown(name)))
    _check_text(name, "name")
    parts = name.split("/")
    if {"", ".", ".."}.intersection(parts) or len(parts) > 16 or len(name.encode("utf-8")) > 1024:
        message = "The artifact name {} is not a relative path of at most 16 levels and 1024 bytes without . and .."
        raise CroniumUsageError(message.format(_shown(name)))
    if re.search("[\\x00-\\x1f\\x7f]", name):
        raise CroniumUsageError("The artifact name {} has a control character".format(_shown(name)))
    return name


def _encoded(value: Any, name: str) -> bytes:
    """`value` as JSON. Raises `CroniumUsageError` that names the place in it that JSON cannot hold."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        encoded = text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        _find_fault(value, name, 0)
        raise CroniumUsageError("{} cannot be sent: {}".format(name, error)) from error
    if re.search("[0-9]{19}", text):  # perhaps a number that the other side could only round
        _find_fault(value, name, 0)
    return encoded


def _find_fault(value: Any, where: str, depth: int) -> None:
    """Raise for the first thing in `value` that cannot travel as JSON; return when there is none."""
    if depth > DEEPEST:
        raise CroniumUsageError("{} is nested more than {} levels deep or contains itself".format(where[:60], DEEPEST))
    if isinstance(value, str):
        _check_text(value, where)
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise CroniumUsageError("{} is {!r}, which JSON cannot hold; send None or a string".format(where, value))
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise CroniumUsageError("{} is {!r}, an integer of more than 64 bits; send a string".format(where, value))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _find_fault(item, "{}[{}]".format(where, index), depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_field(key, where)
            _find_fault(item, "{}[{!r}]".format(where, key), depth + 1)
    elif value is not None:
        raise CroniumUsageError("{} is {}, which JSON cannot hold; convert it first".format(where, _shown(value)))


def _check_text(text: str, where: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CroniumUsageError(
            "{} is {}, which is not valid Unicode: {}".format(where, _shown(text), error)
        ) from error


def _check_field(key: Any, where: str) -> None:
    if isinstance(key, str):
        _check_text(key, "a key of " + where)
    elif key is not None and not isinstance(key, (int, float)):
        raise CroniumUsageError("{} has the key {}; the keys of a JSON object are strings".format(where, _shown(key)))


def _shown(value: object) -> str:
    text = repr(value)
    return "the {} {}".format(type(value).__name__, text if len(text) <= 80 else text[:77] + "...")


cronium = Cronium()

input = get_input = getInput = cronium.input
output = set_output = setOutput = cronium.output
get_variable = getVariable = cronium.get_variable
get_variable_version = getVariableVersion = cronium.get_variable_version
set_variable = setVariable = cronium.set_variable
increment_variable = incrementVariable = cronium.increment_variable
delete_variable = deleteVariable = cronium.delete_variable
list_variables = listVariables = cronium.list_variables
get_condition = getCondition = cronium.get_condition
set_condition = setCondition = cronium.set_condition
event = get_event_context = getEventContext = cronium.event
progress = set_progress = setProgress = cronium.progress
log = cronium.log
artifact = cronium.artifact
execution_mode = executionMode = cronium.execution_mode
execute_tool_action = executeToolAction = cronium.execute_tool_action
send_email = sendEmail = cronium.send_email
send_slack_message = sendSlackMessage = cronium.send_slack_message
send_discord_message = sendDiscordMessage = cronium.send_discord_message
