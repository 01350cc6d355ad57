"""Integrations with what others run."""
