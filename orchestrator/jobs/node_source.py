"""Tell an ES module from a CommonJS script, since a Node script given as text has no file ending that says so."""

from __future__ import annotations

import re

# A string or comment may hold any word; a template literal too, and its `${...}` parts are not looked into. Each form
# also ends where the text does: an alternative that could fail late would make the search quadratic.
NOT_CODE = re.compile(
    r"""//[^\n]*|/\*.*?(?:\*/|\Z)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?|`(?:\\.|[^`\\])*`?""",
    re.DOTALL,
)
STATEMENT = re.compile(
    r"""^[ \t]*(?:import|export)(?:\s*["'{*]|\s+[A-Za-z_$])|\bimport\.meta\b""",
    re.MULTILINE,
)
COMMONJS = re.compile(r"\brequire\s*\(|\bmodule\.exports\b|\b__dirname\b|\b__filename\b")
AWAIT = re.compile(r"\bawait\b")
ASYNC = re.compile(r"\basync\b")


def is_module(text: str) -> bool:
    """
    Whether a Node script is an ES module.

    The rule: it is when, outside strings and comments, a line begins with an `import` or `export` statement, when
    `import.meta` is used, or when `await` is used where only a module may: in a script without the word `async`, or
    on a line that is not indented and has no `async` before it. Everything else is CommonJS, and so is what uses
    `require`, `module.exports`, `__dirname` or `__filename`, which a module has not, without such a statement.
    """
    code = NOT_CODE.sub(_blank, text)
    if STATEMENT.search(code):
        return True
    if COMMONJS.search(code) or not AWAIT.search(code):
        return False
    return not ASYNC.search(code) or any(_awaits_at_top(line) for line in code.splitlines())


def _blank(match: re.Match[str]) -> str:
    """Keep the quotes, so that `import "x"` stays a statement, and the lines."""
    found = match[0]
    return "\n" * found.count("\n") if found[0] == "/" else found[0] + "\n" * found.count("\n") + found[0]


def _awaits_at_top(line: str) -> bool:
    found = AWAIT.search(line)
    return found is not None and not line[0].isspace() and not ASYNC.search(line, 0, found.start())
