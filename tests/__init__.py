"""Tests: unit, service, conformance and mesh."""
