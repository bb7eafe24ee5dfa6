"""The stand-ins of AWS: one of each for all tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import aws

# It needs Java and a download: its tests are there for those who have both.
collect_ignore = [] if aws.DYNAMODB_LOCAL else ["test_dynamodb_local.py"]
# It needs an account, and makes and removes things there.
collect_ignore += [] if aws.REAL_ACCOUNT else ["test_aws_account.py"]


@pytest.fixture(scope="session")
def dynamodb_local() -> Iterator[str]:
    assert aws.DYNAMODB_LOCAL
    with aws.dynamodb_local(Path(aws.DYNAMODB_LOCAL)) as url:
        yield url
