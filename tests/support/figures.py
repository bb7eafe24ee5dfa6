"""What a test has measured, shown at the end of the run whether it passed or not."""

_LINES: list[str] = []


def note(what: str, **figures: object) -> None:
    """`note("sixty days", tokens=1200, refused=0)` becomes one line of the summary."""
    values = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())
    _LINES.append(f"{what}: {values}")


def lines() -> list[str]:
    return list(_LINES)
