"""Platforms that say who a player is: one file each, on the parts that all of them share.

To add one, write a file with its settings, whose `open` makes the platform of `shape.py`, name it
in `settings.py`, and write its fake, a server, in `tests/support/fakes`. Time-outs, retries, the
circuit breaker, metrics, logs and what must not leak are `http.py` and `guarded.py`, for all.
"""
