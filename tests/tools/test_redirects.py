"""What follows a redirect, and what is left behind."""

from __future__ import annotations

import pytest

from orchestrator.errors import DeniedError
from orchestrator.tools.destination import parse_destination
from orchestrator.tools.redirects import Hop, next_hop


def test_a_redirect_from_https_to_http_is_refused_unless_it_is_allowed():
    hop = Hop(method="GET", destination=parse_destination("https://hooks.example/a"))
    with pytest.raises(DeniedError, match="from https to http"):
        next_hop(hop, 302, "http://hooks.example/b", downgrade=False)
    assert next_hop(hop, 302, "http://hooks.example/b", downgrade=True).destination.scheme == "http"
    assert next_hop(hop, 302, "//hooks.example/b", downgrade=False).destination.scheme == "https"


def test_another_port_and_another_scheme_are_other_origins():
    headers = {"Authorization": "s3cr3t"}
    hop = Hop(method="GET", destination=parse_destination("http://hooks.example/a"), headers=headers)
    for location, kept in [("/b", True), ("//HOOKS.example.:80/", True), ("//hooks.example:81/", False)]:
        assert (next_hop(hop, 302, location, downgrade=False).headers == headers) is kept
    assert next_hop(hop, 302, "https://hooks.example/", downgrade=False).headers == {}


@pytest.mark.parametrize(
    ("method", "status", "becomes"),
    [
        ("POST", 301, "GET"),
        ("POST", 302, "GET"),
        ("POST", 303, "GET"),
        ("POST", 307, "POST"),
        ("POST", 308, "POST"),
        ("PUT", 301, "PUT"),
        ("PUT", 303, "GET"),
        ("DELETE", 302, "DELETE"),
        ("GET", 301, "GET"),
        ("HEAD", 303, "HEAD"),
    ],
)
def test_a_method_changes_only_where_clients_change_it(method: str, status: int, becomes: str):
    headers = {"Content-Type": "text/plain", "Accept": "text/plain"}
    hop = Hop(method=method, destination=parse_destination("http://a.example/"), headers=headers, body=b"x")
    moved = next_hop(hop, status, "/b", downgrade=False)
    assert moved.method == becomes
    assert (moved.body is None) is (method != becomes)
    assert ("Content-Type" in moved.headers) is (method == becomes)
