"""The table of routes: what there is, and which scope it needs."""

from __future__ import annotations

from orchestrator.api.access import Open, Route
from orchestrator.api.artifacts import download_artifact, list_artifacts
from orchestrator.api.events import (
    activate_event,
    archive_event,
    create_event,
    list_events,
    pause_event,
    run_event,
    show_event,
    show_event_journal,
    show_fire_times,
)
from orchestrator.api.health import healthz, metrics, readyz
from orchestrator.api.jobs import cancel_job, list_jobs, retry_job, show_job, submit_job
from orchestrator.api.logs import show_journal, show_lines
from orchestrator.api.secrets import delete_secret, list_secrets, rotate_key, set_secret, show_secret
from orchestrator.api.sockets import follow_job
from orchestrator.api.variables import VARIABLE_ROUTES
from orchestrator.model.tokens import Scope


def all_routes(*, metrics_public: bool) -> tuple[Route, ...]:
    """Every route of the server. GET answers HEAD too."""
    scrape = Open.PUBLIC if metrics_public else Scope.READ
    return (
        Route(method="GET", path="/healthz", access=Open.PUBLIC, handler=healthz),
        Route(method="GET", path="/readyz", access=Open.PUBLIC, handler=readyz),
        Route(method="GET", path="/metrics", access=scrape, handler=metrics),
        Route(method="POST", path="/api/v3/jobs", access=Scope.RUN, handler=submit_job),
        Route(method="GET", path="/api/v3/jobs", access=Scope.READ, handler=list_jobs),
        Route(method="GET", path="/api/v3/jobs/{id}", access=Scope.READ, handler=show_job),
        Route(method="POST", path="/api/v3/jobs/{id}/cancel", access=Scope.RUN, handler=cancel_job),
        Route(method="POST", path="/api/v3/jobs/{id}/retry", access=Scope.RUN, handler=retry_job),
        Route(method="GET", path="/api/v3/jobs/{id}/logs", access=Scope.READ, handler=show_lines),
        Route(method="GET", path="/api/v3/jobs/{id}/journal", access=Scope.READ, handler=show_journal),
        Route(method="GET", path="/api/v3/jobs/{id}/artifacts", access=Scope.READ, handler=list_artifacts),
        Route(method="GET", path="/api/v3/jobs/{id}/artifacts/{name:.*}", access=Scope.READ, handler=download_artifact),
        Route(method="POST", path="/api/v3/events", access=Scope.WRITE, handler=create_event),
        Route(method="GET", path="/api/v3/events", access=Scope.READ, handler=list_events),
        Route(method="GET", path="/api/v3/events/{id}", access=Scope.READ, handler=show_event),
        Route(method="POST", path="/api/v3/events/{id}/run", access=Scope.RUN, handler=run_event),
        Route(method="POST", path="/api/v3/events/{id}/activate", access=Scope.WRITE, handler=activate_event),
        Route(method="POST", path="/api/v3/events/{id}/pause", access=Scope.WRITE, handler=pause_event),
        Route(method="POST", path="/api/v3/events/{id}/archive", access=Scope.WRITE, handler=archive_event),
        Route(method="GET", path="/api/v3/events/{id}/next", access=Scope.READ, handler=show_fire_times),
        Route(method="GET", path="/api/v3/events/{id}/journal", access=Scope.READ, handler=show_event_journal),
        *VARIABLE_ROUTES,
        Route(method="POST", path="/api/v3/secrets", access=Scope.WRITE, handler=set_secret),
        Route(method="GET", path="/api/v3/secrets", access=Scope.READ, handler=list_secrets),
        Route(method="GET", path="/api/v3/secrets/{id}", access=Scope.READ, handler=show_secret),
        Route(method="POST", path="/api/v3/secrets/{id}/delete", access=Scope.WRITE, handler=delete_secret),
        Route(method="POST", path="/api/v3/secret-key/rotate", access=Scope.ADMIN, handler=rotate_key),
        Route(method="GET", path="/ws/jobs/{id}/logs", access=Scope.READ, handler=follow_job),
    )
