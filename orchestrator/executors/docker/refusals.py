"""Why an image is not to be had, in the registry's own words, and what to do about it. No I/O."""

from __future__ import annotations

from orchestrator.errors import StartFailedError
from orchestrator.model.jobs import Reason

LONGEST = 500  # a registry chooses its words, and they go into logs and messages
FULL = "no space left on device"
LOG_IN = (
    "If the image is there, {registry} wants to know who asks: put credentials that may read it into the file that "
    "`registry_auth_file` names (docker login writes one)."
)
REFUSED = (
    "{registry} does not let in, or does not show this image to, whom `registry_auth_file` names for it: renew the "
    "credentials there (docker login), or let that account read the image."
)
DENIED = ("unauthorized", "denied", "no basic auth", "authentication required", "forbidden", "incorrect username")
# The first that matches counts: what is denied may say "not found", too.
ADVICE = (
    (("toomanyrequests", "rate limit"), "{registry} limits how much is pulled: log in there (`registry_auth_file`), wait, or use a mirror."),
    (("no matching manifest", "does not match the specified platform"), "The image is not made for the machine of this engine: name one that is."),
    (("manifest unknown", "not found", "name unknown", "manifest invalid"), "Check the name and the tag of the image."),
    (("no such host", "server misbehaving", "temporary failure in name resolution"), "The engine finds no machine of the name {registry}: check the name, and the DNS of the engine's machine."),
    (("certificate", "x509", "http response to https client", "first record does not look like a tls"), "Make {registry} trusted on the engine's machine: its certificate in /etc/docker/certs.d, or `insecure-registries` in /etc/docker/daemon.json."),
    (("timeout", "deadline exceeded", "refused", "unreachable", "reset by peer", "unexpected eof", "awaiting headers", "bad gateway", "service unavailable"), "See that {registry} is up and that the engine's machine reaches it (proxy, firewall)."),
)  # fmt: skip
OTHERWISE = (
    "Check its name and that the engine can reach and may read that registry, or load the image on the engine "
    "(docker load, docker build)."
)


def refused(words: str, registry: str, *, logged_in: bool) -> str:
    """The registry's words and what to do, as the end of a sentence."""
    words = plain(words)
    if FULL in words.lower():
        return advised(words)
    return f"{words.rstrip('.')}. {_advice(words.lower(), logged_in=logged_in).format(registry=registry)}"


def advised(words: str) -> str:
    """The engine's own words, with what to do where its disk is full."""
    if FULL not in words.lower():
        return words
    return f"its disk is full ({words.rstrip('.')}). Free some (docker system prune), or give it a larger one."


def plain(words: str) -> str:
    """One line of what somebody else's server said, within reason."""
    line = " ".join("".join(part if part.isprintable() else " " for part in words).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def never_pulled(image: str) -> StartFailedError:
    """The image is not here and must not be fetched."""
    return StartFailedError(
        f"The image {image} is not on this Docker engine and the job says `pull: never`: build or load it there, or "
        "let the job pull it (`pull: missing`).",
        reason=Reason.IMAGE_UNAVAILABLE,
    )


def _advice(words: str, *, logged_in: bool) -> str:
    # A registry in the middle of a word of the daemon's: "pull access denied ..., may require 'docker login'".
    if any(hint in words for hint in DENIED):
        return REFUSED if logged_in else LOG_IN
    return next((advice for hints, advice in ADVICE if any(hint in words for hint in hints)), OTHERWISE)
