"""A game client to read and to run."""
