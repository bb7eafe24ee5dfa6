"""What a test has measured, shown at the end of the run whether it passed or not."""

_lines: list[str] = []


def note(what: str, **figures: object) -> None:
    """`note("sixty days", tokens=1200, refused=0)` becomes one line of the summary."""
    values = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())
    _lines.append(f"{what}: {values}")


def take() -> list[str]:
    """What was noted since the last time."""
    taken = list(_lines)
    _lines.clear()
    return taken
