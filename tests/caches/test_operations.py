"""The table of operations has every method of every role, so that no method escapes the tests that use it."""

from __future__ import annotations

import inspect

from orchestrator.contracts.cache import Bus, Cache, Counters, Hashes, Keys, Lists, Locks, Requests
from tests.caches.operations import OPERATIONS
from tests.suites.cache_suite import CacheSuite

ROLES = {
    "counters": Counters,
    "hashes": Hashes,
    "lists": Lists,
    "keys": Keys,
    "locks": Locks,
    "bus": Bus,
    "requests": Requests,
}


def _methods(protocol: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(protocol, inspect.isfunction) if not name.startswith("_")}


def test_every_method_of_every_role_is_an_operation():
    methods = _methods(Cache) | {f"{role}.{name}" for role, protocol in ROLES.items() for name in _methods(protocol)}
    assert methods == OPERATIONS.keys()


def test_no_suite_hides_a_test_of_another():
    names = [name for suite in CacheSuite.__mro__ for name in vars(suite) if name.startswith("test_")]
    assert len(names) > 80
    assert len(names) == len(set(names))
