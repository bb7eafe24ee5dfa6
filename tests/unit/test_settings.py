"""The settings that mean the same in every service."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from services.keyrotator.settings import Settings as KeyrotatorSettings
from services.player_data.settings import Settings as PlayerDataSettings
from shared.env import Env, SettingsError
from shared.limits import Limiter, RateLimit
from shared.settings import (
    AwsSettings,
    CacheSettings,
    LimitSettings,
    ServerSettings,
    TrustSettings,
)
from tests.support.clock import ManualClock

Read = Callable[[Env], object]


def read_server(env: Env) -> ServerSettings:
    return ServerSettings.read(env, port=8080, admin_port=9080)


def environment(**values: str) -> Env:
    return Env({f"PLAYMESH_{name}": value for name, value in values.items()})


def test_without_a_variable_a_server_runs_on_this_machine_only() -> None:
    assert read_server(environment()) == ServerSettings(
        aws=None,
        data_dir=Path(".playmesh"),
        host="127.0.0.1",
        port=8080,
        admin_port=9080,
        log_level="info",
        log_format="json",
    )


def test_without_a_variable_the_issuer_of_this_machine_is_trusted() -> None:
    assert TrustSettings.read(environment()) == TrustSettings(
        issuer="http://127.0.0.1:8080",
        jwks_url="http://127.0.0.1:8080/.well-known/jwks.json",
        revocations_url="http://127.0.0.1:8080/.well-known/revocations.json",
        revocations_fail_closed=False,
        allow_http=False,
        audience="gamebackend",
        access_token_ttl=timedelta(minutes=15),
        jwks_ttl=timedelta(minutes=5),
    )


def test_without_a_variable_keys_are_cached_for_a_minute() -> None:
    assert CacheSettings.read(environment()) == CacheSettings(
        jwks_max_age=timedelta(minutes=1),
        key_refresh=timedelta(minutes=1),
    )


def test_without_a_variable_an_address_may_log_in_ten_times_a_second() -> None:
    assert LimitSettings.read(environment()) == LimitSettings(
        trusted_proxy_hops=0,
        logins=RateLimit(burst=100, per_second=10),
        guests=RateLimit(burst=20, per_second=20 / 3600),
    )


def test_every_variable_of_a_server_is_read() -> None:
    env = environment(
        BACKEND="embedded",
        DATA_DIR="/data",
        HOST="0.0.0.0",
        PORT="0",
        ADMIN_PORT="65535",
        LOG_LEVEL="debug",
        LOG_FORMAT="console",
    )
    assert read_server(env) == ServerSettings(
        aws=None,
        data_dir=Path("/data"),
        host="0.0.0.0",
        port=0,
        admin_port=65535,
        log_level="debug",
        log_format="console",
    )


def test_every_variable_of_trust_is_read() -> None:
    env = environment(
        ISSUER="https://id.example.com/",
        JWKS_URL="http://cdn:8080/keys.json",
        REVOCATIONS_URL="http://cdn:8080/revoked.json",
        REVOCATIONS_FAIL_CLOSED="true",
        ALLOW_HTTP="true",
        AUDIENCE="mygame",
        ACCESS_TOKEN_TTL="5m",
        JWKS_TTL="60",
    )
    assert TrustSettings.read(env) == TrustSettings(
        issuer="https://id.example.com",
        jwks_url="http://cdn:8080/keys.json",
        revocations_url="http://cdn:8080/revoked.json",
        revocations_fail_closed=True,
        allow_http=True,
        audience="mygame",
        access_token_ttl=timedelta(minutes=5),
        jwks_ttl=timedelta(minutes=1),
    )


def test_every_variable_of_caches_is_read() -> None:
    env = environment(JWKS_MAX_AGE="30", KEY_REFRESH="1h")
    assert CacheSettings.read(env) == CacheSettings(
        jwks_max_age=timedelta(seconds=30),
        key_refresh=timedelta(hours=1),
    )


def test_every_variable_of_limits_is_read() -> None:
    env = environment(TRUSTED_PROXY_HOPS="2", LOGINS_PER_SECOND="50", GUESTS_PER_HOUR="7200")
    assert LimitSettings.read(env) == LimitSettings(
        trusted_proxy_hops=2,
        logins=RateLimit(burst=500, per_second=50),
        guests=RateLimit(burst=7200, per_second=2),
    )


def test_a_limit_of_zero_is_none(clock: ManualClock) -> None:
    env = environment(LOGINS_PER_SECOND="0", GUESTS_PER_HOUR="0")
    limits = LimitSettings.read(env)
    env.check()
    for limit in (limits.logins, limits.guests):
        limiter = Limiter(limit, clock)
        for _ in range(1000):
            limiter.take("somebody")


def test_documents_are_expected_at_the_issuer_s_well_known_places() -> None:
    trust = TrustSettings.read(environment(ISSUER="https://example.com/id/"))
    assert trust.jwks_url == "https://example.com/id/.well-known/jwks.json"
    assert trust.revocations_url == "https://example.com/id/.well-known/revocations.json"


@pytest.mark.parametrize("name", ["JWKS_URL", "REVOCATIONS_URL"])
def test_documents_come_over_https_unless_the_operator_says_otherwise(name: str) -> None:
    for environ in ({"ISSUER": "http://identity:8080"}, {name: "http://cdn.example.com/document"}):
        env = environment(**environ)
        TrustSettings.read(env)
        with pytest.raises(SettingsError) as faults:
            env.check()
        (fault,) = (one for one in faults.value.faults if one.startswith(f"PLAYMESH_{name}: "))
        assert "PLAYMESH_ALLOW_HTTP=true" in fault
        env = environment(**environ, ALLOW_HTTP="true")
        TrustSettings.read(env)
        env.check()


def test_an_issuer_is_only_a_name_and_may_be_http() -> None:
    env = environment(
        ISSUER="http://identity:8080",
        JWKS_URL="https://cdn.example.com/keys.json",
        REVOCATIONS_URL="https://id.example.com/revocations.json",
    )
    assert TrustSettings.read(env).issuer == "http://identity:8080"
    env.check()


@pytest.mark.parametrize(
    ("read", "name", "value"),
    [
        (read_server, "BACKEND", "postgres"),
        (read_server, "PORT", "65536"),
        (read_server, "ADMIN_PORT", "-1"),
        (read_server, "LOG_LEVEL", "INFO"),
        (read_server, "LOG_FORMAT", "xml"),
        (TrustSettings.read, "ISSUER", "id.example.com"),
        (TrustSettings.read, "JWKS_URL", "file:///keys.json"),
        (TrustSettings.read, "REVOCATIONS_URL", "file:///revocations.json"),
        (TrustSettings.read, "REVOCATIONS_FAIL_CLOSED", "yes"),
        (TrustSettings.read, "ALLOW_HTTP", "yes"),
        (TrustSettings.read, "ACCESS_TOKEN_TTL", "59"),
        (TrustSettings.read, "ACCESS_TOKEN_TTL", "61m"),
        (TrustSettings.read, "JWKS_TTL", "0"),
        (TrustSettings.read, "JWKS_TTL", "2h"),
        (CacheSettings.read, "JWKS_MAX_AGE", "0"),
        (CacheSettings.read, "KEY_REFRESH", "1d"),
        (LimitSettings.read, "TRUSTED_PROXY_HOPS", "9"),
        (LimitSettings.read, "TRUSTED_PROXY_HOPS", "-1"),
        (LimitSettings.read, "LOGINS_PER_SECOND", "0.5"),
        (LimitSettings.read, "LOGINS_PER_SECOND", "10001"),
        (LimitSettings.read, "GUESTS_PER_HOUR", "1000001"),
    ],
)
def test_a_value_out_of_bounds_is_a_fault_of_its_variable(
    read: Read, name: str, value: str
) -> None:
    env = environment(**{name: value})
    read(env)
    with pytest.raises(SettingsError, match=f"^PLAYMESH_{name}: [^\n]*$"):
        env.check()


@pytest.mark.parametrize("algorithm", ["HS256", "none"])
def test_only_asymmetric_algorithms_can_be_set(algorithm: str) -> None:
    with pytest.raises(SettingsError, match=r"^PLAYMESH_SIGNING_ALG: "):
        KeyrotatorSettings.from_env({"PLAYMESH_SIGNING_ALG": algorithm})


def test_a_period_that_leaves_no_time_for_the_caches_is_a_fault() -> None:
    KeyrotatorSettings.from_env({"PLAYMESH_ROTATION_PERIOD": "480"})
    with pytest.raises(SettingsError, match=r"^PLAYMESH_ROTATION_PERIOD: .*0:08:00"):
        KeyrotatorSettings.from_env({"PLAYMESH_ROTATION_PERIOD": "479"})


def test_aws_needs_a_bucket_and_has_names_for_the_rest() -> None:
    env = environment(BACKEND="aws")
    read_server(env)
    with pytest.raises(SettingsError, match=r"^PLAYMESH_JWKS_BUCKET: must be set$"):
        env.check()
    assert read_server(environment(BACKEND="aws", JWKS_BUCKET="keys")).aws == AwsSettings(
        table_prefix="playmesh-", secret_prefix="playmesh/", jwks_bucket="keys"
    )


def test_saves_have_a_bucket_of_their_own_in_aws_alone() -> None:
    environ = {"PLAYMESH_BACKEND": "aws", "PLAYMESH_JWKS_BUCKET": "keys"}
    with pytest.raises(SettingsError, match=r"^PLAYMESH_SAVES_BUCKET: must be set$"):
        PlayerDataSettings.from_env(environ)
    blobs = PlayerDataSettings.from_env({**environ, "PLAYMESH_SAVES_BUCKET": "saves"}).blobs
    assert (blobs.bucket, blobs.largest, blobs.within) == ("saves", 5 * 2**20, timedelta(minutes=5))
    assert PlayerDataSettings.from_env({}).blobs.bucket == ""


@pytest.mark.parametrize("largest", ["1023", "8388609", "5MB"])
def test_the_largest_save_is_one_that_an_export_can_hold(largest: str) -> None:
    with pytest.raises(SettingsError, match=r"^PLAYMESH_LARGEST_SAVE: .*1024 to 8388608"):
        PlayerDataSettings.from_env({"PLAYMESH_LARGEST_SAVE": largest})
