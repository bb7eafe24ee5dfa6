"""Game Center: what Apple has signed for the player's client, verified with Apple's certificate.

There is no nonce of ours in it: that it is recent and comes once is all that keeps it from
whoever has seen it.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import resources

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from services.identity.models import ExternalIdentity
from services.identity.providers.certificates import Certificates
from services.identity.providers.connections import Connections
from services.identity.providers.replays import Replays
from services.identity.providers.shape import Platform, Refused, part
from shared import errors
from shared.clock import Clock, to_millis
from shared.env import Env
from shared.http.client import is_tamper_proof

_PAST = timedelta(minutes=5) // timedelta(milliseconds=1)
_FUTURE = timedelta(minutes=1) // timedelta(milliseconds=1)
_TEAM_ID = re.compile(r"[A-Z0-9]{10}")
# With a dot, so that no team's id is one; and an external id has room for the player's.
_BUNDLE_ID = re.compile(r"(?=.{3,127}\Z)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_URL = re.compile(r"(.*)/public-key/gc-prod-(0|[1-9][0-9]{0,2})\.cer")
_TIMESTAMP = re.compile(r"[0-9]{1,15}")
_LONGEST_PLAYER_ID = 128
_LONGEST_SIGNATURE, _LONGEST_SALT = 1024, 128  # of base64
_BUILT_IN = "game_center_issuers.pem"


@dataclass(frozen=True, slots=True)
class GameCenterSettings:
    """`arcade_bundle_ids` are those of the bundle ids whose players' ids are of the game.

    `issuers` are those that may have issued Apple's certificates.
    """

    url: str
    team_id: str
    bundle_ids: frozenset[str]
    arcade_bundle_ids: frozenset[str]
    issuers: tuple[x509.Certificate, ...] = field(repr=False)

    @classmethod
    def read(cls, env: Env) -> "GameCenterSettings":
        url = env.url("GAME_CENTER_URL", "https://static.gc.apple.com")
        if not is_tamper_proof(url):
            env.fault("GAME_CENTER_URL", "must be https, or http to this machine")
        team_id = env.required("GAME_CENTER_TEAM_ID")
        if team_id and not _TEAM_ID.fullmatch(team_id):
            env.fault("GAME_CENTER_TEAM_ID", "must be ten letters and digits, such as A1B2C3D4E5")
        bundle_ids = env.texts("GAME_CENTER_BUNDLE_IDS")
        if not bundle_ids or not all(map(_BUNDLE_ID.fullmatch, bundle_ids)):
            env.fault("GAME_CENTER_BUNDLE_IDS", "must be bundle ids, such as com.example.game")
        arcade = frozenset(env.texts("GAME_CENTER_ARCADE_BUNDLE_IDS"))
        if not arcade <= set(bundle_ids):
            env.fault(
                "GAME_CENTER_ARCADE_BUNDLE_IDS", f"must be of {env.prefix}GAME_CENTER_BUNDLE_IDS"
            )
        return cls(url, team_id, frozenset(bundle_ids), arcade, _read_issuers(env))

    def open(self, connections: Connections) -> Platform:
        certificates = Certificates(
            connections.http("game_center", self.url), _path, self.issuers, connections.clock
        )
        used = connections.used("game_center")
        return GameCenterPlatform(self, certificates, used, connections.clock)


class GameCenterPlatform:
    """The credential has `team_player_id` or `game_player_id`, whichever is signed, `bundle_id`,
    `public_key_url`, `signature` and `salt` in base64, and `timestamp` in milliseconds.

    A team's ids are in the external id as `<team id>:<id>`, a game's as `<bundle id>:<id>`.
    """

    name = "game_center"

    def __init__(
        self,
        settings: GameCenterSettings,
        certificates: Certificates,
        used: Replays,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._certificates = certificates
        self._used = used
        self._clock = clock

    async def verify(self, credential: Mapping[str, str]) -> ExternalIdentity:
        is_of_team, player_id = _player_id(credential)
        bundle_id = part(credential, "bundle_id")
        number = self._number(part(credential, "public_key_url"))
        signature = _bytes(part(credential, "signature"), _LONGEST_SIGNATURE)
        salt = _bytes(part(credential, "salt"), _LONGEST_SALT)
        timestamp = self._timestamp(part(credential, "timestamp"))
        if bundle_id not in self._settings.bundle_ids:
            raise Refused(errors.WrongAudience(), "bundle_id")
        # Which of the two it is, is not signed: whoever chose would be two players.
        if is_of_team == (bundle_id in self._settings.arcade_bundle_ids):
            raise Refused(errors.WrongAudience(), "kind_of_id")
        # The two are signed without a mark between them: with the longest that fits it is one id.
        together = player_id + bundle_id
        if bundle_id != max(filter(together.endswith, self._settings.bundle_ids), key=len):
            raise _invalid("player_id")
        key = await self._certificates.key(number)
        signed = signed_bytes(player_id, bundle_id, timestamp, salt)
        try:
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            raise _invalid("signature") from None
        await self._used.claim(signed.hex())
        scope = self._settings.team_id if is_of_team else bundle_id
        details = {"player_id": player_id, "bundle_id": bundle_id}
        return ExternalIdentity(self.name, f"{scope}:{player_id}", details)

    def _number(self, url: str) -> int:
        """Of the certificate. What is before the path must be our setting to the letter: so there
        is no host, port or user that could be understood in two ways, and nobody else is asked.
        """
        found = _URL.fullmatch(url)
        if found is None or found[1] != self._settings.url:
            raise _invalid("url")
        return int(found[2])

    def _timestamp(self, text: str) -> int:
        if not _TIMESTAMP.fullmatch(text):
            raise _invalid("timestamp")
        timestamp, now = int(text), to_millis(self._clock.now())
        if timestamp > now + _FUTURE:
            raise _invalid("not_yet_valid")
        if timestamp + _PAST <= now:
            raise Refused(errors.ExpiredCredential(), "too_old")
        return timestamp


def signed_bytes(player_id: str, bundle_id: str, timestamp: int, salt: bytes) -> bytes:
    """What Apple signs; `timestamp` in milliseconds, as 64 bits with the highest first."""
    return player_id.encode() + bundle_id.encode() + timestamp.to_bytes(8, "big") + salt


def _path(number: int) -> str:
    return f"/public-key/gc-prod-{number}.cer"


def _player_id(credential: Mapping[str, str]) -> tuple[bool, str]:
    """Whether it is the team's, and the id. Of two that are sent one is not signed."""
    of_team, of_game = credential.get("team_player_id"), credential.get("game_player_id")
    if of_team and of_game:
        error = errors.InvalidRequest("`team_player_id` or `game_player_id`, not both")
        raise Refused(error, "two_ids")
    player_id = of_game or part(credential, "team_player_id")
    if len(player_id) > _LONGEST_PLAYER_ID or not player_id.isprintable():
        raise _invalid("player_id")
    return not of_game, player_id


def _bytes(text: str, longest: int) -> bytes:
    try:
        if len(text) <= longest:
            return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise _invalid("base64")


def _invalid(reason: str) -> Refused:
    return Refused(errors.InvalidCredential(), reason)


def _read_issuers(env: Env) -> tuple[x509.Certificate, ...]:
    if not env.text("GAME_CENTER_CA_FILE", ""):
        built_in = resources.files(__package__).joinpath(_BUILT_IN).read_bytes()
        return tuple(x509.load_pem_x509_certificates(built_in))
    try:
        pem = env.path("GAME_CENTER_CA_FILE", "").read_bytes()
        issuers = tuple(x509.load_pem_x509_certificates(pem))
    except (OSError, ValueError):
        issuers = ()
    if not issuers or not all(map(_may_issue, issuers)):
        env.fault("GAME_CENTER_CA_FILE", "cannot be read, or is not of issuers' certificates (PEM)")
    return issuers


def _may_issue(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False
