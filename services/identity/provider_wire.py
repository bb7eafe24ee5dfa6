"""What platforms send, and what they are answered."""

from shared.http.bodies import Fields

_LONGEST = 8192


def read_payload(fields: Fields) -> str:
    return fields.text("payload", longest=_LONGEST)


def read_signed_request(fields: Fields) -> str:
    return fields.text("signed_request", longest=_LONGEST)


def render_deletion(public_url: str, code: str) -> dict[str, object]:
    """By Facebook's names."""
    return {"url": f"{public_url}/v1/deletions/{code}", "confirmation_code": code}


def render_status(*, is_done: bool) -> dict[str, object]:
    return {"status": "done" if is_done else "under_way"}
