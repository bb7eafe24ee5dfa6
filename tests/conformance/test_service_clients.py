"""The file and Secrets Manager, with moto behind it, keep the contract of the service clients."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.identity.adapters.files import FileServiceClientStore
from services.identity.adapters.secretsmanager import SecretsManagerServiceClientStore
from shared import errors
from shared.aws import Client
from shared.ids import new_id
from tests.conformance.service_clients import ServiceClientStoreContract, Write
from tests.support import aws


class TestFileServiceClientStore(ServiceClientStoreContract):
    @pytest.fixture
    def write(self, tmp_path: Path) -> Write:
        async def write(document: bytes) -> None:
            (tmp_path / "service-clients.json").write_bytes(document)

        return write

    @pytest.fixture
    def store(self, tmp_path: Path) -> FileServiceClientStore:
        return FileServiceClientStore(tmp_path)

    async def test_without_a_file_there_is_no_client(self, store: FileServiceClientStore) -> None:
        assert await store.find("operator") is None
        assert await store.find_by_service_account("game/chat") is None


class TestSecretsManagerServiceClientStore(ServiceClientStoreContract):
    @pytest.fixture
    async def secretsmanager(self, moto: str) -> AsyncIterator[Client]:
        async with aws.client("secretsmanager", moto) as client:
            yield client

    @pytest.fixture
    async def secret_id(self, secretsmanager: Client) -> str:
        secret_id = f"{new_id()}/service-clients"
        await secretsmanager.create_secret(Name=secret_id)
        return secret_id

    @pytest.fixture
    def write(self, secretsmanager: Client, secret_id: str) -> Write:
        async def write(document: bytes) -> None:
            await secretsmanager.put_secret_value(
                SecretId=secret_id, SecretString=document.decode()
            )

        return write

    @pytest.fixture
    def store(self, secretsmanager: Client, secret_id: str) -> SecretsManagerServiceClientStore:
        return SecretsManagerServiceClientStore(secretsmanager, secret_id)

    async def test_a_secret_that_does_not_exist_is_named(self, secretsmanager: Client) -> None:
        store = SecretsManagerServiceClientStore(secretsmanager, "no/such/secret")
        with pytest.raises(errors.Unavailable, match="no/such/secret"):
            await store.find_by_service_account("game/chat")
