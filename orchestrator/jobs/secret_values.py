"""What can be a secret, what it may be called, and which ones a job asks for. Pure."""

from __future__ import annotations

from orchestrator.errors import Fault, InvalidError
from orchestrator.jobs.faults import Reading, kind_of, near, shown
from orchestrator.jobs.secret_forms import MIN_FORM_BYTES, NEWLINE, lines_of
from orchestrator.jobs.spec_values import ENV_NAME, RESERVED_PREFIX
from orchestrator.model.json import Json
from orchestrator.model.secrets import MAX_DESCRIPTION, SECRET_NAME
from orchestrator.model.specs import WantedSecret

MAX_VALUE_BYTES = 64 * 1024
MAX_SECRETS = 100
USE_KEYS = ("name", "as")
OURS = ("PYTHONPATH", "NODE_PATH", "NODE_OPTIONS", "BASH_ENV")  # by which scripts find the SDK
# Masking these would make logs unreadable, and tell more than it hides: that they are the secret.
COMMON_WORDS = (
    "12345678 123456789 1234567890 123123 123456 654321 abc123 access account address admin123 administrator "
    "adminadmin application argument attempt backup bearer boolean changeme client-id completed config connection "
    "container content created cronium database default delete deleted deploy development disabled docker enabled "
    "environment example exception execution failed failure function github google hostname https:// http:// "
    "import insert install integer invalid letmein localhost message missing module network notset object output "
    "passphrase passw0rd password password1 password123 placeholder postgres private process production project "
    "public python qwerty qwerty123 release request response result return running schema secret select server "
    "service session staging started starting status string success system target testing testtest timeout toor "
    "traceback undefined unknown update username version warning welcome"
)
COMMON = frozenset(COMMON_WORDS.split())


def check_value(value: str) -> None:
    """
    Raises `InvalidError` (`secret_refused`) where a value cannot be kept or masked. The message does not repeat it.

    A secret that is too short or too common is refused, because masking it would blacken what is none.
    """
    problem = _problem(value)
    if problem is not None:
        raise InvalidError(
            f"The value {problem}", faults=(Fault(path="value", message=f"It {problem}"),), code="secret_refused"
        )


def _problem(value: str) -> str | None:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return "is not UTF-8 text. Encode it, for example as base64."
    if size > MAX_VALUE_BYTES:
        return f"is larger than {MAX_VALUE_BYTES // 1024} KiB. Keep large data in a file or a volume."
    if "\0" in value:
        return "holds a NUL character, which no variable of an environment can. Encode it, for example as base64."
    return _why_not_masked(value.strip())


def _why_not_masked(text: str) -> str | None:
    """Why masking this text would do harm or nothing."""
    if len(text) < MIN_FORM_BYTES:
        return (
            f"has fewer than {MIN_FORM_BYTES} characters: it would be masked wherever they occur. Choose a longer one."
        )
    if len(set(text)) < 3:
        return "consists of one or two characters: it would be masked wherever they occur. Choose another one."
    if text.lower() in COMMON:
        return "is a common word: masking it would make logs unreadable. Choose another one, or use `env`."
    if len(NEWLINE.split(text)) > 1 and not lines_of(text):
        return f"has no line of {MIN_FORM_BYTES} characters or more that could be masked. Encode it, for example as base64."
    return None


def check_name(name: str) -> None:
    """Raises `InvalidError` (`secret_name_invalid`)."""
    if not SECRET_NAME.fullmatch(name):
        message = "Must be letters, digits, `_`, `-` and `.`, at most 128, such as `API_KEY` or `db-password`."
        raise InvalidError(
            f"The name of a secret: {message}",
            faults=(Fault(path="name", message=message),),
            code="secret_name_invalid",
        )


def check_description(description: str) -> None:
    """Raises `InvalidError`."""
    if len(description) > MAX_DESCRIPTION or not description.isprintable():
        message = f"Must be one line of at most {MAX_DESCRIPTION} characters."
        raise InvalidError(
            f"The description of a secret: {message}", faults=(Fault(path="description", message=message),)
        )


def read_secrets(value: Json, reading: Reading) -> tuple[WantedSecret, ...] | None:
    """A list of names, such as [API_KEY, {name: db-password, as: PGPASSWORD}]."""
    if not isinstance(value, list) or len(value) > MAX_SECRETS:
        reading.wrong(f"Must be a list of at most {MAX_SECRETS} names, such as [API_KEY].")
        return None
    found = [_wanted(item, reading.at(index)) for index, item in enumerate(value)]
    seen: set[str] = set()
    for index, wanted in enumerate(found):
        if wanted is not None and wanted.variable in seen:
            reading.at(index).wrong(
                f"Two secrets become the variable {wanted.variable}: give one another name by `as`."
            )
        elif wanted is not None:
            seen.add(wanted.variable)
    return tuple(wanted for wanted in found if wanted is not None)


def _wanted(value: Json, reading: Reading) -> WantedSecret | None:
    if isinstance(value, dict):
        for key in value:
            if key not in USE_KEYS:
                reading.at(shown(key)).wrong(f"Unknown key `{shown(key)}`.{near(key, USE_KEYS)}")
        name, variable = value.get("name"), value.get("as", value.get("name"))
    else:
        name = variable = value
    if not isinstance(name, str) or not SECRET_NAME.fullmatch(name):
        said = f", not {kind_of(value)}" if not isinstance(value, str | dict) else ""
        reading.wrong(
            f"Must be the name of a secret, such as `API_KEY` or {{name: db-password, as: PGPASSWORD}}{said}."
        )
    elif not isinstance(variable, str) or not ENV_NAME.fullmatch(variable):
        reading.wrong(
            f"`{shown(name)}` is no name for a variable: say which one, {{name: {shown(name)}, as: VARIABLE}}."
        )
    elif variable.startswith(RESERVED_PREFIX) or variable in OURS:
        reading.wrong(f"The variable {shown(variable)} belongs to Cronium; choose another with `as`.")
    else:
        return WantedSecret(name=name, variable=variable)
    return None
