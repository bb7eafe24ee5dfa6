"""Versioned records of players."""
