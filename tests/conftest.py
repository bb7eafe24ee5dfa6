"""Fixtures that every kind of test may use."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from joserfc.jwk import ECKey, RSAKey

from shared.auth.verifier import TokenVerifier
from tests.support import aws, figures
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer, ec_key, rsa_key
from tests.support.overheard import Overheard
from tests.support.tokens import verifier_of

# How fast a machine is that does other things as well is no property of the code.
settings.register_profile("playmesh", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("playmesh")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    try:
        yield
    finally:
        # Which is how they come from the process that ran the test to the one that reports.
        item.user_properties += [("figures", line) for line in figures.take()]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [
        str(line)
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, line in report.user_properties
        if name == "figures"
    ]
    if lines:
        terminalreporter.section("figures")
    for line in sorted(lines):
        terminalreporter.line(line)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def signing_key() -> RSAKey:
    """Finding an RSA key takes tenths of a second: one for all tests that do not change it."""
    return rsa_key("key-1")


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The URL of AWS's stand-in, one for all tests."""
    with aws.moto() as url:
        yield url


@pytest.fixture
def issuer(clock: ManualClock, signing_key: RSAKey) -> Issuer:
    return Issuer(clock, signing_key)


@pytest.fixture
def verifier(issuer: Issuer) -> TokenVerifier:
    return verifier_of(issuer)


@pytest.fixture(scope="session")
def elliptic_key() -> ECKey:
    return ec_key("key-ec")


@pytest.fixture(scope="session")
def stranger() -> RSAKey:
    """A key of somebody else, under the id of ours."""
    return rsa_key("key-1")


@pytest.fixture
def overheard(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Overheard:
    return Overheard(capsys, caplog)
