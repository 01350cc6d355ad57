"""The image and its neighbours, for the pages whose commands need them."""

from __future__ import annotations

from tests.image.conftest import base, composing, deploy, image, neighbours

__all__ = ["base", "composing", "deploy", "image", "neighbours"]
