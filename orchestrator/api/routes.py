"""The table of routes: what there is, and which scope it needs."""

from __future__ import annotations

from orchestrator.api.access import Open, Route
from orchestrator.api.health import healthz, metrics, readyz
from orchestrator.api.jobs import cancel_job, list_jobs, retry_job, show_job, submit_job
from orchestrator.api.logs import show_journal, show_lines
from orchestrator.api.sockets import follow_job
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
        Route(method="GET", path="/ws/jobs/{id}/logs", access=Scope.READ, handler=follow_job),
    )
