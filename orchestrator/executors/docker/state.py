"""What the engine says of a container, and how its end reads as an `Exit`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from pydantic import BaseModel, Field

from orchestrator.contracts.executor import Exit
from orchestrator.model.jobs import Reason

INSTALLATION_LABEL = "cronium.installation"
WARM_LABEL = "cronium.warm"
KILLED = (137, 143, 255)  # KILL, TERM, and what the engine writes when it does not know


class State(BaseModel):
    """The `State` of a container."""

    status: str = Field(alias="Status")
    running: bool = Field(alias="Running")
    exit_code: int = Field(alias="ExitCode")
    out_of_memory: bool = Field(alias="OOMKilled")
    error: str = Field("", alias="Error")
    started: datetime = Field(alias="StartedAt")
    finished: datetime = Field(alias="FinishedAt")

    @property
    def was_started(self) -> bool:
        return moment(self.started) is not None

    def begun(self, at: datetime | None) -> State:
        """As it is for a script that was started `at` some moment after its container."""
        return self if at is None or at <= self.started else self.model_copy(update={"started": at})

    @property
    def is_being_removed(self) -> bool:
        return self.status in ("removing", "dead")

    @property
    def may_be_ended_from_outside(self) -> bool:
        """Ended as by a signal, but not for its use of memory, and not by its removal."""
        return self.exit_code in KILLED and not self.out_of_memory and not self.is_being_removed


class Config(BaseModel):
    """The `Config` of a container."""

    labels: dict[str, str] | None = Field(None, alias="Labels")
    env: list[str] | None = Field(None, alias="Env")


class Container(BaseModel):
    """What `GET /containers/{id}/json` says, as far as it matters here."""

    id: str = Field(alias="Id")
    name: str = Field(alias="Name")
    image: str = Field("", alias="Image")
    created: datetime = Field(alias="Created")
    state: State = Field(alias="State")
    config: Config = Field(alias="Config")

    @property
    def installation(self) -> str | None:
        return (self.config.labels or {}).get(INSTALLATION_LABEL)

    @property
    def warm(self) -> str | None:
        """The slot of one that was started before there was a job for it, see `warm.py`."""
        return (self.config.labels or {}).get(WARM_LABEL)


class Summary(BaseModel):
    """One container in a list."""

    id: str = Field(alias="Id")
    names: list[str] | None = Field(None, alias="Names")
    labels: dict[str, str] | None = Field(None, alias="Labels")

    @property
    def name(self) -> str:
        return (self.names or [self.id])[0].removeprefix("/")

    @property
    def warm(self) -> str | None:
        return (self.labels or {}).get(WARM_LABEL)


class Created(BaseModel):
    """The answer to making a container or an exec."""

    id: str = Field(alias="Id")


class ExecState(BaseModel):
    """How a command inside a container ended."""

    exit_code: int | None = Field(None, alias="ExitCode")


def moment(time: datetime) -> datetime | None:
    """A time in UTC; None for Go's zero time, which stands for never."""
    return None if time.year <= 1 else time.astimezone(UTC)


def exit_of(state: State, *, by_engine: bool, sent: str | None, signalled: bool) -> Exit:
    """
    Read the end of a container that is not running.

    An end by KILL or TERM that nobody here `signalled` is the remover's where the container is being removed. Where it
    was the engine's own (`by_engine`), the script was not to blame, and whether it had done its work is unknown. A
    signal `sent` by hand is an end like any other, and said.
    """
    code: int | None = state.exit_code
    reason: Reason | None = None
    note: str | None = None
    by_others: str | None = None
    started, finished = _times(state)
    if state.out_of_memory and code:
        reason = Reason.OUT_OF_MEMORY
        note = "The container reached its memory limit: give the job more (memory)."
    elif state.out_of_memory:
        note = "A process of the container was ended because the memory limit was reached, but the script succeeded."
    elif signalled or code not in KILLED:
        pass
    elif state.is_being_removed:
        return replace(removed(), started_at=started, finished_at=finished)
    elif by_engine:
        note = (
            f"The Docker daemon was stopped while the script ran, and ended it (exit status {code}). With "
            '"live-restore": true in /etc/docker/daemon.json scripts outlive the daemon.'
        )
        code, reason = None, Reason.LOST
    elif sent is not None:
        by_others = f"Somebody ended the container by hand: the Docker daemon was told to send it {sent}."
    return Exit(code=code, reason=reason, note=note, by_others=by_others, started_at=started, finished_at=finished)


def _times(state: State) -> tuple[datetime | None, datetime | None]:
    """The engine notes the start when it has heard of it: a script of a few milliseconds may have ended before."""
    started, finished = moment(state.started), moment(state.finished)
    if started is not None and finished is not None:
        started = min(started, finished)
    return started, finished


def removed() -> Exit:
    """The end of a container that is not there any more."""
    return Exit(
        code=None,
        reason=Reason.LOST,
        note="The container was removed before its exit status was read; what became of the script is unknown.",
    )
