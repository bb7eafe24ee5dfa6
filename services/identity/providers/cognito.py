"""Amazon Cognito user pools: a token that the player's client got there, or a name and a password
that are sent there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from services.identity.models import ExternalIdentity
from services.identity.providers.cognito_challenges import Challenges
from services.identity.providers.cognito_pool import CognitoClient, CognitoPool
from services.identity.providers.connections import Connections
from services.identity.providers.oidc import OidcPlatform, OidcSettings
from services.identity.providers.secret import read_optional_secret
from services.identity.providers.shape import Refused, part
from shared import errors
from shared.env import Env
from shared.http.client import is_tamper_proof
from shared.strict_json import JsonValue

_POOL = re.compile(r"([a-z]{2}(?:-[a-z]+)+-[0-9]+)_[0-9A-Za-z]{1,55}")
_CLIENT_ID = re.compile(r"[0-9A-Za-z_+]{1,128}")
_SECOND, _DAY = timedelta(seconds=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class CognitoSettings:
    """`access` and `identity` say which tokens of the pool are taken, of either kind."""

    url: str
    client: CognitoClient
    access: OidcSettings
    identity: OidcSettings

    @classmethod
    def read(cls, env: Env) -> "CognitoSettings":
        pool_id = env.required("COGNITO_USER_POOL_ID")
        known = _POOL.fullmatch(pool_id)
        if pool_id and not known:
            env.fault("COGNITO_USER_POOL_ID", "must be such as eu-west-1_AbCdEfGhI")
        host = f"https://cognito-idp.{known[1] if known else 'region'}.amazonaws.com"
        client_ids = env.texts("COGNITO_CLIENT_IDS")
        if not client_ids or not all(map(_CLIENT_ID.fullmatch, client_ids)):
            env.fault("COGNITO_CLIENT_IDS", "must be ids of app clients, such as 1example23456789")
        issuer = env.url("COGNITO_ISSUER", f"{host}/{pool_id}")
        tokens = OidcSettings(
            name="cognito",
            provider="cognito",
            issuers=(issuer,),
            jwks_url=_url(env, "COGNITO_JWKS_URL", f"{issuer}/.well-known/jwks.json"),
            audiences=frozenset(client_ids),
            scope=pool_id,
            max_age=env.duration(
                "COGNITO_MAX_AGE", timedelta(hours=1), minimum=60 * _SECOND, maximum=_DAY
            ),
            single_use=env.flag("COGNITO_SINGLE_USE", default=True),
            details=("sub",),
        )
        return cls(
            url=_url(env, "COGNITO_URL", host),
            client=CognitoClient(
                client_id=client_ids[0] if client_ids else "",
                secret=read_optional_secret(env, "COGNITO_CLIENT_SECRET"),
                tells_taken_names=env.choice("COGNITO_TAKEN_NAME", "hide", ("hide", "tell"))
                == "tell",
            ),
            access=replace(
                tokens,
                token_part="access_token",  # noqa: S106 - the part's name
                audience_claim="client_id",
                required_claims={"token_use": "access"},
            ),
            identity=replace(tokens, required_claims={"token_use": "id"}),
        )

    def open(self, connections: Connections) -> "CognitoPlatform":
        keys = connections.keys("cognito", self.access.jwks_url)
        return CognitoPlatform(
            CognitoPool(self.client, connections.http("cognito", self.url)),
            Challenges(connections.seals, connections.clock),
            access=OidcPlatform(self.access, connections, keys),
            identity=OidcPlatform(self.identity, connections, keys),
            fresh=OidcPlatform(replace(self.access, single_use=False), connections, keys),
        )


class CognitoPlatform:
    """The credential has `access_token`; or `id_token`; or `username` and `password`; or
    `challenge_token` and what its challenge asks for.
    """

    name = "cognito"

    def __init__(
        self,
        pool: CognitoPool,
        challenges: Challenges,
        *,
        access: OidcPlatform,
        identity: OidcPlatform,
        fresh: OidcPlatform,
    ) -> None:
        self.pool = pool
        self._challenges = challenges
        self._access = access
        self._identity = identity
        self._fresh = fresh

    async def verify(self, credential: Mapping[str, str]) -> ExternalIdentity:
        if "challenge_token" in credential:
            challenge = self._challenges.open(part(credential, "challenge_token"))
            answer = await self.pool.respond(challenge, credential)
            return await self._signed_in(answer, challenge.username)
        if "username" in credential or "password" in credential:
            username, password = part(credential, "username"), part(credential, "password")
            return await self._signed_in(await self.pool.initiate(username, password), username)
        if "id_token" in credential:
            return await self._identity.verify(credential)
        return await self._access.verify(credential)

    async def whose(self, access_token: str) -> ExternalIdentity:
        """Of a token that is not used up by it. Raises Refused."""
        return await self._fresh.verify({"access_token": access_token})

    async def _signed_in(self, answer: Mapping[str, JsonValue], username: str) -> ExternalIdentity:
        match answer.get("AuthenticationResult"):
            case {"AccessToken": str(token)}:
                pass
            case _:
                raise self._challenges.asked(answer, username)
        try:
            return await self.whose(token)
        except Refused as refused:
            # Cognito itself has just handed it out: the pool asked is not the pool trusted.
            if isinstance(refused.error, errors.InvalidCredential):
                raise Refused(errors.ProviderMisconfigured(), "token") from None
            raise


def _url(env: Env, name: str, default: str) -> str:
    url = env.url(name, default)
    if not is_tamper_proof(url):
        env.fault(name, "must be https, or http to this machine")
    return url
