"""Sign in with Apple: the ID token says who it is; the code gets what Apple wants back one day.

A team that has registered a key trades the code for a refresh token, whose only use here is to be
revoked when the player goes. A login does not fail because Apple cannot be asked for that.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus

import structlog
from prometheus_client import Counter

from services.identity.models import ExternalIdentity, Notice
from services.identity.providers.apple_key import AppleKey
from services.identity.providers.apple_notices import AppleNotices
from services.identity.providers.connections import Connections
from services.identity.providers.http import Answer, ProviderHttp
from services.identity.providers.oidc import Nonce, OidcPlatform, OidcSettings
from services.identity.providers.shape import Platform, Refused, unavailable
from shared import errors, strict_json
from shared.clock import Clock

_log = structlog.get_logger()
_BUDGET = 5.5
"""Seconds; a little more than a call has, so that one which is too slow counts for the breaker."""
_CODE = re.compile(r"[\x21-\x7e]{1,1024}")
_LONGEST_TOKEN = 4096
_MISMATCH = "client_id mismatch"
_OURS = (
    "invalid_client",
    "invalid_request",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_grant_type",
)
_EXCHANGES = Counter(
    "playmesh_apple_exchanges",
    "What became of Apple's codes: a refresh token, or why there is none.",
    ("outcome",),
)


@dataclass(frozen=True, slots=True)
class AppleSettings:
    """`redirect_uri` is what the `services_ids` among the audiences get their codes with."""

    tokens: OidcSettings
    url: str
    key: AppleKey | None = None
    services_ids: frozenset[str] = frozenset()
    redirect_uri: str = ""

    def open(self, connections: Connections) -> Platform:
        keys = connections.keys(self.tokens.name, self.tokens.jwks_url)
        clock = connections.clock
        # Of the nonce the client's token has told; this one comes from Apple itself.
        answered = replace(
            self.tokens,
            nonce=Nonce.OFF,
            nonce_issued=False,
            raw_nonce_audiences=frozenset(),
            single_use=False,
        )
        return ApplePlatform(
            OidcPlatform(self.tokens, connections, keys),
            OidcPlatform(answered, connections, keys),
            AppleClient(self, connections.http(self.tokens.name, self.url), clock),
            AppleNotices(self.tokens, keys, clock),
        )


class ApplePlatform:
    """The credential has `id_token`, `nonce` and, where a key of the team is set,
    `authorization_code`.

    The ID token alone says who it is. So the player gets in also where Apple cannot be asked for
    the rest or does not take our key, and nothing is kept then. A code that does not hold is
    another matter: it was used before, or is somebody else's, and so may the token be.
    """

    def __init__(
        self,
        tokens: OidcPlatform,
        answered: OidcPlatform,
        client: "AppleClient",
        notices: AppleNotices,
    ) -> None:
        self._tokens = tokens
        self._answered = answered
        self._client = client
        self._notices = notices

    @property
    def name(self) -> str:
        return self._tokens.name

    async def verify(self, credential: Mapping[str, str]) -> ExternalIdentity:
        identity = await self._tokens.verify(credential)
        code = credential.get("authorization_code", "")
        if not code or not self._client.has_key:
            return identity
        return replace(identity, grant=await self._grant(code, identity))

    async def revoke(self, grant: str) -> None:
        known = _read(grant)
        if known is not None:
            await self._client.revoke(*known)

    async def read_notice(self, sent: str) -> Notice:
        return await self._notices.read(sent)

    async def _grant(self, code: str, identity: ExternalIdentity) -> str | None:
        """None where there is none for now, of which metric and log tell the reason."""
        client_id = identity.details["audience"]
        try:
            async with asyncio.timeout(_BUDGET):
                id_token, refresh_token = await self._client.exchange(code, client_id)
                known = await self._known(id_token)
        except TimeoutError:
            trouble = unavailable("too_slow")
        except errors.Unavailable:
            trouble = unavailable("keys")
        except Refused as refused:
            if isinstance(refused.error, errors.InvalidCredential):
                raise
            trouble = refused
        else:
            if known != identity.external_id:
                raise Refused(errors.InvalidCredential(), "another_subject")
            _EXCHANGES.labels("ok").inc()
            return strict_json.dumps({"client_id": client_id, "refresh_token": refresh_token})
        _report(trouble)
        return None

    async def _known(self, id_token: str) -> str:
        """Whom the answer is about."""
        try:
            return (await self._answered.verify({"id_token": id_token})).external_id
        except Refused:  # it is Apple's, and not the player's mistake
            raise unavailable("answered_token") from None


class AppleClient:
    """Apple's token endpoint and its reverse. Both methods raise Refused."""

    def __init__(self, settings: AppleSettings, http: ProviderHttp, clock: Clock) -> None:
        self._settings = settings
        self._http = http
        self._clock = clock

    @property
    def has_key(self) -> bool:
        return self._settings.key is not None

    async def exchange(self, code: str, client_id: str) -> tuple[str, str]:
        """The ID token and the refresh token that Apple gives for a code of this client's."""
        if not _CODE.fullmatch(code):
            raise Refused(errors.InvalidCredential(), "no_code")
        form = {"grant_type": "authorization_code", "code": code}
        if client_id in self._settings.services_ids:
            form["redirect_uri"] = self._settings.redirect_uri
        answer = await self._post("/auth/token", client_id, form)
        match answer.json:
            case {"id_token": str(id_token), "refresh_token": str(refresh_token)} if (
                answer.status == HTTPStatus.OK and 0 < len(refresh_token) <= _LONGEST_TOKEN
            ):
                return id_token, refresh_token
            case _:
                raise _refused(answer)

    async def revoke(self, client_id: str, refresh_token: str) -> None:
        """One that is good for nothing already is well enough."""
        form = {"token": refresh_token, "token_type_hint": "refresh_token"}
        answer = await self._post("/auth/revoke", client_id, form)
        if answer.status == HTTPStatus.OK:
            return
        refused = _refused(answer)
        if not isinstance(refused.error, errors.InvalidCredential):
            raise refused

    async def _post(self, path: str, client_id: str, form: Mapping[str, str]) -> Answer:
        if self._settings.key is None:
            raise Refused(errors.ProviderMisconfigured(), "no_key")
        secret = await self._settings.key.client_secret(client_id, self._clock)
        client = {"client_id": client_id, "client_secret": secret}
        return await self._http.post_form(path, {**client, **form}, may_be_empty=True)


def _refused(answer: Answer) -> Refused:
    match answer.json:
        case {"error": "invalid_grant", "error_description": str(told)} if _MISMATCH in told:
            return Refused(errors.WrongAudience(), "client_mismatch")
        case {"error": "invalid_grant"}:
            return Refused(errors.ExpiredCredential(), "invalid_grant")
        case {"error": str(code)} if code in _OURS:
            return Refused(errors.ProviderMisconfigured(), code)
        case _:
            return unavailable("malformed")


def _read(grant: str) -> tuple[str, str] | None:
    """Of which client, and the refresh token."""
    match strict_json.loads(grant.encode()):
        case {"client_id": str(client_id), "refresh_token": str(refresh_token)}:
            return client_id, refresh_token
        case _:
            return None


def _report(trouble: Refused) -> None:
    _EXCHANGES.labels(trouble.reason).inc()
    is_ours = isinstance(trouble.error, errors.ProviderMisconfigured)
    (_log.error if is_ours else _log.warning)("apple.no_refresh_token", reason=trouble.reason)
