"""The document that lists the service clients, whatever it is kept in.

    {"clients": [{"client_id": "...",
                  "secrets": ["..."],
                  "service_account": "<namespace>/<name>",
                  "grants": {"<audience>": ["<scope>"]}}]}

Each client has secrets, a service account of the Kubernetes cluster that is trusted, or both. The
document holds the secrets as they are, so that who may read it can use them. More than one secret
of a client holds while one is being replaced by another.

It is read as a whole: a mistake in one entry stops everybody at once, which is noticed, instead of
one client some day. A member that we do not know is left alone: a later version may.
"""

import re
from collections.abc import Sequence
from typing import Any

from services.identity.service_clients import ServiceClient
from shared import strict_json
from shared.auth.claims import service_audience
from shared.ids import digest, new_secret

_SERVICE_ACCOUNT = re.compile(r"[a-z0-9-]{1,63}/[a-z0-9.-]{1,253}")


def find_client(document: bytes, client_id: str) -> ServiceClient | None:
    """Raises ValueError, without a word of the content, where the document is damaged."""
    return next((one for one in _parse(document) if one.client_id == client_id), None)


def find_service_account(document: bytes, account: str) -> ServiceClient | None:
    """`account` is `<namespace>/<name>`. Raises ValueError as `find_client` does."""
    return next((one for one in _parse(document) if one.service_account == account), None)


def first_document() -> bytes:
    """With one client, `operator`, who may rotate the keys and look after the players' accounts.

    What players have saved is not the operator's to read or to erase.
    """
    operator = {
        "client_id": "operator",
        "secrets": [new_secret()],
        "grants": {
            service_audience("keyrotator"): ["keys:rotate"],
            service_audience("identity"): ["identity:admin"],
        },
    }
    return f"{strict_json.dumps({'clients': [operator]})}\n".encode()


def _parse(document: bytes) -> Sequence[ServiceClient]:
    try:
        body: Any = strict_json.loads(document)
        clients = [_client(entry) for entry in _list(body["clients"])]
        _check_unique([one.client_id for one in clients])
        _check_unique([one.service_account for one in clients if one.service_account])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ValueError("the list of service clients is damaged") from None
    return clients


def _client(entry: Any) -> ServiceClient:  # noqa: ANN401 - whatever the document holds
    if "secrets" not in entry and "service_account" not in entry:
        raise ValueError
    grants = entry["grants"].items()
    return ServiceClient(
        client_id=_text(entry["client_id"]),
        secret_digests=tuple(digest(one) for one in _texts(entry.get("secrets", []))),
        grants={audience: frozenset(_texts(scopes)) for audience, scopes in grants},
        service_account=_service_account(entry) if "service_account" in entry else None,
    )


def _service_account(entry: Any) -> str:  # noqa: ANN401 - whatever the document holds
    account = _text(entry["service_account"])
    if not _SERVICE_ACCOUNT.fullmatch(account):
        raise ValueError
    return account


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _texts(value: object) -> list[str]:
    """A list of words. A single string would be taken apart into its characters."""
    return [_text(one) for one in _list(value)]


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError  # noqa: TRY004 - the document is damaged, whatever it has there
    return value


def _check_unique(names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        raise ValueError
