"""Platforms that say who a player is, each against its fake."""
