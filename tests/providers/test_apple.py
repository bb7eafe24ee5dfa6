"""Sign in with Apple beyond the ID token: codes, refresh tokens and their end, and notices."""

import json
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.identity.models import ExternalIdentity, NoticeKind
from services.identity.providers.connections import Connections
from services.identity.providers.guarded import Guarded, GuardedGrants, GuardedNotices
from services.identity.providers.shape import SendsNotices, TakesGrants
from shared import errors
from shared.clock import to_seconds
from shared.env import SettingsError
from tests.support.clock import ManualClock
from tests.support.fakes.apple import (
    EXTERNAL_ID,
    KEY_ID,
    REDIRECT_URI,
    REFRESH_TOKEN,
    SERVICES_ID,
    TEAM,
    AppleFake,
    code,
    pem,
)
from tests.support.fakes.oidc import AUDIENCE, RAW_NONCE, WRONG
from tests.support.issuer import ec_key, rsa_key
from tests.support.platforms import read

DAY = 24 * 3600


class Apple:
    """As the rest of identity has it."""

    def __init__(self, connections: Connections, **variables: str) -> None:
        (settings,) = read(**variables).platforms.values()
        platform = settings.open(connections)
        assert isinstance(platform, TakesGrants)
        assert isinstance(platform, SendsNotices)
        self.way_in = Guarded(platform, connections.clock)
        self.grants = GuardedGrants("apple", platform)
        self.notices = GuardedNotices("apple", platform)

    async def login(
        self,
        fake: AppleFake,
        sent: str | None = None,
        **claims: Any,  # noqa: ANN401 - of a token
    ) -> ExternalIdentity:
        parts = {"authorization_code": sent} if sent is not None else {}
        token = fake.id_token(**claims)
        return await self.way_in.verify({"id_token": token, "nonce": RAW_NONCE, **parts})


@pytest.fixture
def fake(clock: ManualClock, signing_key: RSAKey) -> AppleFake:
    return AppleFake(clock, signing_key)


@pytest.fixture
def apple(connections: Connections, fake: AppleFake, url: str) -> Apple:
    return Apple(connections, **fake.settings(url))


def exchanges(outcome: str) -> float:
    labels = {"outcome": outcome}
    return REGISTRY.get_sample_value("playmesh_apple_exchanges_total", labels) or 0.0


async def refusal(apple: Apple, fake: AppleFake, sent: str) -> str:
    with pytest.raises(errors.PlaymeshError) as refused:
        await apple.login(fake, sent)
    assert "CANARY" not in repr(refused.value)
    assert refused.value.__cause__ is refused.value.__context__ is None
    return refused.value.code


# Codes


async def test_defect_9_a_code_becomes_a_refresh_token_that_is_kept_for_the_end(
    apple: Apple, fake: AppleFake
) -> None:
    identity = await apple.login(fake, code())
    assert (identity.provider, identity.external_id) == ("apple", EXTERNAL_ID)
    assert identity.grant is not None
    assert json.loads(identity.grant) == {
        "client_id": AUDIENCE,
        "refresh_token": f"{REFRESH_TOKEN}1",
    }
    assert "CANARY" not in repr(identity)


async def test_defect_9_what_was_kept_is_revoked_with_the_client_s_own_id(
    apple: Apple, fake: AppleFake
) -> None:
    identity = await apple.login(fake, code())
    assert fake.living
    assert identity.grant
    for _ in range(2):
        await apple.grants.revoke(identity.grant)
    assert not fake.living
    assert {form["client_id"] for form in fake.revocations} == {AUDIENCE}


async def test_without_a_code_nothing_is_asked_for(apple: Apple, fake: AppleFake) -> None:
    assert (await apple.login(fake)).grant is None
    assert fake.exchanges == []


async def test_without_a_key_a_code_is_not_looked_at(
    connections: Connections, fake: AppleFake, url: str
) -> None:
    variables = fake.settings(url)
    del variables["APPLE_KEY_ID"], variables["APPLE_PRIVATE_KEY"]
    identity = await Apple(connections, **variables).login(fake, code("used"))
    assert identity.grant is None
    assert fake.exchanges == []


async def test_the_client_s_secret_is_a_new_one_each_time_and_lives_for_five_minutes(
    apple: Apple, fake: AppleFake, clock: ManualClock
) -> None:
    for number in range(2):
        await apple.login(fake, code(n=number), jti=f"{number}")
        clock.advance(1)
    secrets = [form["client_secret"] for form in fake.exchanges]
    assert len(set(secrets)) == 2
    claims = jwt.decode(secrets[0], fake.team_key, algorithms=["ES256"]).claims
    assert claims["exp"] - claims["iat"] == 300
    assert claims["iat"] == to_seconds(clock.now()) - 2


