"""An erasure is interrupted at every call that it makes, in each way that there is.

The calls are those of identity's stores, or of DynamoDB, those to player_data, which is the real
one, and that to a platform which wants something back. The story: a player asks for it, a token
from before writes once more, the last token expires; then a guest has not been here for long, and a
backup brings back what was erased. After each interruption nobody gets in who is marked, two ticks,
of another process where the first was killed, repair what there is to repair, and the story ends as
it would have.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest
from aiohttp import web
from botocore.exceptions import ReadTimeoutError
from joserfc import jwt
from joserfc.jwk import ECKey

from services.identity.access_tokens import AccessTokens
from services.identity.accounts import Accounts
from services.identity.adapters import dynamodb, sqlite
from services.identity.adapters.player_data import HttpPlayerData
from services.identity.bans import Bans
from services.identity.erasures import Erasures
from services.identity.grants import Grants
from services.identity.links import Links
from services.identity.models import (
    Account,
    Ban,
    ExternalIdentity,
    Grant,
    LinkedIdentity,
    Session,
)
from services.identity.ports import (
    AccountStore,
    GrantStore,
    IdentityBanStore,
    IdentityStore,
    SessionStore,
)
from services.identity.refresh_tokens import RefreshTokens
from services.identity.sealing import Seals
from services.identity.sessions import IssuedTokens, SessionLimits, Sessions
from services.player_data.adapters.files import FileBlobStore
from services.player_data.adapters.sqlite import MIGRATIONS, SqliteRecordStore
from services.player_data.app import create_app
from services.player_data.models import Held
from services.player_data.settings import Settings
from shared import errors
from shared.aws import Client
from shared.ids import new_key
from shared.sqlite import Database
from tests.support import aws, figures
from tests.support.apps import Running
from tests.support.clock import ManualClock
from tests.support.interruptions import Crash, Interruption, When
from tests.support.issuer import AUDIENCE, ISSUER, Issuer, revocations_beside
from tests.support.long import LONG
from tests.support.records import RECORDS, Player
from tests.support.servers import serving

LIFETIME = timedelta(minutes=17)
DAY = timedelta(days=1)
INACTIVE = 90 * DAY
LIMITS = SessionLimits(idle=200 * DAY, absolute=200 * DAY, grace=timedelta(minutes=1))
KEY = new_key()
FEW = 2
"""Items that player_data erases at once, so that it has to be asked more than once."""
MANY = 15

Around = Callable[[object], Any]
Platforms = tuple[IdentityStore, IdentityBanStore, GrantStore]
Known = tuple[LinkedIdentity | None, Grant | None]
Everything = tuple[Account, list[Session], list[Held], Known]
Deed = Callable[[Erasures], Awaitable[object]]


def _untouched(target: object) -> object:
    return target


class World(Protocol):
    """`around` is put around what an erasure calls: identity's stores, or DynamoDB's client."""

    operations: frozenset[str]

    def loss(self) -> Exception: ...

    def stores(self, around: Around = _untouched) -> tuple[AccountStore, SessionStore]: ...

    def platforms(self, around: Around = _untouched) -> Platforms: ...


@dataclass
class InSqlite:
    """What finds guests and tombstones only reads, in steps; the scans of DynamoDB stand for it."""

    database: Database
    operations = frozenset(
        ("get", "replace", "marked_since", "delete_all", "find", "release", "delete")
    )

    def loss(self) -> Exception:
        return errors.Unavailable("the reply was lost")

    def stores(self, around: Around = _untouched) -> tuple[AccountStore, SessionStore]:
        return (
            around(sqlite.SqliteAccountStore(self.database)),
            around(sqlite.SqliteSessionStore(self.database)),
        )

    def platforms(self, around: Around = _untouched) -> Platforms:
        return (
            around(sqlite.SqliteIdentityStore(self.database)),
            around(sqlite.SqliteIdentityBanStore(self.database)),
            around(sqlite.SqliteGrantStore(self.database)),
        )


@dataclass
class InDynamoDB:
    client: Client
    prefix: str
    operations = frozenset(
        ("get_item", "update_item", "delete_item", "query", "scan", "batch_write_item")
    )

    def loss(self) -> Exception:
        lost: Exception = ReadTimeoutError(endpoint_url="https://aws.test")
        return lost

    def stores(self, around: Around = _untouched) -> tuple[AccountStore, SessionStore]:
        client = around(self.client)
        return (
            dynamodb.DynamoAccountStore(client, self.prefix),
            dynamodb.DynamoSessionStore(client, self.prefix),
        )

    def platforms(self, around: Around = _untouched) -> Platforms:
        client = around(self.client)
        return (
            dynamodb.DynamoIdentityStore(client, self.prefix),
            dynamodb.DynamoIdentityBanStore(client, self.prefix),
            dynamodb.DynamoGrantStore(client, self.prefix),
        )


class InSmallSteps(SqliteRecordStore):
    async def erase(self, player: str, *, limit: int) -> bool:
        return await super().erase(player, limit=min(limit, FEW))


@dataclass
class IssuersKey:
    """Identity signs with the key whose set player_data fetches."""

    issuer: Issuer

    def require_key(self) -> None:
        """There always is one."""

    def sign(self, claims: Mapping[str, object], *, typ: str) -> str:
        key = self.issuer.key
        header = {"alg": key["alg"], "kid": key["kid"], "typ": typ}
        return jwt.encode(header, dict(claims), key, algorithms=[str(key["alg"])])


@dataclass
class Between:
    """Hands identity's calls on to player_data; each of them may be the one to be interrupted.

    Where identity is killed the call stays without an answer until it is `gone`.
    """

    url: str
    http: aiohttp.ClientSession
    interruption: Interruption = field(default_factory=lambda: Interruption(frozenset()))
    killed: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def watch_for(self, interruption: Interruption) -> None:
        self.interruption = interruption
        self.killed.clear()
        self.gone.clear()

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        status = 503
        try:
            answered = await self.interruption.call(self._ask, request)
            assert isinstance(answered, int)
            status = answered
        except Crash:
            self.killed.set()
            await self.gone.wait()
        except Exception:  # noqa: BLE001 - whatever the world calls a lost reply
            assert request.transport
            request.transport.abort()
        response = web.Response(status=status)
        response.force_close()  # or the client would send again what it hears nothing of
        return response

    async def _ask(self, request: web.Request) -> int:
        headers = {"Authorization": request.headers["Authorization"]}
        url = self.url + request.path_qs
        async with self.http.request(request.method, url, headers=headers) as response:
            await response.read()
            return response.status


@dataclass
class Platform:
    """Takes back what it has granted; the call may be the one to be interrupted."""

    taken: set[str]
    interruption: Interruption

    async def revoke(self, grant: str) -> None:
        try:
            await self.interruption.call(self._take, grant)
        except Exception:  # noqa: BLE001 - whatever the world calls a lost reply
            raise errors.ProviderUnavailable from None

    async def _take(self, grant: str) -> None:
        self.taken.add(grant)


@dataclass
class Mesh:
    """What all stories share: player_data, and the way there. Every story has its own players."""

    issuer: Issuer
    clock: ManualClock
    data: Running
    records: SqliteRecordStore
    between: Between
    url: str

    async def held(self, user_id: str) -> list[Held]:
        return (await self.records.export(user_id, after=None, limit=100)).held


@pytest.fixture
async def mesh(tmp_path: Path, clock: ManualClock, elliptic_key: ECKey) -> AsyncIterator[Mesh]:
    issuer = Issuer(clock, elliptic_key)
    database = Database(tmp_path / "player_data.db", MIGRATIONS)
    await database.open()
    records = InSmallSteps(database)
    async with issuer.serving() as jwks_url, aiohttp.ClientSession() as http:
        settings = Settings.from_env(
            {
                "PLAYMESH_ISSUER": ISSUER,
                "PLAYMESH_JWKS_URL": jwks_url,
                "PLAYMESH_REVOCATIONS_URL": revocations_beside(jwks_url),
            }
        )
        blobs = FileBlobStore(tmp_path / "blobs")
        async with serving(create_app(settings, records, blobs, clock)) as data_url:
            between = Between(data_url, http)
            proxy = web.Application()
            proxy.router.add_route("*", "/{path:.*}", between.pass_on)
            async with serving(proxy) as url:
                data = Running(data_url, http)
                yield Mesh(issuer, clock, data, records, between, url)
    await database.close()


@dataclass(frozen=True)
class Guest:
    user_id: str
    secret: str = field(repr=False)
    tokens: IssuedTokens = field(repr=False)

    @property
    def platform_key(self) -> tuple[str, str]:
        """Of those who are linked."""
        return "apple", self.user_id[::-1]

    @property
    def grant(self) -> str:
        return f"of {self.user_id}"


@dataclass
class Story:
    """What happens to three guests, with an identity that is interrupted once."""

    mesh: Mesh
    world: World
    interruption: Interruption
    was_interrupted: bool = False

    def __post_init__(self) -> None:
        self.clock = self.mesh.clock
        self.access_tokens = AccessTokens(
            IssuersKey(self.mesh.issuer), ISSUER, AUDIENCE, timedelta(minutes=15), self.clock
        )
        self.account_store, self.session_store = self.world.stores()
        self.accounts = Accounts(self.account_store, self.clock)
        tokens = RefreshTokens(lambda: KEY)
        self.sessions = Sessions(
            self.session_store, self.accounts, self.access_tokens, tokens, LIMITS, self.clock
        )
        self.mesh.between.watch_for(self.interruption)
        self.taken: set[str] = set()
        self.calm = Interruption(frozenset())

    async def tell(self) -> None:
        async with aiohttp.ClientSession() as http:
            self.http = http
            self.process = self.new_process(self.interruption)
            sleeper = await self.new_guest()
            self.clock.advance((INACTIVE + DAY).total_seconds())
            player, other = await self.new_guest(), await self.new_guest()
            await self.link(player, other)
            self.guests = (sleeper, player, other)
            self.before = [await self.everything_of(guest) for guest in self.guests]

            await self.do(lambda erasures: erasures.request(player.user_id))
            assert await self.is_marked(player)
            assert await self.nothing_is_left_of(player)
            assert self.taken == {player.grant}

            await self.save(player, "late")
            assert await self.mesh.held(player.user_id)
            self.clock.advance(LIFETIME.total_seconds())
            await self.do(lambda erasures: erasures.tick())
            assert await self.tombstones() == {player.user_id}
            assert await self.nothing_is_left_of(player)

            await self.do(lambda erasures: erasures.remove_inactive_guests(INACTIVE))
            assert await self.nothing_is_left_of(sleeper)

            for guest in (player, sleeper):
                await self.bring_back(guest)
            await self.do(lambda erasures: erasures.erase_again())
            assert await self.tombstones() == {player.user_id, sleeper.user_id}
            for guest in (player, sleeper):
                assert await self.nothing_is_left_of(guest)
            await self.look()
            assert not (await self.account(other)).is_gone
            await self.sessions.refresh(other.tokens.refresh_token)
            assert self.taken == {player.grant}

    def new_process(self, interruption: Interruption | None = None) -> Erasures:
        around = interruption.around if interruption else _untouched
        accounts, sessions = self.world.stores(around)
        holder = HttpPlayerData(self.http, self.mesh.url, self.access_tokens)
        return Erasures(
            accounts,
            Accounts(accounts, self.clock),
            sessions,
            self.new_links(around, Platform(self.taken, interruption or self.calm)),
            [holder],
            LIFETIME,
            self.clock,
        )

    def new_links(self, around: Around, platform: Platform) -> Links:
        identities, bans, _ = self.world.platforms(around)
        bans_of_players = Bans(self.accounts, bans, self.clock)
        grants = self.new_grants(around, platform)
        return Links(identities, self.accounts, bans_of_players, grants, self.clock)

    def new_grants(self, around: Around, platform: Platform) -> Grants:
        identities, _, grants = self.world.platforms(around)
        seals = Seals(lambda: KEY, self.clock)
        return Grants(grants, identities, seals, {"apple": platform})

    # What guests do.

    async def new_guest(self) -> Guest:
        """With two sessions, a ban of a part of the game, two records and a version."""
        new = await self.accounts.create_guest()
        account = await self.account_store.replace(
            new.account.banned(Ban("rude", self.clock.now(), scope="chat"))
        )
        await self.sessions.open(account)
        tokens = await self.sessions.open(account)
        guest = Guest(account.user_id, new.secret, tokens)
        for slot in ("slot1", "slot1", "slot2"):
            await self.save(guest, slot)
        return guest

    async def link(self, *guests: Guest) -> None:
        """To a platform, which wants something back."""
        calm = Platform(self.taken, self.calm)
        for guest in guests:
            await self.new_links(_untouched, calm).link(guest.user_id, *guest.platform_key)
            identity = ExternalIdentity(*guest.platform_key, grant=guest.grant)
            await self.new_grants(_untouched, calm).keep(identity)

    async def save(self, guest: Guest, slot: str) -> None:
        player = Player(self.mesh.data, guest.user_id, guest.tokens.access_token)
        assert (await player.put({"level": 1}, f"{RECORDS}/saves/{slot}")).status in (200, 201)

    async def bring_back(self, guest: Guest) -> None:
        """As a backup of both services does that is older than the erasure."""
        now = self.clock.now()
        account = Account(guest.user_id, now, None, seen_at=now)
        tokens = await self.sessions.open(account)
        await self.save(Guest(guest.user_id, guest.secret, tokens), "slot1")

    # Interruptions.

    async def do(self, deed: Deed) -> None:
        before = self.interruption.calls
        try:
            await self.until_killed(deed)
        except (Crash, errors.Unavailable, errors.NotFound):
            assert before < self.interruption.at <= self.interruption.calls
        if before < self.interruption.at <= self.interruption.calls:
            assert not self.was_interrupted
            self.was_interrupted = True
            await self.repair(deed)
        await self.look()

    async def until_killed(self, deed: Deed) -> None:
        """Raises Crash where the process dies, itself or while it waits for player_data."""
        working = asyncio.ensure_future(deed(self.process))
        killed = asyncio.create_task(self.mesh.between.killed.wait())
        await asyncio.wait({working, killed}, return_when=asyncio.FIRST_COMPLETED)
        if not killed.cancel():
            working.cancel()
            await asyncio.wait({working})
            self.mesh.between.killed.clear()
            self.mesh.between.gone.set()
            raise Crash
        await working

    async def repair(self, deed: Deed) -> None:
        if self.interruption.when in (When.BEFORE, When.AFTER):
            self.process = self.new_process()
        for _ in range(2):
            await self.look()
            await self.process.tick()
        for guest in self.guests:
            account = await self.account(guest)
            if account.erasure:
                assert await self.nothing_is_left_of(guest)
                assert self.clock.now() < account.erasure.tokens_expire_at
        # Who has heard nothing asks again.
        with contextlib.suppress(errors.NotFound):
            await deed(self.process)

    # What must be true.

    async def look(self) -> None:
        """Who is marked gets in no more; of all others everything is as it was."""
        for guest, before in zip(self.guests, self.before, strict=True):
            if (await self.account(guest)).is_gone:
                await self.assert_nobody_gets_in(guest)
            else:
                assert await self.everything_of(guest) == before

    async def assert_nobody_gets_in(self, guest: Guest) -> None:
        assert await self.accounts.get(guest.user_id) is None
        with pytest.raises(errors.InvalidCredential):
            await self.accounts.authenticate_guest(guest.user_id, guest.secret)
        with pytest.raises(errors.InvalidRefreshToken):
            await self.sessions.refresh(guest.tokens.refresh_token)

    async def nothing_is_left_of(self, guest: Guest) -> bool:
        """But the bans, which go with the mark."""
        account, sessions, held, known = await self.everything_of(guest)
        bans = () if account.erasure else account.bans
        left = account.guest_secret_digest, bans, sessions, held, known
        return left == (None, (), [], [], (None, None))

    async def everything_of(self, guest: Guest) -> Everything:
        sessions = await self.session_store.list(guest.user_id)
        in_order = sorted(sessions, key=lambda session: session.key.session_id)
        identities, _, grants = self.world.platforms()
        known = (
            await identities.find(*guest.platform_key),
            await grants.find(*guest.platform_key),
        )
        return await self.account(guest), in_order, await self.mesh.held(guest.user_id), known

    async def account(self, guest: Guest) -> Account:
        account = await self.account_store.get(guest.user_id)
        assert account
        return account

    async def is_marked(self, guest: Guest) -> bool:
        return (await self.account(guest)).erasure is not None

    async def tombstones(self) -> set[str]:
        found = [account.user_id async for account in self.account_store.tombstones()]
        assert len(set(found)) == len(found)
        return set(found)


NewWorld = Callable[[], contextlib.AbstractAsyncContextManager[World]]


async def interrupt_each(mesh: Mesh, new_world: NewWorld, when: When, *, step: int = 1) -> int:
    """Tell the story with an interruption at one call after the other; how many there are."""
    for at in itertools.count(1, step):
        async with new_world() as world:
            interruption = Interruption(world.operations, at, when, world.loss)
            story = Story(mesh, world, interruption)
            await story.tell()
            if not story.was_interrupted:
                name = type(world).__name__
                calls = interruption.calls
                figures.note(f"erasure, {name}, {when.value}", calls=calls, every=step)
                return calls
    raise AssertionError


@pytest.mark.parametrize("when", list(When), ids=lambda when: when.value)
async def test_on_sqlite_every_interruption_is_repaired(
    tmp_path: Path, mesh: Mesh, when: When
) -> None:
    numbers = itertools.count()

    @contextlib.asynccontextmanager
    async def world() -> AsyncIterator[InSqlite]:
        database = Database(tmp_path / str(next(numbers)) / "identity.db", sqlite.MIGRATIONS)
        await database.open()
        yield InSqlite(database)
        await database.close()

    assert await interrupt_each(mesh, world, when) > MANY


@pytest.mark.parametrize("when", list(When), ids=lambda when: when.value)
async def test_on_dynamodb_every_interruption_is_repaired(
    moto: str, mesh: Mesh, when: When
) -> None:
    """Every call in turn is too much for every day: there it is one in nine."""
    async with aws.client("dynamodb", moto) as client:

        @contextlib.asynccontextmanager
        async def world() -> AsyncIterator[InDynamoDB]:
            tables = (
                dynamodb.ACCOUNTS,
                dynamodb.GRANTS,
                dynamodb.IDENTITIES,
                dynamodb.IDENTITY_BANS,
                dynamodb.SESSIONS,
            )
            yield InDynamoDB(client, await aws.new_tables(client, *tables))

        assert await interrupt_each(mesh, world, when, step=1 if LONG else 9) > MANY
