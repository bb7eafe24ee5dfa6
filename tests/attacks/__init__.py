"""Attacks by name, and what others verify beside us."""
