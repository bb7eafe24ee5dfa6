"""What every ServiceClientStore keeps, whatever the document is kept in."""

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from services.identity.access_tokens import AccessTokens
from services.identity.service_clients import ServiceClients, ServiceClientStore
from shared import errors
from shared.clock import Clock
from shared.ids import digest

Write = Callable[[bytes], Awaitable[None]]
"""Replaces the document, as an operator does it behind the store's back."""

DESK: dict[str, Any] = {
    "client_id": "support desk: tier+1%é",
    "secrets": ["old", "new"],
    "grants": {"playmesh:player_data": ["player_data:read", "player_data:write"]},
}
CHAT: dict[str, Any] = {
    "client_id": "chat",
    "service_account": "game/chat.v2",
    "grants": {"playmesh:player_data": ["player_data:read"]},
}
BOTH: dict[str, Any] = {**DESK, "client_id": "both", "service_account": "game/both"}


def document(*clients: dict[str, Any]) -> bytes:
    return json.dumps({"clients": clients}).encode()


class NoSigner:
    """Nobody signs where it is only asked who somebody is."""

    def require_key(self) -> None:
        raise errors.Unavailable

    def sign(self, claims: Mapping[str, object], *, typ: str) -> str:
        raise NotImplementedError(claims, typ)


class ServiceClientStoreContract:
    """Subclasses provide the fixtures `write` and `store`."""

    async def test_a_client_is_found_by_its_id(
        self, store: ServiceClientStore, write: Write
    ) -> None:
        await write(document(CHAT, DESK))
        found = await store.find(DESK["client_id"])
        assert found
        assert found.client_id == DESK["client_id"]
        assert found.secret_digests == (digest("old"), digest("new"))
        assert found.grants == {
            "playmesh:player_data": frozenset(("player_data:read", "player_data:write"))
        }
        assert found.service_account is None

    async def test_a_client_is_found_by_its_service_account(
        self, store: ServiceClientStore, write: Write
    ) -> None:
        await write(document(DESK, CHAT, BOTH))
        found = await store.find_by_service_account("game/chat.v2")
        assert found
        assert (found.client_id, found.secret_digests) == ("chat", ())
        assert await store.find_by_service_account("game/both") == await store.find("both")

    @pytest.mark.parametrize("account", ["game/other", "other/chat.v2", "game/chat", "", "/"])
    async def test_there_is_no_client_of_another_service_account(
        self, store: ServiceClientStore, write: Write, account: str
    ) -> None:
        await write(document(DESK, CHAT))
        assert await store.find_by_service_account(account) is None

    @pytest.mark.parametrize("client_id", ["other", "CHAT", "chat ", ""])
    async def test_there_is_no_client_of_another_id(
        self, store: ServiceClientStore, write: Write, client_id: str
    ) -> None:
        await write(document(DESK, CHAT))
        assert await store.find(client_id) is None

    async def test_a_change_holds_from_the_next_read_on(
        self, store: ServiceClientStore, write: Write
    ) -> None:
        await write(document(CHAT))
        assert await store.find("chat")
        await write(document({**CHAT, "service_account": "game/moved"}))
        assert await store.find_by_service_account("game/chat.v2") is None
        assert await store.find_by_service_account("game/moved")
        await write(document())
        assert await store.find("chat") is None

    async def test_two_secrets_hold_while_one_replaces_the_other(
        self, store: ServiceClientStore, write: Write, clock: Clock
    ) -> None:
        clients = ServiceClients(
            store,
            AccessTokens(
                signer=NoSigner(),
                issuer="https://issuer.test",
                audience="gamebackend",
                ttl=timedelta(seconds=900),
                clock=clock,
            ),
        )

        async def holding() -> list[str]:
            return [one for one in ("old", "new") if await holds(clients, one)]

        await write(document({**DESK, "secrets": ["old"]}))
        assert await holding() == ["old"]
        await write(document({**DESK, "secrets": ["old", "new"]}))
        assert await holding() == ["old", "new"]
        await write(document({**DESK, "secrets": ["new"]}))
        assert await holding() == ["new"]

    @pytest.mark.parametrize(
        "damaged",
        [
            b"{",
            b'{"clients":[{"client_id":"chat","secrets":["secret-word"]}]}',
            document(CHAT, {**CHAT, "client_id": "again"}),
            document(DESK, DESK),
            document(CHAT, {**DESK, "secrets": "secret-word"}),
            document({**CHAT, "service_account": "secret-word"}),
            document({**CHAT, "service_account": "game/chat\n"}),
        ],
    )
    async def test_a_damaged_list_is_unavailable_and_says_nothing_of_its_content(
        self, store: ServiceClientStore, write: Write, damaged: bytes
    ) -> None:
        await write(damaged)
        for read in (store.find, store.find_by_service_account):
            with pytest.raises(errors.Unavailable) as caught:
                await read("chat")
            assert str(caught.value) == "the list of service clients is damaged"
            assert caught.value.__cause__ is None

    async def test_a_member_that_is_not_known_yet_is_left_alone(
        self, store: ServiceClientStore, write: Write
    ) -> None:
        await write(document({**CHAT, "comment": "of the chat team"}))
        assert await store.find("chat")


async def holds(clients: ServiceClients, secret: str) -> bool:
    try:
        await clients.by_secret(DESK["client_id"], secret)
    except errors.InvalidClient:
        return False
    return True