async def test_a_services_id_asks_with_its_redirect_and_a_bundle_id_without(
    connections: Connections, fake: AppleFake, url: str
) -> None:
    more = {"APPLE_SERVICES_IDS": SERVICES_ID, "APPLE_REDIRECT_URI": REDIRECT_URI}
    apple = Apple(connections, **fake.settings(url, **more))
    for audience in (AUDIENCE, SERVICES_ID):
        identity = await apple.login(fake, code(n=audience), aud=audience)
        assert identity.grant
        assert json.loads(identity.grant)["client_id"] == audience
    assert [form.get("redirect_uri") for form in fake.exchanges] == [None, REDIRECT_URI]


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ("used", "expired_credential"),
        ("expired", "expired_credential"),
        ("mismatch", "wrong_audience"),
        ("othersub", "invalid_credential"),
    ],
)
async def test_a_code_that_does_not_hold_lets_nobody_in(
    apple: Apple, fake: AppleFake, scenario: str, expected: str
) -> None:
    assert await refusal(apple, fake, code(scenario)) == expected


async def test_a_code_is_good_once(apple: Apple, fake: AppleFake) -> None:
    await apple.login(fake, code())
    with pytest.raises(errors.ExpiredCredential):
        await apple.login(fake, code(), jti="another token")


@pytest.mark.parametrize("sent", ["with spaces in it", "x" * 1025, "é"])
async def test_what_is_no_code_is_not_sent_to_apple(
    apple: Apple, fake: AppleFake, sent: str
) -> None:
    assert await refusal(apple, fake, sent) == "invalid_credential"
    assert fake.exchanges == []


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        ("badclient", "invalid_client"),
        ("http500", "http_5xx"),
        ("slow", "timeout"),
        ("nojson", "no_json"),
        ("norefresh", "malformed"),
        ("foreign", "answered_token"),
    ],
)
async def test_who_the_token_has_proven_gets_in_while_apple_gives_nothing_for_the_code(
    apple: Apple, fake: AppleFake, scenario: str, reason: str
) -> None:
    before = exchanges(reason)
    with capture_logs() as logs:
        identity = await apple.login(fake, code(scenario))
    assert (identity.external_id, identity.grant) == (EXTERNAL_ID, None)
    assert exchanges(reason) == before + 1
    (told,) = [line for line in logs if line["event"] == "apple.no_refresh_token"]
    assert told["reason"] == reason
    assert told["log_level"] == ("error" if scenario == "badclient" else "warning")
    assert "CANARY" not in str(logs)


async def test_while_apple_does_not_answer_nobody_waits_for_it_again_and_again(
    apple: Apple, fake: AppleFake
) -> None:
    fake.scenario = "http500"
    for number in range(8):
        await apple.login(fake, code(n=number), jti=f"{number}")
    assert len(fake.exchanges) == 5


async def test_a_token_that_does_not_hold_costs_no_code(apple: Apple, fake: AppleFake) -> None:
    with pytest.raises(errors.WrongAudience):
        await apple.login(fake, code(), aud="com.other.game")
    assert fake.exchanges == []


async def test_a_token_is_refused_in_which_anything_is_wrong(apple: Apple, fake: AppleFake) -> None:
    for wrong, (expected, forge) in WRONG.items():
        with pytest.raises(errors.PlaymeshError) as refused:
            await apple.way_in.verify({"id_token": forge(fake), "nonce": RAW_NONCE})
        assert refused.value.code == expected, wrong


@pytest.mark.parametrize("supported", [True, "true"])
async def test_booleans_may_be_text(apple: Apple, fake: AppleFake, supported: object) -> None:
    with pytest.raises(errors.InvalidCredential):
        await apple.login(fake, nonce=None, nonce_supported=supported)
    told = await apple.login(fake, nonce_supported=supported, is_private_email="true")
    assert told.details["is_private_email"] == "true"


async def test_a_client_that_gives_apple_the_nonce_as_it_is_gets_what_its_code_is_worth(
    connections: Connections, fake: AppleFake, url: str
) -> None:
    apple = Apple(connections, **fake.settings(url, APPLE_RAW_NONCE_AUDIENCES=AUDIENCE))
    assert (await apple.login(fake, code(), nonce=RAW_NONCE)).grant


