"""The token endpoint on the wire: forms in, JSON out, with the names of RFC 6749."""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from authlib.oauth2.base import invalid_error_characters
from authlib.oauth2.rfc6749.errors import (
    InvalidClientError,
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
    UnsupportedGrantTypeError,
)

from services.identity.service_clients import ServiceToken
from shared import errors
from shared.http.bodies import Fields

_CLIENT_CREDENTIALS = "client_credentials"
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LONGEST_ID = 128
_LONGEST_SECRET = 256
_LONGEST_ASSERTION = 8192
_LONGEST_SCOPE = 1024

# The token endpoint has no name for what may pass: 503 and Retry-After say it (RFC 9110).
_NAMES: Mapping[type[errors.PlaymeshError], str] = {
    errors.InvalidRequest: InvalidRequestError.error,
    errors.TooLarge: InvalidRequestError.error,
    errors.InvalidClient: InvalidClientError.error,
    errors.InvalidGrant: InvalidGrantError.error,
    errors.InvalidScope: InvalidScopeError.error,
    errors.InvalidTarget: "invalid_target",  # RFC 8707 section 2
    errors.UnsupportedGrantType: UnsupportedGrantTypeError.error,
}


@dataclass(frozen=True, slots=True)
class ClientSecret:
    client_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Assertion:
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """`scope` None asks for all that is granted at `resource`."""

    credential: ClientSecret | Assertion
    resource: str
    scope: str | None


def read_token_request(fields: Fields, authorization: str | None) -> TokenRequest:
    """RFC 6749 section 4.4.2 or RFC 7523 section 2.1, with the resource of RFC 8707."""
    grant = fields.text("grant_type", longest=64)
    if grant == _CLIENT_CREDENTIALS:
        credential: ClientSecret | Assertion = _read_secret(fields, authorization)
    elif grant == _JWT_BEARER:
        credential = _read_assertion(fields, authorization)
    else:
        raise errors.UnsupportedGrantType
    return TokenRequest(credential, _read_resource(fields), _read_scope(fields))


def render_service_token(token: ServiceToken) -> dict[str, object]:
    return {
        "access_token": token.access_token,
        "token_type": "Bearer",
        "expires_in": token.expires_in,
        "scope": token.scope,
    }


def render_error(error: errors.PlaymeshError) -> dict[str, object] | None:
    """The members of RFC 6749 section 5.2; None where it has no name for the error."""
    name = _NAMES.get(type(error))
    if name is None:
        return None
    # A detail may quote what the client has sent.
    text = error.detail or error.title
    forbidden = invalid_error_characters(text)
    return {"error": name, "error_description": text.translate(dict.fromkeys(map(ord, forbidden)))}


def _read_secret(fields: Fields, authorization: str | None) -> ClientSecret:
    """RFC 6749 section 2.3.1. A header wins, so that a wrong one is not mended by a form."""
    if authorization is not None:
        return _read_basic(authorization)
    return ClientSecret(
        fields.text("client_id", longest=_LONGEST_ID),
        fields.text("client_secret", longest=_LONGEST_SECRET),
    )


def _read_assertion(fields: Fields, authorization: str | None) -> Assertion:
    """The assertion says who asks; what else says so would have to be checked, or to agree."""
    others = ("client_id", "client_secret", "client_assertion")
    if authorization is not None or any(fields.has(name) for name in others):
        raise errors.InvalidRequest("with this grant the assertion is the only credential")
    return Assertion(fields.text("assertion", longest=_LONGEST_ASSERTION))


def _read_resource(fields: Fields) -> str:
    try:
        return fields.text("resource", longest=_LONGEST_ID)
    except errors.InvalidRequest as error:  # RFC 8707 has a name for that
        raise errors.InvalidTarget(error.detail) from None


def _read_scope(fields: Fields) -> str | None:
    scope = fields.optional_text("scope", longest=_LONGEST_SCOPE)
    if scope is not None and not scope.split():
        raise errors.InvalidScope("`scope` names no scope")
    return scope


def _read_basic(authorization: str) -> ClientSecret:
    scheme, _, encoded = authorization.partition(" ")
    try:
        decoded = b64decode(encoded.strip(), validate=True).decode("utf-8")
    except ValueError:  # not base64, not ASCII, not UTF-8
        decoded = ""
    client_id, colon, secret = decoded.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise errors.InvalidClient
    return ClientSecret(unquote_plus(client_id), unquote_plus(secret))
