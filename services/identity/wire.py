"""JSON and form bodies, and what becomes of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from multidict import MultiMapping

from services.identity.idempotency import KeyedRequest
from services.identity.logins import GuestLogin, PlatformLogin
from services.identity.nonces import NONCE_LIFETIME
from services.identity.sessions import IssuedTokens
from shared import errors
from shared.http.bodies import Fields
from shared.http.idempotency import read_idempotency_key

_LONGEST_ID = 128
_LONGEST_SECRET = 256
_LONGEST_PROVIDER = 64
_LONGEST_PART = 8192
_MOST_PARTS = 16
_LONGEST_TOKEN = 512
_LONGEST_DEVICE = 128


@dataclass(frozen=True, slots=True)
class GuestCredential:
    user_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PlatformCredential:
    """`parts` are what the provider's own page says, all of them text."""

    provider: str
    parts: Mapping[str, str] = field(repr=False)


def read_optional_guest(fields: Fields) -> GuestCredential | None:
    """None asks for a new guest: neither parameter is there. Half a credential is an error."""
    if not fields.has("user_id") and not fields.has("guest_secret"):
        return None
    return _read_guest(fields, secret="guest_secret")  # noqa: S106 - the parameter's name


def read_keyed_request(headers: MultiMapping[str], body: Fields) -> KeyedRequest | None:
    """None without an Idempotency-Key."""
    key = read_idempotency_key(headers)
    return KeyedRequest(key, body.canonical()) if key is not None else None


def read_login(fields: Fields) -> GuestCredential | PlatformCredential:
    if fields.text("provider", longest=_LONGEST_PROVIDER) == "guest":
        return _read_guest(fields.object("credential"), secret="guest_secret")  # noqa: S106
    return read_platform(fields)


def read_platform(fields: Fields) -> PlatformCredential:
    parts = fields.object("credential")
    if len(parts.names()) > _MOST_PARTS:
        raise errors.InvalidRequest(f"`credential` has at most {_MOST_PARTS} parts")
    return PlatformCredential(
        fields.text("provider", longest=_LONGEST_PROVIDER),
        {name: parts.text(name, longest=_LONGEST_PART) for name in parts.names()},
    )


def read_device(fields: Fields) -> str | None:
    """The name that a player will recognise the device by."""
    device = fields.optional_object("device")
    return device.optional_text("name", longest=_LONGEST_DEVICE) if device else None


def read_refresh(fields: Fields) -> str:
    return fields.text("refresh_token", longest=_LONGEST_TOKEN)


def render_tokens(tokens: IssuedTokens) -> dict[str, object]:
    return {
        "user_id": tokens.user_id,
        "access_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "expires_in": tokens.expires_in,
        "refresh_expires_in": tokens.refresh_expires_in,
    }


def render_nonce(nonce: str) -> dict[str, object]:
    return {"nonce": nonce, "expires_in": int(NONCE_LIFETIME.total_seconds())}


def render_new_guest(login: GuestLogin) -> dict[str, object]:
    return {**render_tokens(login.tokens), "guest_secret": login.guest_secret}


def render_drop_in(tokens: IssuedTokens) -> dict[str, object]:
    """The names that the drop-in SDKs read."""
    return {
        "user_id": tokens.user_id,
        "auth_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "auth_token_expires_in": tokens.expires_in,
        "refresh_token_expires_in": tokens.refresh_expires_in,
    }


def render_drop_in_guest(login: GuestLogin) -> dict[str, object]:
    return {**render_drop_in(login.tokens), "guest_secret": login.guest_secret}


def read_platform_token(fields: Fields, name: str) -> str:
    return fields.text(name, longest=_LONGEST_PART)


def read_link_token(fields: Fields) -> str | None:
    """The access token of the player to whom the identity is to be linked, if it is."""
    wanted = fields.optional_text("link_to_existing_user", longest=8)
    return fields.text("auth_token", longest=_LONGEST_PART) if wanted == "Yes" else None


def render_drop_in_platform(
    login: PlatformLogin, platform_id: Mapping[str, str]
) -> dict[str, object]:
    """With the platform's id under the name that the SDKs read."""
    body = {**render_drop_in(login.tokens), **platform_id}
    return {**body, "link_conflict": True} if login.link_conflict else body


def _read_guest(fields: Fields, *, secret: str) -> GuestCredential:
    return GuestCredential(
        user_id=fields.text("user_id", longest=_LONGEST_ID),
        secret=fields.text(secret, longest=_LONGEST_SECRET),
    )
