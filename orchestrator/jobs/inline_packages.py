"""What a Python script says in a comment of its own that it needs (PEP 723): packages, and a version of Python."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import StartFailedError
from orchestrator.jobs.container_values import MAX_PACKAGES, PACKAGE
from orchestrator.model.jobs import Reason
from orchestrator.model.specs import JobSpec, Language

BEGIN, END = "# /// script", "# ///"
MAX_REQUIRES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """
    What is to be installed for a job: `packages`, and the `requires_python` of its script. `notes` are for its log:
    what it says that is not obeyed.
    """

    packages: tuple[str, ...] = ()
    requires_python: str = ""
    notes: tuple[str, ...] = ()


def needs_of(spec: JobSpec) -> Needs:
    """
    What a job that runs in a container needs. The key `packages` holds; without it, or where it is empty,
    what the comment says. Its `requires-python` holds in either case.

    Raises `StartFailedError` (`invalid`) for a comment that nobody can obey.
    """
    if spec.script.language is not Language.PYTHON or spec.script.text is None:
        return Needs(packages=spec.packages)
    inline = read_inline(spec.script.text)
    if not spec.packages:
        return inline
    notes: tuple[str, ...] = ()
    if inline.packages and set(inline.packages) != set(spec.packages):
        notes = ("The job's `packages` hold; the `dependencies` in the script's comment are not installed.",)
    return Needs(packages=spec.packages, requires_python=inline.requires_python, notes=notes)


def read_inline(text: str) -> Needs:
    """
    Read the block `# /// script` of a script.

    The rules are those of the inline script metadata specification: every line of the block is `#`, or begins with `# `;
    it ends with the last `# ///` before a line that does not. One that never ends is a comment like any other.
    """
    blocks = _blocks(text.splitlines())
    if not blocks:
        return Needs()
    if len(blocks) > 1:
        raise _wrong(f"There are {len(blocks)} of them: keep one.")
    import tomllib  # noqa: PLC0415 - 2 ms, for the few scripts that have one

    try:
        table = tomllib.loads(blocks[0])
    except tomllib.TOMLDecodeError as error:
        raise _wrong(f"It is not TOML: {error}.") from error
    return Needs(packages=_dependencies(table.get("dependencies", [])), requires_python=_requires(table))


def _blocks(lines: list[str]) -> list[str]:
    found, at = [], 0
    while at < len(lines):
        end = _end(lines, at) if lines[at].rstrip() == BEGIN else None
        if end is None:
            at += 1
        else:
            found.append("".join(f"{line[2:]}\n" for line in lines[at + 1 : end]))
            at = end + 1
    return found


def _end(lines: list[str], begin: int) -> int | None:
    """Where the block that begins there ends; None for one that never does."""
    end = None
    for at in range(begin + 1, len(lines)):
        line = lines[at].rstrip()
        if line == END:
            end = at
        if line != "#" and not line.startswith("# "):
            break
    return end


def _dependencies(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_PACKAGES:
        raise _wrong(f"`dependencies` must be a list of at most {MAX_PACKAGES} requirements.")
    for item in value:
        if not isinstance(item, str) or not PACKAGE.fullmatch(item.strip()):
            raise _wrong(
                f"`dependencies` has {str(item)[:100]!r}, which is no requirement such as `requests>=2.31`: a name that "
                "the index has, no address, no path."
            )
    return tuple(item.strip() for item in value if isinstance(item, str))


def _requires(table: dict[str, object]) -> str:
    value = table.get("requires-python", "")
    if not isinstance(value, str) or len(value) > MAX_REQUIRES or not value.isprintable():
        raise _wrong('`requires-python` must be text such as ">=3.11".')
    return value.strip()


def _wrong(message: str) -> StartFailedError:
    return StartFailedError(
        f"The script's comment `{BEGIN}` cannot be obeyed. {message} Correct it, or name `packages` in the job.",
        reason=Reason.INVALID,
    )
