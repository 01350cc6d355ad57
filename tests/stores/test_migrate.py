"""Which migrations a database needs."""

from __future__ import annotations

import pytest

from orchestrator.errors import ConflictError
from orchestrator.stores.migrate import Migration, plan, read_migrations

ONE = Migration(number=1, name="one", sql="SELECT 1")
TWO = Migration(number=2, name="two", sql="SELECT 2")


def test_a_new_database_needs_all_in_order():
    assert plan([ONE, TWO], []) == [ONE, TWO]


def test_what_was_applied_is_not_applied_again():
    assert plan([ONE, TWO], [ONE.record]) == [TWO]
    assert plan([ONE, TWO], [TWO.record, ONE.record]) == []


def test_a_changed_text_is_refused():
    changed = Migration(number=1, name="one", sql="SELECT 1 ")
    with pytest.raises(ConflictError, match="0001"):
        plan([changed, TWO], [ONE.record])


def test_a_changed_name_is_refused():
    changed = Migration(number=1, name="uno", sql=ONE.sql)
    with pytest.raises(ConflictError, match="0001"):
        plan([changed], [ONE.record])


def test_a_newer_database_is_refused():
    with pytest.raises(ConflictError, match=r"0002 \(two\)"):
        plan([ONE], [ONE.record, TWO.record])


def test_a_hole_in_what_was_applied_is_refused():
    with pytest.raises(ConflictError):
        plan([ONE, TWO], [TWO.record])


def test_the_migrations_of_the_package_are_found():
    first, *_ = read_migrations("orchestrator.stores.sqlite")
    assert (first.number, first.name) == (1, "first_light")
    assert len(first.checksum) == 64


def test_both_stores_have_the_same_migrations_by_number_and_name():
    """M17: what a release changed is said once, whatever the store."""
    sqlite, postgres = (read_migrations(f"orchestrator.stores.{store}") for store in ("sqlite", "postgres"))
    assert [(one.number, one.name) for one in sqlite] == [(one.number, one.name) for one in postgres]
