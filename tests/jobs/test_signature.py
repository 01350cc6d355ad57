"""Signatures of webhooks, held to the Standard Webhooks specification."""

from __future__ import annotations

import pytest

from orchestrator.errors import InvalidError
from orchestrator.jobs.signature import parse_signing_key, sign

# The example that the libraries of the specification test themselves with.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
EXAMPLE = {"webhook_id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "timestamp": 1614265330, "body": b'{"test": 2432232314}'}


def test_the_example_of_the_specification_has_its_signature():
    signature = sign(parse_signing_key(SECRET), **EXAMPLE)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("change", [{"webhook_id": "msg_2"}, {"timestamp": 1614265331}, {"body": b"{}"}])
def test_whatever_is_changed_changes_the_signature(change: dict):
    key = parse_signing_key(SECRET)
    assert sign(key, **{**EXAMPLE, **change}) != sign(key, **EXAMPLE)


def test_a_key_may_be_written_without_its_prefix():
    assert parse_signing_key(SECRET.removeprefix("whsec_") + "\n") == parse_signing_key(SECRET)


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_short", "whsec_" + "!" * 40, "s3cr3t-key", "whsec_" + "A" * 100])
def test_what_is_no_key_is_refused_and_not_repeated(text: str):
    with pytest.raises(InvalidError) as refused:
        parse_signing_key(text)
    assert len(text) < 8 or text not in refused.value.message
