"""A typed reader over environment variables that reports every fault at once."""

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from yarl import URL

_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class SettingsError(Exception):
    """One line per fault, each beginning with the name of its variable."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Env:
    """Reads `PLAYMESH_<name>`. A fault is kept, its default answered; `check()` raises them all.

    An empty variable counts as missing, since that is what an unset template value leaves.
    """

    prefix = "PLAYMESH_"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._faults: list[str] = []

    def check(self) -> None:
        if self._faults:
            raise SettingsError(self._faults)

    def fault(self, name: str, reason: str) -> None:
        self._faults.append(f"{self.prefix}{name}: {reason}")

    def text(self, name: str, default: str) -> str:
        return self._environ.get(self.prefix + name, "").strip() or default

    def texts(self, name: str, default: str = "") -> tuple[str, ...]:
        """What is between the commas, in order and each once; empty parts count as missing."""
        for text in (self.text(name, ""), default):
            parts = [part.strip() for part in text.split(",")]
            if any(parts):
                return tuple(dict.fromkeys(part for part in parts if part))
        return ()

    def required(self, name: str) -> str:
        value = self.text(name, "")
        if not value:
            self.fault(name, "must be set")
        return value

    def choice(self, name: str, default: str, options: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value not in options:
            self.fault(name, f"must be one of {', '.join(options)}; it is {value!r}")
            return default
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        return self.choice(name, "true" if default else "false", ("true", "false")) == "true"

    def integer(self, name: str, default: int, *, minimum: int, maximum: int) -> int:
        text = self.text(name, str(default))
        if not re.fullmatch(r"[0-9]{1,12}", text) or not minimum <= int(text) <= maximum:
            self.fault(name, f"must be a whole number from {minimum} to {maximum}; it is {text!r}")
            return default
        return int(text)

    def duration(
        self, name: str, default: timedelta, *, minimum: timedelta, maximum: timedelta
    ) -> timedelta:
        """Whole seconds, or a number with the unit s, m, h or d: `900`, `15m`, `7d`."""
        text = self.text(name, f"{default // timedelta(seconds=1)}")
        parsed = _DURATION.fullmatch(text)
        value = timedelta(seconds=int(parsed[1]) * _UNITS[parsed[2]]) if parsed else None
        if value is None or not minimum <= value <= maximum:
            self.fault(
                name,
                f"must be a duration (900, 15m, 7d) from {minimum} to {maximum}; it is {text!r}",
            )
            return default
        return value

    def url(self, name: str, default: str) -> str:
        """An absolute http or https URL without query, fragment, user or trailing slash."""
        text = self.text(name, default)
        try:
            url = URL(text)
            usable = (
                url.scheme in ("http", "https")
                and bool(url.host)
                # An empty query counts too: paths are appended to this text.
                and not any(mark in text for mark in "?#@")
            )
        except ValueError:
            usable = False
        if not usable:
            # The value is not shown: a URL may carry a password.
            self.fault(name, "must be an absolute http or https URL without query or user")
            return default
        return text.rstrip("/")

    def path(self, name: str, default: str) -> Path:
        return Path(self.text(name, default))