# The end of a refresh token


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ("badclient", errors.ProviderMisconfigured),
        ("http500", errors.ProviderUnavailable),
        ("slow", errors.ProviderUnavailable),
    ],
)
async def test_what_apple_does_not_take_back_is_told(
    apple: Apple, fake: AppleFake, scenario: str, expected: type[errors.PlaymeshError]
) -> None:
    identity = await apple.login(fake, code())
    assert identity.grant
    fake.scenario = scenario
    with capture_logs() as logs, pytest.raises(expected) as refused:
        await apple.grants.revoke(identity.grant)
    assert "CANARY" not in repr(refused.value) + str(logs)
    assert fake.living


async def test_without_a_key_nothing_can_be_revoked(
    connections: Connections, apple: Apple, fake: AppleFake, url: str
) -> None:
    identity = await apple.login(fake, code())
    assert identity.grant
    variables = fake.settings(url)
    del variables["APPLE_KEY_ID"], variables["APPLE_PRIVATE_KEY"]
    with pytest.raises(errors.ProviderMisconfigured):
        await Apple(connections, **variables).grants.revoke(identity.grant)


# Notices


@pytest.mark.parametrize("as_text", [True, False], ids=["text", "object"])
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("consent-revoked", NoticeKind.REVOKED),
        ("account-delete", NoticeKind.DELETED),
        ("account-deleted", NoticeKind.DELETED),
        ("email-enabled", NoticeKind.OTHER),
        ("email-disabled", NoticeKind.OTHER),
        ("something-new", NoticeKind.OTHER),
        (None, NoticeKind.OTHER),
    ],
)
async def test_a_notice_says_what_and_of_whom(
    apple: Apple, fake: AppleFake, kind: str | None, expected: NoticeKind, *, as_text: bool
) -> None:
    notice = await apple.notices.read(fake.notification(kind, as_text=as_text))
    assert (notice.kind, notice.external_id) == (expected, EXTERNAL_ID)
    assert (notice.provider, notice.notice_id) == ("apple", "notice-1")


@pytest.mark.parametrize("typ", ["JWT", "secevent+jwt", "x"])
async def test_a_notice_may_be_of_any_type(apple: Apple, fake: AppleFake, typ: str) -> None:
    notice = await apple.notices.read(fake.notification(header={"typ": typ}))
    assert notice.kind is NoticeKind.REVOKED


async def test_a_new_kind_of_notice_need_not_say_of_whom(apple: Apple, fake: AppleFake) -> None:
    notice = await apple.notices.read(fake.notification("news", event={"sub": None}))
    assert notice.kind is NoticeKind.OTHER


WRONG_NOTICES: dict[str, dict[str, Any]] = {
    "another's key": {"key": rsa_key("key-1")},
    "another algorithm": {"key": ec_key("key-1")},
    "an unknown key": {"header": {"kid": "unknown"}},
    "another issuer": {"iss": "https://appleid.attacker.example"},
    "no issuer": {"iss": None},
    "another game's": {"aud": "com.other.game"},
    "another game's as well": {"aud": [AUDIENCE, "com.other.game"]},
    "nobody's": {"aud": []},
    "without an audience": {"aud": None},
    "without an end": {"exp": None},
    "without a beginning": {"iat": None},
    "an end that is text": {"exp": "9999999999"},
    "without an id": {"jti": None},
    "an id that is a number": {"jti": 7},
    "without events": {"events": None},
    "events that are no JSON": {"events": "{"},
    "events that are a list": {"events": []},
    "events that are a list as text": {"events": "[]"},
    "of nobody": {"event": {"sub": None}},
    "of a number": {"event": {"sub": 1234}},
    "of a line's end": {"event": {"sub": "a\nb"}},
}


@pytest.mark.parametrize("wrong", list(WRONG_NOTICES))
async def test_a_notice_is_refused_that_is(apple: Apple, fake: AppleFake, wrong: str) -> None:
    with pytest.raises(errors.InvalidCredential):
        await apple.notices.read(fake.notification(**WRONG_NOTICES[wrong]))


async def test_a_notice_by_a_key_of_apple_s_for_something_else_is_refused(
    apple: Apple, fake: AppleFake
) -> None:
    other = ec_key("another-key")
    fake.published.append(other)
    with pytest.raises(errors.InvalidCredential):
        await apple.notices.read(fake.notification(key=other))


async def test_a_notice_is_taken_for_a_day(
    apple: Apple, fake: AppleFake, clock: ManualClock
) -> None:
    far = to_seconds(clock.now()) + 7 * DAY
    sent = fake.notification(exp=far)
    clock.advance(DAY + 59)
    await apple.notices.read(sent)
    clock.advance(1)
    with pytest.raises(errors.InvalidCredential):
        await apple.notices.read(sent)


async def test_a_notice_holds_until_its_end(
    apple: Apple, fake: AppleFake, clock: ManualClock
) -> None:
    sent = fake.notification(exp=to_seconds(clock.now()) + 60)
    clock.advance(119)
    await apple.notices.read(sent)
    clock.advance(1)
    with pytest.raises(errors.InvalidCredential):
        await apple.notices.read(sent)


