"""The keys of the cluster whose accounts are trusted: how they come, and when they do not."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from services.identity.kubernetes_settings import KubernetesSettings
from shared.env import Env, SettingsError
from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call
from tests.support.clock import ManualClock
from tests.support.issuer import ec_key
from tests.support.kubernetes import CLUSTER, KubernetesIssuer
from tests.support.servers import Answer

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CLIENT = {"client_id": "chat", "service_account": "game/chat", "grants": {"playmesh:x": ["x:y"]}}


@pytest.fixture
def cluster(clock: ManualClock) -> KubernetesIssuer:
    return KubernetesIssuer(clock, ec_key("cluster-1"))


@contextlib.asynccontextmanager
async def trusting(
    folder: Path, clock: ManualClock, jwks_url: str, **files: Path
) -> AsyncIterator[RunningIdentity]:
    (folder / "secrets").mkdir()
    (folder / "secrets" / "service-clients.json").write_text(json.dumps({"clients": [CLIENT]}))
    environ = {
        "PLAYMESH_SIGNING_ALG": "ES256",
        "PLAYMESH_K8S_ISSUER": CLUSTER,
        "PLAYMESH_K8S_JWKS_URL": jwks_url,
        **{f"PLAYMESH_K8S_{name}": str(path) for name, path in files.items()},
    }
    async with apps.identity(folder, clock, environ) as running:
        yield running


async def ask(identity: RunningIdentity, assertion: str) -> Answer:
    form = {"grant_type": JWT_BEARER, "assertion": assertion, "resource": "playmesh:x"}
    return await call(identity.http, "POST", "/oauth2/token", data=form)


async def test_the_keys_are_fetched_once_and_not_by_requests(
    tmp_path: Path, clock: ManualClock, cluster: KubernetesIssuer
) -> None:
    async with cluster.serving() as url, trusting(tmp_path, clock, url) as identity:
        assert cluster.requests == 1
        for _ in range(20):
            assert (await ask(identity, cluster.token())).status == 200
        assert cluster.requests == 1


async def test_a_key_that_signs_at_once_is_fetched_by_the_first_token(
    tmp_path: Path, clock: ManualClock, cluster: KubernetesIssuer
) -> None:
    async with cluster.serving() as url, trusting(tmp_path, clock, url) as identity:
        cluster.key = ec_key("cluster-2")
        cluster.published.append(cluster.key)
        clock.advance(30)
        assert (await ask(identity, cluster.token())).status == 200
        assert cluster.requests == 2


async def test_the_api_server_of_the_cluster_is_asked_with_its_own_authority_and_token(
    tmp_path: Path, clock: ManualClock, cluster: KubernetesIssuer
) -> None:
    cluster.asks_for = "token-of-the-pod"
    token_file = tmp_path / "token"
    token_file.write_text("token-of-the-pod\n")
    async with (
        cluster.serving_tls(tmp_path) as (url, authority),
        trusting(tmp_path, clock, url, CA_FILE=authority, TOKEN_FILE=token_file) as identity,
    ):
        assert (await ask(identity, cluster.token())).status == 200


async def test_the_token_of_the_pod_is_read_again_for_each_fetch(
    tmp_path: Path, clock: ManualClock, cluster: KubernetesIssuer
) -> None:
    """The kubelet replaces it within the hour."""
    cluster.asks_for = "second"
    token_file = tmp_path / "token"
    token_file.write_text("first")
    async with (
        cluster.serving() as url,
        trusting(tmp_path, clock, url, TOKEN_FILE=token_file) as identity,
    ):
        assert (await ask(identity, cluster.token())).status == 503
        token_file.write_text("second")
        clock.advance(10)
        assert (await ask(identity, cluster.token())).status == 200


async def test_an_api_server_that_nobody_vouches_for_is_not_believed(
    tmp_path: Path, clock: ManualClock, cluster: KubernetesIssuer
) -> None:
    async with (
        cluster.serving_tls(tmp_path) as (url, _),
        trusting(tmp_path, clock, url) as identity,
    ):
        answer = await ask(identity, cluster.token())
        assert (answer.status, answer.code) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        assert cluster.requests == 0


async def test_the_token_of_the_pod_is_not_told_to_who_cannot_prove_to_be_the_api_server(
    tmp_path: Path, clock: ManualClock, cluster: KubernetesIssuer
) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("token-of-the-pod")
    async with (
        cluster.serving_tls(tmp_path) as (url, _),
        trusting(tmp_path, clock, url, TOKEN_FILE=token_file),
    ):
        assert cluster.requests == 0


@pytest.mark.parametrize("missing", ["CA_FILE", "TOKEN_FILE"])
async def test_a_file_that_is_not_there_is_told_and_keeps_nobody_else_from_working(
    tmp_path: Path, clock: ManualClock, cluster: KubernetesIssuer, missing: str
) -> None:
    with structlog.testing.capture_logs() as lines:
        async with (
            cluster.serving() as url,
            trusting(tmp_path, clock, url, **{missing: tmp_path / "missing"}) as identity,
        ):
            assert (await ask(identity, cluster.token())).status == 503
            assert (await call(identity.http, "GET", "/.well-known/jwks.json")).status == 200
    failures = [one for one in lines if one["event"] == "jwks.fetch_failed"]
    assert failures[0]["error"] == "cannot read what the cluster asks for: FileNotFoundError"


async def test_while_the_cluster_is_away_the_keys_that_are_known_hold(
    tmp_path: Path, clock: ManualClock, cluster: KubernetesIssuer
) -> None:
    async with cluster.serving() as url, trusting(tmp_path, clock, url) as identity:
        cluster.status = 503
        clock.advance(3 * 3600)
        assert (await ask(identity, cluster.token())).status == 200


async def test_no_line_of_the_log_has_an_assertion_or_the_token_of_the_pod(
    tmp_path: Path, clock: ManualClock, cluster: KubernetesIssuer
) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("token-of-the-pod")
    assertion = cluster.token()
    with structlog.testing.capture_logs() as lines:
        async with (
            cluster.serving() as url,
            trusting(tmp_path, clock, url, TOKEN_FILE=token_file) as identity,
        ):
            issued = (await ask(identity, assertion)).json()["access_token"]
            await ask(identity, cluster.account("game", "other"))
            cluster.status = 500
            clock.advance(30)
            await ask(identity, cluster.token({"kid": "unknown"}))
    shown = json.dumps(lines, default=str)
    assert "no such client" in shown
    assert "jwks.fetch_failed" in shown
    secrets = [*assertion.split(".")[1:], *issued.split(".")[1:], "token-of-the-pod"]
    assert not any(secret in shown for secret in secrets)


# Settings


def read(**values: str) -> KubernetesSettings | None:
    env = Env({f"PLAYMESH_K8S_{name}": value for name, value in values.items()})
    settings = KubernetesSettings.read(env)
    env.check()
    return settings


def test_without_an_issuer_no_cluster_is_trusted() -> None:
    assert read(AUDIENCE="x", JWKS_URL="https://example.com") is None


def test_of_a_cluster_in_eks_the_issuer_is_enough() -> None:
    assert read(ISSUER=CLUSTER) == KubernetesSettings(
        issuer=CLUSTER,
        audience="playmesh:identity",
        jwks_url=f"{CLUSTER}/keys",
        ca_file=None,
        token_file=None,
    )


def test_the_issuer_is_kept_to_the_letter() -> None:
    settings = read(ISSUER="https://example.com/tenant/")
    assert settings
    assert settings.issuer == "https://example.com/tenant/"
    assert settings.jwks_url == "https://example.com/tenant/keys"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("JWKS_URL", {"ISSUER": "http://example.com"}),
        ("JWKS_URL", {"ISSUER": CLUSTER, "JWKS_URL": "http://kubernetes.default.svc/keys"}),
        ("ISSUER", {"ISSUER": "kubernetes/serviceaccount"}),
    ],
)
def test_a_place_that_can_be_tampered_with_is_a_fault(name: str, values: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**values)
    assert any(fault.startswith(f"PLAYMESH_K8S_{name}: ") for fault in caught.value.faults)
