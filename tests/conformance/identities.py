"""What every store of linked identities promises."""

import asyncio
from datetime import UTC, datetime

import pytest

from services.identity.models import Account, LinkedIdentity
from services.identity.ports import AccountStore, IdentityStore
from shared import errors
from shared.ids import new_id

ALICE = "a" * 32
BOB = "b" * 32
LINKED = datetime(2026, 3, 29, 1, 30, 59, 999000, tzinfo=UTC)


def identity(
    user_id: str = ALICE, provider: str = "steam", external_id: str = "76561197960287930"
) -> LinkedIdentity:
    return LinkedIdentity(provider, external_id, user_id, LINKED)


async def log_in(store: IdentityStore, linked: LinkedIdentity) -> Account:
    """A first login: the new account."""
    account = Account(linked.user_id, created_at=LINKED, seen_at=LINKED, guest_secret_digest=None)
    await store.create_account(account, linked)
    return account


async def find(store: IdentityStore, linked: LinkedIdentity) -> LinkedIdentity | None:
    return await store.find(linked.provider, linked.external_id)


async def race(store: IdentityStore, accounts: AccountStore, *rivals: IdentityStore) -> None:
    """First logins of one external identity, one at each of `rivals`; exactly one may win."""
    logins = [identity(new_id()) for _ in rivals]
    outcomes = await asyncio.gather(
        *(log_in(rival, login) for rival, login in zip(rivals, logins, strict=True)),
        return_exceptions=True,
    )
    winners = [outcome for outcome in outcomes if isinstance(outcome, Account)]
    losers = [outcome for outcome in outcomes if isinstance(outcome, errors.AlreadyExists)]
    assert (len(winners), len(losers)) == (1, len(rivals) - 1)
    found = await asyncio.gather(*(accounts.get(login.user_id) for login in logins))
    assert [account for account in found if account] == winners
    assert await find(store, identity()) == identity(winners[0].user_id)


class IdentityStoreContract:
    """Subclasses provide the fixtures `store` and `accounts`, empty, of one database."""

    async def test_an_unknown_identity_is_none(self, store: IdentityStore) -> None:
        await log_in(store, identity(external_id="another"))
        assert await find(store, identity()) is None

    async def test_an_identity_comes_back_as_it_was(self, store: IdentityStore) -> None:
        await log_in(store, identity())
        assert await find(store, identity()) == identity()

    async def test_a_moment_comes_back_in_utc(self, store: IdentityStore) -> None:
        await log_in(store, identity())
        found = await find(store, identity())
        assert found is not None
        assert found.linked_at.tzinfo is UTC

    @pytest.mark.parametrize("digest", [None, b"\x00\xff" * 16], ids=["no secret", "secret"])
    async def test_its_account_comes_back_as_it_was(
        self, store: IdentityStore, accounts: AccountStore, digest: bytes | None
    ) -> None:
        account = Account(ALICE, created_at=LINKED, seen_at=LINKED, guest_secret_digest=digest)
        await store.create_account(account, identity())
        assert await accounts.get(ALICE) == account

    async def test_a_linked_identity_changes_nothing_and_no_account_appears(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        await log_in(store, identity(ALICE))
        with pytest.raises(errors.AlreadyExists):
            await log_in(store, identity(BOB))
        assert await find(store, identity()) == identity(ALICE)
        assert await accounts.get(BOB) is None

    async def test_a_taken_user_id_changes_nothing_and_no_identity_appears(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        guest = Account(ALICE, created_at=LINKED, seen_at=LINKED, guest_secret_digest=b"guest" * 8)
        await accounts.create(guest)
        with pytest.raises(errors.AlreadyExists):
            await log_in(store, identity(ALICE))
        assert await accounts.get(ALICE) == guest
        assert await find(store, identity()) is None

    async def test_the_same_login_again_is_refused_and_changes_nothing(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        account = await log_in(store, identity())
        with pytest.raises(errors.AlreadyExists):
            await log_in(store, identity())
        assert await find(store, identity()) == identity()
        assert await accounts.get(ALICE) == account

    async def test_two_providers_may_have_players_of_the_same_external_id(
        self, store: IdentityStore
    ) -> None:
        await log_in(store, identity(ALICE, "steam"))
        await log_in(store, identity(BOB, "epic"))
        assert await find(store, identity(provider="steam")) == identity(ALICE, "steam")
        assert await find(store, identity(provider="epic")) == identity(BOB, "epic")

    @pytest.mark.parametrize(
        "external_id",
        ["Zoë", "🎮", "日本", "a#b", "#", " a ", "'; --", "x" * 255],
    )
    async def test_an_external_id_may_be_any_text(
        self, store: IdentityStore, external_id: str
    ) -> None:
        await log_in(store, identity(external_id=external_id))
        found = await find(store, identity(external_id=external_id))
        assert found == identity(external_id=external_id)

    async def test_external_ids_that_only_look_the_same_are_two(self, store: IdentityStore) -> None:
        composed = identity(ALICE, external_id="Zo\u00eb")
        decomposed = identity(BOB, external_id="Zoe\u0308")
        for linked in (composed, decomposed):
            await log_in(store, linked)
        assert await find(store, composed) == composed
        assert await find(store, decomposed) == decomposed

    async def test_external_ids_that_differ_in_case_are_two(self, store: IdentityStore) -> None:
        lower, upper = identity(ALICE, external_id="abc"), identity(BOB, external_id="ABC")
        for linked in (lower, upper):
            await log_in(store, linked)
        assert await find(store, lower) == lower
        assert await find(store, upper) == upper

    async def test_of_50_parallel_first_logins_exactly_one_creates_an_account(
        self, store: IdentityStore, accounts: AccountStore
    ) -> None:
        await race(store, accounts, *[store] * 50)
