"""What pip and npm say: which lines matter while they work, and what a failure means and asks for. Pure."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from orchestrator.model.jobs import Reason
from orchestrator.model.specs import Language

KEPT_LINES = 50
SHOWN_LINES = 40
LINE_LENGTH = 500
WORDS_LENGTH = 700
RESULT_LENGTH = 1024 * 1024
MOST_RESOLVED, LONGEST_NAME = 500, 100

PASSWORD = re.compile(r"//[^/\s@]+@")
CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
SHOWN = re.compile(r"\s*(?:Downloading |Using cached |Building wheel|added \d|npm warn|npm WARN|WARNING: )")
ERROR = re.compile(r"(?:ERROR: |npm (?:error|ERR!) )(.*\S)")
NOISE = re.compile(r"A complete log of this run|Exception:?$|code E[A-Z0-9_]+$|errno |^\s*$")
NO_TOOL = re.compile(r"No module named '?pip\b|cannot run npm|exec (?:python3|node) failed")
NETWORK = re.compile(
    r"NewConnectionError|Failed to establish a new connection|name resolution|Name or service not known|Connection refused"
    r"|ConnectTimeout|Read timed out|Network is unreachable|ENOTFOUND|EAI_AGAIN|ECONN(?:REFUSED|RESET)|ETIMEDOUT|ENETUNREACH",
)
CERTIFICATE = re.compile(r"CERTIFICATE_VERIFY_FAILED|SSLError|SELF_SIGNED_CERT|UNABLE_TO_(?:GET_ISSUER|VERIFY)|CERT_")
DISK = re.compile(r"No space left on device|ENOSPC|Disk quota exceeded", re.IGNORECASE)
UNKNOWN = re.compile(r"No matching distribution|Could not find a version|\bE404\b|\bETARGET\b|404 Not Found|notarget")
CONFLICT = re.compile(r"ResolutionImpossible|conflicting dependencies|\bERESOLVE\b")
DENIED = re.compile(r"\bE40[13]\b|40[13] (?:Client Error|Unauthorized|Forbidden)")


class Said:
    """What an installation says: the last lines are kept, the important ones are told to `say` as they come."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._rest: dict[str, bytes] = {}
        self._shown = 0
        self.last: deque[str] = deque(maxlen=KEPT_LINES)
        self.result: str | None = None
        self.python: str | None = None

    def take(self, stream: str, data: bytes) -> None:
        *lines, rest = (self._rest.get(stream, b"") + data).split(b"\n")
        self._rest[stream] = rest[-RESULT_LENGTH:]
        for line in lines:
            self._line(line)

    def end(self) -> None:
        for rest in self._rest.values():
            self._line(rest)
        self._rest.clear()

    def _line(self, data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        if text.startswith("cronium-packages:"):
            self.result = text.removeprefix("cronium-packages:")
            return
        if text.startswith("cronium-python:"):
            self.python = text.removeprefix("cronium-python:").strip()
            return
        text = clean(text)
        if not text.strip():
            return
        self.last.append(text)
        if SHOWN.match(text) and self._shown < SHOWN_LINES:
            self._shown += 1
            self._say(text.strip())


def clean(text: str) -> str:
    """A line without colours and without passwords in addresses, cut."""
    return PASSWORD.sub("//***@", CONTROL.sub("", text))[:LINE_LENGTH].rstrip()


def own_words(lines: Sequence[str]) -> str:
    """What pip or npm gives as the error, in one sentence; its last line where it gives none."""
    found = [match[1].rstrip(".") for line in lines if (match := ERROR.search(line)) and not NOISE.search(match[1])]
    words = "; ".join(dict.fromkeys(found)) or (lines[-1].strip() if lines else "it said nothing")
    return words[:WORDS_LENGTH].rstrip(".")


def meaning(lines: Sequence[str], language: Language, network: str) -> tuple[Reason, str]:
    """Why it failed, as a reason, and what to do."""
    text = "\n".join(lines)
    for pattern, reason, advice in _meanings(language, network):
        if pattern.search(text):
            return reason, advice
    return Reason.INVALID, "The job's log has its last lines."


def _meanings(language: Language, network: str) -> Iterator[tuple[re.Pattern[str], Reason, str]]:
    """A cause comes before what follows from it: without a network nothing matches, either."""
    tool, file = ("pip", "package_pip_config") if language is Language.PYTHON else ("npm", "package_npm_config")
    yield DISK, Reason.LIMIT, "The disk is full: free some, or keep fewer packages (package_cache_bytes)."
    yield NO_TOOL, Reason.INVALID, f"The image has no {tool}: name one that has it, or that has the packages (`image`)."
    yield (
        CERTIFICATE,
        Reason.HOST_UNREACHABLE,
        f"The index has a certificate that the image does not trust: name its authority in {file}.",
    )
    yield (
        NETWORK,
        Reason.HOST_UNREACHABLE,
        f"From the network {network} the index cannot be reached: name another network (package_network) or index ({file}).",
    )
    yield DENIED, Reason.INVALID, f"The index wants to know who asks: give a user or a token in {file}."
    yield CONFLICT, Reason.INVALID, "They exclude each other: change what is asked for."
    yield UNKNOWN, Reason.INVALID, _unknown(language)


def _unknown(language: Language) -> str:
    if language is Language.NODE:
        return "Check the name and the version."
    return (
        "Check the name and the version. It must have a wheel for the image's Python, machine and C library (images with "
        "musl, such as Alpine's, need wheels of their own); what has only its source is built where package_scripts allows it."
    )


def resolved_of(text: str) -> dict[str, str]:
    """
    What the container says was installed: a package's own code may have written it, so it is data and no more.

    It goes into the journal of each job that has these packages: not more than `MOST_RESOLVED` names.
    """
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return {}
    named = sorted(found.items())[:MOST_RESOLVED]
    return {str(name)[:LONGEST_NAME]: str(version)[:LONGEST_NAME] for name, version in named}
