"""A service gets its tokens from the real identity and calls the real player_data with them."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import structlog

from shared import errors
from shared.http.client import new_session
from shared.http.service_client import ServiceClient
from shared.http.service_tokens import ClientSecret, ServiceTokens, TokenFile
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import claims_of
from tests.support.clock import ManualClock
from tests.support.issuer import ISSUER, Issuer, ec_key
from tests.support.kubernetes import CLUSTER, KubernetesIssuer

AUDIENCE, SCOPE = "playmesh:keyrotator", "keys:rotate"
SECRET = "secret: 100%+é"
CLIENT = {
    "client_id": "support desk",
    "secrets": [SECRET],
    "service_account": "game/chat",
    "grants": {AUDIENCE: [SCOPE]},
}


@pytest.fixture
def cluster(clock: ManualClock) -> KubernetesIssuer:
    return KubernetesIssuer(clock, ec_key("cluster-1"))


@pytest.fixture
async def identity(
    tmp_path: Path, clock: ManualClock, cluster: KubernetesIssuer
) -> AsyncIterator[RunningIdentity]:
    write(tmp_path, CLIENT)
    async with cluster.serving() as jwks_url:
        environ = {
            "PLAYMESH_SIGNING_ALG": "ES256",
            "PLAYMESH_K8S_ISSUER": CLUSTER,
            "PLAYMESH_K8S_JWKS_URL": jwks_url,
        }
        async with apps.identity(tmp_path, clock, environ) as running:
            yield running


def write(data_dir: Path, client: Mapping[str, object]) -> None:
    (data_dir / "secrets").mkdir(exist_ok=True)
    document = json.dumps({"clients": [client]})
    (data_dir / "secrets" / "service-clients.json").write_text(document)


@contextlib.asynccontextmanager
async def tokens_of(
    identity: RunningIdentity, credential: ClientSecret | TokenFile, clock: ManualClock
) -> AsyncIterator[ServiceTokens]:
    async with new_session() as session:
        tokens = ServiceTokens(session, f"{identity.url}/oauth2/token", credential, clock=clock)
        yield tokens
        await tokens.close()


async def test_a_secret_gets_a_token(identity: RunningIdentity, clock: ManualClock) -> None:
    async with tokens_of(identity, ClientSecret("support desk", SECRET), clock) as tokens:
        claims = claims_of(await tokens.token(AUDIENCE, SCOPE))
    assert (claims["iss"], claims["sub"]) == (ISSUER, "service:support desk")
    assert (claims["aud"], claims["scope"]) == (AUDIENCE, SCOPE)


async def test_a_service_account_gets_a_token_without_any_secret(
    identity: RunningIdentity, cluster: KubernetesIssuer, clock: ManualClock, tmp_path: Path
) -> None:
    file = tmp_path / "projected-token"
    file.write_text(cluster.token())
    async with tokens_of(identity, TokenFile(file), clock) as tokens:
        claims = claims_of(await tokens.token(AUDIENCE, SCOPE))
        assert claims["sub"] == "service:support desk"
        clock.advance(4000)  # the kubelet has written a new one, and the old one has expired
        file.write_text(cluster.token())
        assert claims_of(await tokens.token(AUDIENCE, SCOPE))["jti"] != claims["jti"]


async def test_a_service_that_is_taken_off_the_list_ends_with_its_last_token(
    identity: RunningIdentity, clock: ManualClock, tmp_path: Path
) -> None:
    async with tokens_of(identity, ClientSecret("support desk", SECRET), clock) as tokens:
        await tokens.token(AUDIENCE, SCOPE)
        write(tmp_path, {**CLIENT, "secrets": ["another"]})
        clock.advance(899)
        await tokens.token(AUDIENCE, SCOPE)
        clock.advance(11)
        with structlog.testing.capture_logs() as lines, pytest.raises(errors.Unavailable):
            await tokens.token(AUDIENCE, SCOPE)
    assert "the token endpoint answered 401, invalid_client" in str(lines)


async def test_a_service_calls_another_one_that_trusts_the_same_identity(
    identity: RunningIdentity, issuer: Issuer, clock: ManualClock, tmp_path: Path
) -> None:
    """keyrotator, which fetches identity's keys and asks for the scope keys:rotate."""
    environ = {"PLAYMESH_JWKS_URL": f"{identity.url}/.well-known/jwks.json"}
    async with (
        apps.keyrotator(tmp_path / "other", issuer, clock, environ) as running,
        tokens_of(identity, ClientSecret("support desk", SECRET), clock) as tokens,
        new_session() as session,
    ):
        client = ServiceClient(session, tokens, running.url, AUDIENCE, SCOPE)
        assert (await client.request("GET", "/v1/keys")).status == 200


async def test_no_line_of_the_log_has_a_secret_an_assertion_or_a_token(
    identity: RunningIdentity, cluster: KubernetesIssuer, clock: ManualClock, tmp_path: Path
) -> None:
    file = tmp_path / "projected-token"
    file.write_text(cluster.token())
    issued = []
    with structlog.testing.capture_logs() as lines:
        for credential in (
            ClientSecret("support desk", SECRET),
            TokenFile(file),
            ClientSecret("support desk", "wrong-secret"),
        ):
            async with tokens_of(identity, credential, clock) as tokens:
                with contextlib.suppress(errors.Unavailable):
                    issued.append(await tokens.token(AUDIENCE, SCOPE))
    assert len(issued) == 2
    shown = json.dumps(lines, default=str, ensure_ascii=False)
    assert "/oauth2/token" in shown
    parts = [part for token in (*issued, cluster.token()) for part in token.split(".")[1:]]
    assert not any(part in shown for part in (*parts, SECRET, "100%25", "wrong-secret"))