async def test_a_notice_of_the_future_is_refused(
    apple: Apple, fake: AppleFake, clock: ManualClock
) -> None:
    with pytest.raises(errors.InvalidCredential):
        await apple.notices.read(fake.notification(iat=to_seconds(clock.now()) + 61))


async def test_a_player_s_token_is_no_notice_and_a_notice_is_no_player_s_token(
    apple: Apple, fake: AppleFake
) -> None:
    with pytest.raises(errors.InvalidCredential):
        await apple.notices.read(fake.id_token(jti="notice-1"))
    sent = fake.notification(sub=EXTERNAL_ID, nonce_supported=False)
    with pytest.raises(errors.InvalidCredential):
        await apple.way_in.verify({"id_token": sent, "nonce": RAW_NONCE})


async def test_while_the_keys_are_not_known_a_notice_is_not_refused(
    apple: Apple, fake: AppleFake
) -> None:
    fake.status = 500
    with pytest.raises(errors.ProviderUnavailable):
        await apple.notices.read(fake.notification())


# Settings


def faults(variables: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(**variables)
    return [fault.split(":")[0].removeprefix("PLAYMESH_") for fault in caught.value.faults]


def of_another_curve() -> str:
    return pem(ECKey.generate_key("P-384"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"APPLE_PRIVATE_KEY": ""}, ["APPLE_PRIVATE_KEY"]),
        ({"APPLE_KEY_ID": ""}, ["APPLE_KEY_ID"]),
        ({"APPLE_PRIVATE_KEY": "secret"}, ["APPLE_PRIVATE_KEY"]),
        ({"APPLE_PRIVATE_KEY": "-----BEGIN PRIVATE KEY-----\nAAAA\n"}, ["APPLE_PRIVATE_KEY"]),
        ({"APPLE_PRIVATE_KEY": of_another_curve()}, ["APPLE_PRIVATE_KEY"]),
        ({"APPLE_PRIVATE_KEY_FILE": "/nowhere"}, ["APPLE_PRIVATE_KEY"]),
        (
            {"APPLE_PRIVATE_KEY": "", "APPLE_PRIVATE_KEY_FILE": "/nowhere"},
            ["APPLE_PRIVATE_KEY_FILE"],
        ),
        ({"APPLE_SERVICES_IDS": SERVICES_ID}, ["APPLE_REDIRECT_URI"]),
        ({"APPLE_REDIRECT_URI": REDIRECT_URI}, ["APPLE_REDIRECT_URI"]),
        ({"APPLE_URL": "http://apple.example"}, ["APPLE_URL"]),
        (
            {"APPLE_SERVICES_IDS": "com.other.web", "APPLE_REDIRECT_URI": REDIRECT_URI},
            ["APPLE_SERVICES_IDS"],
        ),
    ],
)
def test_half_a_setting_is_a_fault_by_its_name(
    fake: AppleFake, changes: dict[str, str], expected: list[str]
) -> None:
    assert faults(fake.settings("https://appleid.apple.com", **changes)) == expected


async def test_a_key_may_be_in_a_file_that_is_replaced(
    connections: Connections, fake: AppleFake, url: str, tmp_path: Path
) -> None:
    file = tmp_path / "AuthKey.p8"
    file.write_text(pem(fake.team_key))
    variables = fake.settings(url, APPLE_PRIVATE_KEY="", APPLE_PRIVATE_KEY_FILE=str(file))
    apple = Apple(connections, **variables)
    assert (await apple.login(fake, code(n=1), jti="1")).grant
    fake.team_key = ec_key(KEY_ID)
    assert (await apple.login(fake, code(n=2), jti="2")).grant is None
    file.write_text(pem(fake.team_key))
    assert (await apple.login(fake, code(n=3), jti="3")).grant
    file.write_text("")
    assert (await apple.login(fake, code(n=4), jti="4")).grant is None


async def test_a_key_in_a_variable_may_have_its_line_ends_written_out(
    connections: Connections, fake: AppleFake, url: str
) -> None:
    written = pem(fake.team_key).replace("\n", "\\n")
    apple = Apple(connections, **fake.settings(url, APPLE_PRIVATE_KEY=written))
    assert (await apple.login(fake, code())).grant


def test_what_is_printed_of_the_settings_shows_no_key(fake: AppleFake) -> None:
    variables = fake.settings("https://appleid.apple.com")
    (settings,) = read(**variables).platforms.values()
    shown = repr(settings)
    assert TEAM in shown
    assert "ECKey" not in shown
