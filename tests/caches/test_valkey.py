"""The cache on a server keeps what every cache promises."""

from __future__ import annotations

import pytest

from tests.caches.valkey_opening import OnServer
from tests.suites.cache_suite import CacheSuite

pytestmark = pytest.mark.distributed


class TestValkeyCache(OnServer, CacheSuite):
    pass
