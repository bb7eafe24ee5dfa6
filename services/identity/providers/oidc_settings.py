"""Issuers that are known, and any other: all of them settings of the one verifier."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from services.identity.providers.apple import AppleSettings
from services.identity.providers.apple_key import read_key
from services.identity.providers.oidc import Nonce, OidcSettings
from shared.env import Env
from shared.http.client import is_tamper_proof

_SECOND, _HOUR = timedelta(seconds=1), timedelta(hours=1)
_ALGORITHMS = ("RS256", "ES256")
_NAME = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
_LONGEST_NAME = 27  # with `oidc_` in front it is as long as a provider's name may be
_LONGEST_SCOPE = 128  # so that an external id has room for a subject
_CLAIM = re.compile(r"[^=\s]+=[^=]+")


def read_google(env: Env) -> OidcSettings:
    """Ids are of all of Google: they need no scope."""
    return _read(
        env,
        "GOOGLE",
        OidcSettings(
            name="google",
            provider="google",
            issuers=("https://accounts.google.com", "accounts.google.com"),
            jwks_url="https://www.googleapis.com/oauth2/v3/certs",
            audiences=frozenset(),
        ),
    )


def read_facebook_limited(env: Env) -> OidcSettings:
    """The ids are those that Facebook's other login has: of one Facebook application."""
    return _read(
        env,
        "FACEBOOK_LIMITED",
        OidcSettings(
            name="facebook_limited",
            provider="facebook",
            issuers=("https://www.facebook.com",),
            jwks_url="https://limited.facebook.com/.well-known/oauth/openid/jwks/",
            audiences=frozenset(),
            scope_is_audience=True,
            nonce=Nonce.RAW,
        ),
    )


def read_apple(env: Env) -> AppleSettings:
    tokens = _read_apple_tokens(env)
    url = env.url("APPLE_URL", "https://appleid.apple.com")
    if not is_tamper_proof(url):
        env.fault("APPLE_URL", "must be https, or http to this machine")
    services_ids = frozenset(env.texts("APPLE_SERVICES_IDS"))
    redirect_uri = env.url("APPLE_REDIRECT_URI", "") if env.text("APPLE_REDIRECT_URI", "") else ""
    if bool(services_ids) != bool(redirect_uri):
        env.fault(
            "APPLE_REDIRECT_URI", f"belongs to {env.prefix}APPLE_SERVICES_IDS: both or neither"
        )
    if not services_ids <= tokens.audiences:
        env.fault("APPLE_SERVICES_IDS", f"must be of {env.prefix}APPLE_AUDIENCES")
    return AppleSettings(tokens, url, read_key(env, tokens.scope), services_ids, redirect_uri)


def _read_apple_tokens(env: Env) -> OidcSettings:
    """Ids are of one developer team. Its tokens live for a day: they are taken for ten minutes."""
    return _read(
        env,
        "APPLE",
        OidcSettings(
            name="apple",
            provider="apple",
            issuers=("https://appleid.apple.com",),
            jwks_url="https://appleid.apple.com/auth/keys",
            audiences=frozenset(),
            scope=env.required("APPLE_TEAM_ID"),
            nonce=Nonce.SHA256,
            nonce_unless_unsupported=True,
            raw_nonce_audiences=frozenset(env.texts("APPLE_RAW_NONCE_AUDIENCES")),
            max_age=timedelta(minutes=10),
            details=("real_user_status", "is_private_email", "transfer_sub"),
        ),
    )


def read_apple_drop_in(env: Env) -> OidcSettings:
    """Apple for clients of the reference, which make no nonce: on only where it is named.

    A token that has a nonce is not taken, so whose clients make one lose nothing by it.
    """
    apple = _read_apple_tokens(env)
    return replace(
        apple,
        name="apple_drop_in",
        nonce=Nonce.ABSENT,
        nonce_issued=False,
        raw_nonce_audiences=frozenset(),
        details=(*apple.details, "sub"),
    )


def read_epic(env: Env) -> OidcSettings:
    """Epic Account Services: ids are of all of Epic. A token is of one deployment, such as the
    live one. Its samples and its discovery document name two issuers.
    """
    return _read(
        env,
        "EPIC",
        OidcSettings(
            name="epic",
            provider="epic",
            issuers=(
                "https://api.epicgames.dev/epic/oauth/v1",
                "https://api.epicgames.dev/epic/oauth/v2",
            ),
            jwks_url="https://api.epicgames.dev/epic/oauth/v2/.well-known/jwks.json",
            audiences=frozenset(),
            required_claims={"pfdid": env.required("EPIC_DEPLOYMENT_ID")},
        ),
    )


