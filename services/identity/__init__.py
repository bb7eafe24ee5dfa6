"""Accounts, sessions and access tokens."""
