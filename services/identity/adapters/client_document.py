"""The document that lists the service clients, whatever it is kept in.

    {"clients": [{"client_id": "...", "secrets": ["..."], "grants": {"<audience>": ["<scope>"]}}]}

It holds the secrets as they are, so that who may read it can use them. More than one secret of
a client holds while one is being replaced by another.
"""

from typing import Any

from services.identity.service_clients import ServiceClient
from shared import strict_json
from shared.auth.claims import service_audience
from shared.ids import digest, new_secret


def find_client(document: bytes, client_id: str) -> ServiceClient | None:
    """Raises ValueError, without a word of the content, where the document is damaged."""
    try:
        body: Any = strict_json.loads(document)
        for entry in body["clients"]:
            if entry["client_id"] == client_id:
                return ServiceClient(
                    client_id=client_id,
                    secret_digests=tuple(digest(one) for one in _texts(entry["secrets"])),
                    grants={
                        audience: frozenset(_texts(scopes))
                        for audience, scopes in entry["grants"].items()
                    },
                )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ValueError("the list of service clients is damaged") from None
    return None


def first_document() -> bytes:
    """With one client, `operator`, who may rotate the keys."""
    operator = {
        "client_id": "operator",
        "secrets": [new_secret()],
        "grants": {service_audience("keyrotator"): ["keys:rotate"]},
    }
    return f"{strict_json.dumps({'clients': [operator]})}\n".encode()


def _texts(value: object) -> list[str]:
    """A list of words. A single string would be taken apart into its characters."""
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise ValueError
    return value