def read_eos(env: Env) -> OidcSettings:
    """EOS Connect, which has other keys and other ids than Epic's accounts: of one product.

    Whoever has only a device's id there, and so no account behind it (`act`), is a guest of ours.
    """
    product = env.required("EOS_PRODUCT_ID")
    return _read(
        env,
        "EOS",
        OidcSettings(
            name="eos",
            provider="eos",
            issuers=("https://api.epicgames.dev/auth/v1/oauth",),
            jwks_url="https://api.epicgames.dev/auth/v1/oauth/jwks",
            audiences=frozenset(),
            scope=product,
            required_claims={"pfpid": product, "pfdid": env.required("EOS_DEPLOYMENT_ID")},
            needed_claims=("act",),
        ),
    )


def read_twitch(env: Env) -> OidcSettings:
    """Ids are of all of Twitch: they need no scope. Names of players change hands."""
    return _read(
        env,
        "TWITCH",
        OidcSettings(
            name="twitch",
            provider="twitch",
            issuers=("https://id.twitch.tv/oauth2",),
            jwks_url="https://id.twitch.tv/oauth2/keys",
            audiences=frozenset(),
        ),
    )


def read_issuer(name: str) -> Callable[[Env], OidcSettings]:
    """Of an issuer that has no file here. `oidc_` keeps its ids from a platform's that may come."""

    def read(env: Env) -> OidcSettings:
        prefix = f"OIDC_{name.upper()}"
        issuers = _required(env, f"{prefix}_ISSUERS")
        scope = issuers[0] if issuers else ""
        if len(scope) > _LONGEST_SCOPE:
            env.fault(f"{prefix}_ISSUERS", f"must not be longer than {_LONGEST_SCOPE} characters")
        known = OidcSettings(
            name=f"oidc_{name}",
            provider=f"oidc_{name}",
            issuers=issuers,
            jwks_url="",
            audiences=frozenset(),
            # Another issuer under the same name must not find the accounts of this one.
            scope=scope,
        )
        return _read(env, prefix, known)

    return read


def is_issuer_name(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None


def _read(env: Env, prefix: str, known: OidcSettings) -> OidcSettings:
    nonces = tuple(kind.value for kind in Nonce)
    nonce = Nonce(env.choice(f"{prefix}_NONCE", known.nonce.value, nonces))
    nonce_issued = env.flag(f"{prefix}_NONCE_ISSUED", default=known.nonce_issued)
    if nonce_issued and nonce not in (Nonce.RAW, Nonce.SHA256):
        env.fault(f"{prefix}_NONCE_ISSUED", f"needs {env.prefix}{prefix}_NONCE=raw, or sha256")
    return replace(
        known,
        issuers=env.texts(f"{prefix}_ISSUERS") or known.issuers,
        jwks_url=_jwks_url(env, f"{prefix}_JWKS_URL", known.jwks_url),
        audiences=frozenset(_required(env, f"{prefix}_AUDIENCES")),
        algorithms=_algorithms(env, f"{prefix}_ALGORITHMS"),
        nonce=nonce,
        nonce_issued=nonce_issued,
        max_age=env.duration(
            f"{prefix}_MAX_AGE", known.max_age, minimum=60 * _SECOND, maximum=24 * _HOUR
        ),
        subject_claim=env.text(f"{prefix}_SUBJECT_CLAIM", known.subject_claim),
        required_claims={
            **_claims(env, f"{prefix}_REQUIRED_CLAIMS"),
            **(known.required_claims or {}),
        },
        authorized_parties=frozenset(env.texts(f"{prefix}_AUTHORIZED_PARTIES")),
        single_use=env.flag(f"{prefix}_SINGLE_USE", default=known.single_use),
    )


def _required(env: Env, name: str) -> tuple[str, ...]:
    values = env.texts(name)
    if not values:
        env.fault(name, "must be set")
    return values


def _jwks_url(env: Env, name: str, default: str) -> str:
    url = env.url(name, default) if default or env.required(name) else ""
    if url and not is_tamper_proof(url):
        env.fault(name, "must be https, or http to this machine")
    # As it was given: a slash at its end is a part of Facebook's.
    return env.text(name, default)


def _algorithms(env: Env, name: str) -> frozenset[str]:
    values = frozenset(env.texts(name, "RS256"))
    if not values <= set(_ALGORITHMS):
        env.fault(name, f"must be of {', '.join(_ALGORITHMS)}")
    return values


def _claims(env: Env, name: str) -> dict[str, str]:
    entries = env.texts(name)
    if not all(_CLAIM.fullmatch(entry) for entry in entries):
        env.fault(name, "must be claims and their values: tid=abc,token_use=id")
        return {}
    return dict(entry.split("=") for entry in entries)
