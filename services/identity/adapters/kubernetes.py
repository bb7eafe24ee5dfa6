"""The keys of a Kubernetes cluster, from its API server or from where EKS publishes them."""

import asyncio
import ssl
from pathlib import Path

from services.identity.kubernetes_settings import KubernetesSettings
from shared import errors
from shared.auth.jwk_set import LARGEST_DOCUMENT
from shared.auth.jwks_client import JwksClient
from shared.clock import Clock
from shared.http.client import Document, fetch, new_session

# The API server lets its keys be kept for an hour, and EKS asks to be asked seldom.
_JWKS_TTL = 3600.0


def cluster_keys(settings: KubernetesSettings, clock: Clock) -> JwksClient:
    """Whoever runs it keeps them fresh."""

    async def fetch_set() -> Document:
        # Both files for each fetch: Kubernetes replaces them under a running process.
        tls, headers = await asyncio.to_thread(_read, settings)
        async with new_session(tls=tls, headers=headers) as session:
            return await fetch(session, settings.jwks_url, largest=LARGEST_DOCUMENT)

    return JwksClient(fetch_set, ttl=_JWKS_TTL, clock=clock)


def _read(settings: KubernetesSettings) -> tuple[ssl.SSLContext | None, dict[str, str]]:
    try:
        tls = ssl.create_default_context(cafile=settings.ca_file) if settings.ca_file else None
        headers = _bearer(settings.token_file) if settings.token_file else {}
    except (OSError, ValueError) as error:  # of ssl as well
        raise errors.Unavailable(
            f"cannot read what the cluster asks for: {type(error).__name__}"
        ) from None
    return tls, headers


def _bearer(file: Path) -> dict[str, str]:
    token = file.read_text("ascii").strip()
    if not token.isprintable():
        raise ValueError
    return {"Authorization": f"Bearer {token}"}
