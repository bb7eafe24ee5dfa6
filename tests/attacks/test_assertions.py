"""Assertions that are not the token of a listed account of the one trusted cluster (RFC 7523)."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from joserfc.jwk import RSAKey

from tests.support import apps
from tests.support.apps import RunningIdentity
from tests.support.calls import call, claims_of, without_request_id
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer, ec_key, rsa_key
from tests.support.kubernetes import AUDIENCE, CLUSTER, KubernetesIssuer, bound_to
from tests.support.servers import Answer
from tests.support.tokens import encode

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CLIENTS = {
    "clients": [
        {
            "client_id": "chat",
            "service_account": "game/chat",
            "grants": {"playmesh:player_data": ["player_data:read", "player_data:write"]},
        }
    ]
}
SUBJECT = "system:serviceaccount:game:chat"
DAY = 86400
LEEWAY = 60


@pytest.fixture
def cluster(clock: ManualClock) -> KubernetesIssuer:
    return KubernetesIssuer(clock, ec_key("cluster-1"))


@pytest.fixture
async def identity(
    tmp_path: Path, clock: ManualClock, cluster: KubernetesIssuer
) -> AsyncIterator[RunningIdentity]:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "service-clients.json").write_text(json.dumps(CLIENTS))
    async with cluster.serving() as jwks_url:
        environ = {
            "PLAYMESH_SIGNING_ALG": "ES256",
            "PLAYMESH_K8S_ISSUER": CLUSTER,
            "PLAYMESH_K8S_JWKS_URL": jwks_url,
        }
        async with apps.identity(tmp_path, clock, environ) as running:
            yield running


async def ask(
    identity: RunningIdentity, assertion: str, form: Mapping[str, str] | None = None
) -> Answer:
    asked = {
        "grant_type": JWT_BEARER,
        "assertion": assertion,
        "resource": "playmesh:player_data",
        **(form or {}),
    }
    return await call(identity.http, "POST", "/oauth2/token", data=asked)


async def refuse(identity: RunningIdentity, assertion: str, reason: str) -> None:
    """For `reason` and no other; nothing of it is told, and nothing of the assertion is kept."""
    other = await ask(identity, "x.y.z")
    with structlog.testing.capture_logs() as lines:
        answer = await ask(identity, assertion)
    assert (answer.status, answer.code) == (400, "invalid_grant")
    assert without_request_id(answer) == without_request_id(other)
    assert [one["reason"] for one in lines if one["event"] == "assertion.refused"] == [reason]
    shown = json.dumps([answer.body.decode(), lines], default=str)
    assert not any(part in shown for part in assertion.split(".") if len(part) > 8)


# What holds


async def test_the_token_of_a_listed_account_gets_a_service_token(
    identity: RunningIdentity, cluster: KubernetesIssuer
) -> None:
    answer = await ask(identity, cluster.token())
    assert answer.status == 200
    claims = claims_of(answer.json()["access_token"])
    assert (claims["sub"], claims["client_id"]) == ("service:chat", "chat")
    assert claims["aud"] == "playmesh:player_data"
    assert answer.json()["scope"] == "player_data:read player_data:write"


async def test_an_assertion_gets_no_more_than_its_client_is_granted(
    identity: RunningIdentity, cluster: KubernetesIssuer
) -> None:
    answer = await ask(identity, cluster.token(), {"scope": "player_data:read"})
    assert answer.json()["scope"] == "player_data:read"
    answer = await ask(identity, cluster.token(), {"scope": "player_data:erase"})
    assert (answer.status, answer.code) == (400, "invalid_scope")
    answer = await ask(identity, cluster.token(), {"resource": "playmesh:keyrotator"})
    assert (answer.status, answer.code) == (400, "invalid_target")


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": AUDIENCE},
        {"aud": ["https://kubernetes.default.svc", AUDIENCE]},
        {"kubernetes.io": None},  # another cluster's issuer need not say it twice
        {"jti": None},  # Kubernetes before 1.30
    ],
    ids=["one audience", "two audiences", "not bound", "no id"],
)
async def test_what_clusters_write_in_other_ways_holds_as_well(
    identity: RunningIdentity, cluster: KubernetesIssuer, changes: dict[str, Any]
) -> None:
    assert (await ask(identity, cluster.token(**changes))).status == 200


@pytest.mark.parametrize("typ", ["JWT", "jwt"])
async def test_a_type_may_say_that_it_is_a_jwt(
    identity: RunningIdentity, cluster: KubernetesIssuer, typ: str
) -> None:
    assert (await ask(identity, cluster.token({"typ": typ}))).status == 200


async def test_a_token_holds_for_as_long_as_two_clocks_may_differ(
    identity: RunningIdentity, cluster: KubernetesIssuer, clock: ManualClock
) -> None:
    old, soon = cluster.token(), int(clock.now().timestamp()) + LEEWAY
    future = cluster.token(nbf=soon, iat=soon, exp=soon + DAY)
    assert (await ask(identity, future)).status == 200
    clock.advance(3600 + LEEWAY - 1)
    assert (await ask(identity, old)).status == 200
    clock.advance(1)
    await refuse(identity, old, "expired")


# What does not


Forge = Callable[[KubernetesIssuer], str]


def _mac(cluster: KubernetesIssuer) -> str:
    header = {"alg": "HS256", "kid": cluster.key["kid"]}
    signed = ".".join(encode(json.dumps(one).encode()) for one in (header, cluster.claims()))
    public = json.dumps(cluster.key.as_dict(private=False)).encode()
    return f"{signed}.{encode(hmac.digest(public, signed.encode(), hashlib.sha256))}"


def _unsigned(algorithm: str, signature: str) -> Forge:
    def forge(cluster: KubernetesIssuer) -> str:
        header = {"alg": algorithm, "kid": cluster.key["kid"]}
        parts = [encode(json.dumps(one).encode()) for one in (header, cluster.claims())]
        return ".".join([*parts, signature])

    return forge


def _tampered(cluster: KubernetesIssuer) -> str:
    header, _, signature = cluster.token().split(".")
    claims = cluster.claims(exp=cluster.claims()["exp"] + 1)
    return ".".join((header, encode(json.dumps(claims).encode()), signature))


def _claims(**changes: Any) -> Forge:  # noqa: ANN401 - also wrong types
    return lambda cluster: cluster.token(**changes)


def _times(**seconds: int) -> Forge:
    """Moments relative to now."""

    def forge(cluster: KubernetesIssuer) -> str:
        now = int(cluster.clock.now().timestamp())
        changes: dict[str, Any] = {name: now + value for name, value in seconds.items()}
        return cluster.token(**changes)

    return forge


def _bound(value: object) -> Forge:
    return _claims(**{"kubernetes.io": value})


ATTACKS: dict[str, tuple[Forge, str]] = {
    "another cluster's name": (_claims(iss=f"{CLUSTER}2"), "iss"),
    "the cluster's name with a slash": (_claims(iss=f"{CLUSTER}/"), "iss"),
    "the cluster's name in a list": (_claims(iss=[CLUSTER]), "iss"),
    "no issuer": (_claims(iss=None), "iss"),
    "another cluster's key": (lambda one: one.token(key=ec_key("cluster-2")), "kid"),
    "another key under the cluster's id": (
        lambda one: one.token(key=ec_key("cluster-1")),
        "signature",
    ),
    "another kind of key under the cluster's id": (
        lambda one: one.token(key=rsa_key("cluster-1")),
        "kid",
    ),
    "another namespace": (lambda one: one.account("evil", "chat"), "no such client"),
    "another account": (lambda one: one.account("game", "evil"), "no such client"),
    "the default account": (lambda one: one.account("game", "default"), "no such client"),
    "a namespace that only the subject has": (_bound(bound_to("evil", "chat")), "kubernetes.io"),
    "an account that only the subject has": (_bound(bound_to("game", "evil")), "kubernetes.io"),
    "bound to no account": (_bound({"namespace": "game"}), "kubernetes.io"),
    "bound to a word": (_bound("game"), "kubernetes.io"),
    "bound to a list": (_bound([]), "kubernetes.io"),
    "a user": (_claims(sub="game:chat"), "sub"),
    "a subject with more": (_claims(sub=f"{SUBJECT}:x"), "sub"),
    "a subject with a line end": (_claims(sub=f"{SUBJECT}\n"), "sub"),
    "a subject with a path": (_claims(sub="system:serviceaccount:game:chat/x"), "sub"),
    "a subject in capitals": (_claims(sub="system:serviceaccount:Game:chat"), "sub"),
    "a subject in a list": (_claims(sub=[SUBJECT]), "sub"),
    "no subject": (_claims(sub=None), "sub"),
    "for the API server": (_claims(aud=["https://kubernetes.default.svc"]), "aud"),
    "for AWS": (_claims(aud=["sts.amazonaws.com"]), "aud"),
    "for players": (_claims(aud="gamebackend"), "aud"),
    "for an audience that begins as ours": (_claims(aud=f"{AUDIENCE}2"), "aud"),
    "for a list with something else in it": (_claims(aud=[AUDIENCE, 7]), "aud"),
    "for nobody": (_claims(aud=None), "aud"),
    "expired": (_times(iat=-3660, nbf=-3660, exp=-60), "expired"),
    "not yet valid": (_times(nbf=61), "not yet valid"),
    "from the future": (_times(iat=61, exp=3661), "not yet valid"),
    "longer than a day": (_times(exp=DAY + 1), "lifetime"),
    "over before it began": (_times(iat=30, exp=0), "lifetime"),
    "without an end": (_claims(exp=None), "exp"),
    "without a beginning": (_claims(nbf=None), "nbf"),
    "without a birth": (_claims(iat=None), "iat"),
    "an end in words": (_claims(exp="1767326645"), "exp"),
    "an end that is true": (_claims(exp=True), "exp"),
    "unsigned": (_unsigned("none", ""), "not a compact JWS"),
    "alg none": (_unsigned("none", "AA"), "alg"),
    "alg None": (_unsigned("None", "AA"), "alg"),
    "a MAC with the public key": (_mac, "alg"),
    "a claim that was changed": (_tampered, "signature"),
    "a key that it brings along": (
        lambda one: one.token({"jwk": one.key.as_dict(private=False)}),
        "header members",
    ),
    "an access token's type": (lambda one: one.token({"typ": "at+jwt"}), "typ"),
    "a logout token's type": (lambda one: one.token({"typ": "logout+jwt"}), "typ"),
    "no token": (lambda _one: "chat", "not a compact JWS"),
}


@pytest.mark.parametrize(("forge", "reason"), ATTACKS.values(), ids=ATTACKS.keys())
async def test_an_assertion_that_does_not_hold_is_refused_as_every_other(
    identity: RunningIdentity, cluster: KubernetesIssuer, forge: Forge, reason: str
) -> None:
    await refuse(identity, forge(cluster), reason)


async def test_a_player_s_token_is_no_assertion(identity: RunningIdentity) -> None:
    guest = (await call(identity.http, "POST", "/v1/guests")).json()
    await refuse(identity, guest["access_token"], "kid")


async def test_a_service_token_does_not_get_another_one(
    identity: RunningIdentity, cluster: KubernetesIssuer
) -> None:
    token = (await ask(identity, cluster.token())).json()["access_token"]
    await refuse(identity, token, "kid")


async def test_an_access_token_is_none_even_where_identity_itself_is_named_as_the_cluster(
    tmp_path: Path, clock: ManualClock, signing_key: RSAKey
) -> None:
    """A wrong setting must not let a token for one audience be changed into one for another."""
    issuer = Issuer(clock, signing_key)
    async with issuer.serving() as jwks_url:
        claims = issuer.claims()
        environ = {
            "PLAYMESH_SIGNING_ALG": "ES256",
            "PLAYMESH_K8S_ISSUER": claims["iss"],
            "PLAYMESH_K8S_JWKS_URL": jwks_url,
            "PLAYMESH_K8S_AUDIENCE": claims["aud"],
        }
        async with apps.identity(tmp_path, clock, environ) as identity:
            await refuse(identity, issuer.token(sub=SUBJECT), "typ")


@pytest.mark.parametrize(
    "credential",
    [{"client_id": "chat"}, {"client_secret": "x"}, {"client_assertion": "x"}],
    ids=["client_id", "client_secret", "client_assertion"],
)
async def test_an_assertion_comes_without_another_credential(
    identity: RunningIdentity, cluster: KubernetesIssuer, credential: dict[str, str]
) -> None:
    answer = await ask(identity, cluster.token(), credential)
    assert (answer.status, answer.code) == (400, "invalid_request")


async def test_a_client_without_a_secret_has_no_empty_one(identity: RunningIdentity) -> None:
    for secret in ("nobody", "x"):
        form = {"grant_type": "client_credentials", "client_id": "chat", "client_secret": secret}
        answer = await ask(identity, "", form)
        assert (answer.status, answer.code) == (401, "invalid_client")


async def test_an_account_that_was_taken_off_the_list_is_refused_at_once(
    identity: RunningIdentity, cluster: KubernetesIssuer, tmp_path: Path
) -> None:
    (tmp_path / "secrets" / "service-clients.json").write_text('{"clients": []}')
    await refuse(identity, cluster.token(), "no such client")


async def test_a_flood_of_unknown_keys_asks_the_cluster_once(
    identity: RunningIdentity, cluster: KubernetesIssuer, clock: ManualClock
) -> None:
    clock.advance(30)
    before = cluster.requests
    for number in range(50):
        await refuse(identity, cluster.token({"kid": f"unknown-{number}"}), "kid")
    assert cluster.requests == before + 1
