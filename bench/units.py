"""`python -m bench.units`: what each request costs in DynamoDB's read and write units.

Counted by DynamoDB Local, whose folder PLAYMESH_DYNAMODB_LOCAL names.
"""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from infra.aws_setup import TABLES
from services.identity.accounts import Accounts
from services.identity.adapters import dynamodb as identity
from services.identity.bans import Bans
from services.identity.erasures import Erasures, Exports
from services.identity.grants import Grants
from services.identity.idempotency import Idempotency, KeyedRequest
from services.identity.links import Links
from services.identity.models import (
    SIGNED_OUT,
    Account,
    Ban,
    Grant,
    IdentityBan,
    LinkedIdentity,
    Mark,
    Session,
    SessionKey,
)
from services.identity.revocations import Revocations
from services.identity.sealing import Seals
from services.player_data import changes
from services.player_data.adapters import dynamodb as player_data
from services.player_data.adapters.files import FileBlobStore
from services.player_data.collections import Caller, Collections
from services.player_data.erasure import Erasure
from services.player_data.export import Export
from services.player_data.models import (
    HISTORY,
    MOST_WRITES,
    Position,
    Precondition,
    RecordKey,
)
from services.player_data.records import Asked, Records
from services.player_data.records import KeyedRequest as KeyedWrite
from services.player_data.usage import Quota
from shared import errors
from shared.clock import Clock, SystemClock
from shared.ids import new_id, new_key
from tests.support import aws

KILOBYTE = 1024
BY = Caller("service:bench", is_service=True)
Show = Callable[[str, Awaitable[Any]], Awaitable[Any]]
"""Does the work, tells what it cost under a name, and answers what it answers."""


class Counting:
    """A client that asks for the units of every call and adds them up."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - made at run time
        self._client = client
        self.units: Counter[str] = Counter()
        self.calls = 0

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Mapping[str, Any]]]:
        operation = getattr(self._client, name)
        kind = "read" if name in ("get_item", "query", "scan") else "write"

        async def counted(**parameters: object) -> Mapping[str, Any]:
            answer: Mapping[str, Any] = await operation(
                **parameters, ReturnConsumedCapacity="TOTAL"
            )
            consumed = answer["ConsumedCapacity"]
            # A transaction or a batch answers with one for each table.
            for part in consumed if isinstance(consumed, list) else [consumed]:
                self.units[kind] += part["CapacityUnits"]
            self.calls += 1
            return answer

        return counted


@asynccontextmanager
async def counting(endpoint: str) -> AsyncIterator[tuple[Counting, str]]:
    async with aws.client("dynamodb", endpoint) as client:
        yield Counting(client), await aws.new_tables(client, *TABLES)


async def measure(endpoint: str) -> None:
    clock, secret = SystemClock(), new_key()
    async with counting(endpoint) as (client, prefix):
        accounts = Accounts(identity.DynamoAccountStore(client, prefix), clock)
        idempotency = Idempotency(
            identity.DynamoIdempotencyStore(client, prefix), lambda: secret, clock
        )
        sessions = identity.DynamoSessionStore(client, prefix)
        records = Records(player_data.DynamoRecordStore(client, prefix), Collections(), clock)

        async def show(name: str, work: Awaitable[Any]) -> Any:  # noqa: ANN401 - what it answers
            client.units.clear()
            client.calls = 0
            answer = await work
            read, write = client.units["read"], client.units["write"]
            print(f"| {name} | {client.calls} | {read:g} | {write:g} |")
            return answer

        print("| request | calls | read units | write units |\n| --- | --- | --- | --- |")
        guest = await show("new guest: account", accounts.create_guest())
        now = clock.now()
        session = Session(
            key=SessionKey(guest.account.user_id, new_id()),
            device="a device with a name",
            counter=1,
            created_at=now,
            refreshed_at=now,
            idle_expires_at=now + timedelta(days=7),
            absolute_expires_at=now + timedelta(days=30),
        )
        await show("new guest: session", sessions.create(session))
        await show(
            "new guest with Idempotency-Key: key",
            idempotency.claim("new guest", KeyedRequest(new_id(), "{}"), result=new_id()),
        )
        await show("a ticket or ID token that is good once", idempotency.use_up("steam", new_id()))
        await show(
            "guest login: account", accounts.authenticate_guest(guest.account.user_id, guest.secret)
        )
        await show("refresh: account", accounts.get(guest.account.user_id))
        await show(
            "refresh: session",
            refresh(sessions, session.key, counter=1),
        )
        await show("the same again: session", refresh(sessions, session.key, counter=1))
        await refresh(sessions, session.key, counter=2)
        await show("a reuse: session", reuse(sessions, session.key))
        await measure_ends(sessions, session, show)
        await measure_bans(client, prefix, guest.account, show)
        await measure_identities(client, prefix, now, show)
        for size in (0.2, 1, 4, 16, 64):
            key = RecordKey(guest.account.user_id, "saves", f"slot{size:g}")
            value = "x" * int(size * KILOBYTE)
            named = f"{size:g} KB"
            await show(f"create a record of {named}", put(records, key, value, Precondition.ABSENT))
            await show(f"overwrite it, {named}", put(records, key, value, Precondition.at(1)))
            await show(f"read it, {named}", records.get(BY, key))
            await show(f"read its 1 version of {named}", records.versions(BY, key))
        await show(
            "list 5 records of 85 KB in all",
            records.list(
                BY, guest.account.user_id, collection="saves", prefix="", after=None, limit=100
            ),
        )
        largest = RecordKey(guest.account.user_id, "saves", "slot64")
        await show(
            "delete a record of 64 KB",
            records.write(BY, Asked(largest, changes.delete)),
        )
        again = put(records, largest, "x" * 64 * KILOBYTE, Precondition.ABSENT)
        await show("create it again, 64 KB", again)
        await show("a write that is refused, 64 KB", refused(records, largest))
        often = RecordKey(guest.account.user_id, "saves", "slot4")
        for _ in range(HISTORY + 2):
            await put(records, often, "x" * 4 * KILOBYTE, Precondition.ALWAYS)
        overwrite = put(records, often, "x" * 4 * KILOBYTE, Precondition.ALWAYS)
        await show(f"overwrite a record of {HISTORY} versions, 4 KB", overwrite)
        await show(f"read its {HISTORY} versions", records.versions(BY, often))
        await measure_changes(records, guest.account.user_id, show)
        await measure_usage(client, prefix, show)
        await measure_farewell(client, prefix, clock, show)


async def measure_changes(records: Records, player: str, show: Show) -> None:
    """Of values of 0.2 KB, and a number."""
    score, slot = RecordKey(player, "scores", "best"), RecordKey(player, "keyed", "slot1")
    value = "x" * (KILOBYTE // 5)
    add, highest = changes.add(5), changes.raise_to(3)
    await show("increment what is not there yet", records.write(BY, Asked(score, add)))
    await show("increment", records.write(BY, Asked(score, add)))
    await show("raise to what is lower", records.write(BY, Asked(score, highest)))
    keyed = KeyedWrite(new_id(), "{}")
    asked = Asked(slot, changes.put(value), Precondition.ABSENT)
    await show("create with Idempotency-Key", records.write(BY, asked, keyed))
    await show("the same again", records.write(BY, asked, keyed))
    again = Asked(slot, changes.put(value))
    overwritten = records.write(BY, again, KeyedWrite(new_id(), "{}"))
    await show("overwrite with Idempotency-Key", overwritten)
    increment = records.write(BY, Asked(score, add), KeyedWrite(new_id(), "{}"))
    await show("increment with Idempotency-Key", increment)
    await show("restore a version", records.restore(BY, slot, 1, Precondition.ALWAYS))
    keys = [RecordKey(player, "batch", f"slot{number:02}") for number in range(MOST_WRITES)]
    batch = [Asked(key, changes.put(value)) for key in keys]
    await show(f"create {MOST_WRITES} in a batch", records.write_all(BY, batch))
    await show(f"overwrite {MOST_WRITES} in a batch", records.write_all(BY, batch))
    together = records.write_all(BY, batch, KeyedWrite(new_id(), "{}"))
    await show("the same with Idempotency-Key", together)
    await show(f"read {MOST_WRITES} in a batch", records.read_all(BY, keys))


async def measure_ends(sessions: identity.DynamoSessionStore, session: Session, show: Show) -> None:
    now = session.created_at
    key = SessionKey(session.key.user_id, new_id())
    await sessions.create(replace(session, key=key))
    await show("end a session", sessions.end(key, now=now, reason=SIGNED_OUT))
    await show("the player's 2 sessions", sessions.list(key.user_id))
    await show("the 2 sessions that were ended lately", sessions.ended_since(now, limit=100))
    await show("none were ended lately", sessions.ended_since(now + timedelta(1), limit=100))
    await show("remove the player's 2 sessions", sessions.delete_all(key.user_id))


async def measure_bans(client: Counting, prefix: str, account: Account, show: Show) -> None:
    accounts = identity.DynamoAccountStore(client, prefix)
    identities = identity.DynamoIdentityBanStore(client, prefix)
    now = account.created_at
    ban = Ban("a reason of one sentence.", now)
    await show("change an account", accounts.replace(account.seen(now)))
    bans = Bans(Accounts(accounts, SystemClock()), identities, SystemClock())
    ban_player = bans.ban(account.user_id, reason=ban.reason, until=None)
    await show("ban a player", ban_player)
    await show("the 1 player who is banned", accounts.marked_since(Mark.BANNED, now, limit=100))
    await show("lift the ban", bans.unban(account.user_id))
    banned = IdentityBan("steam", "76561197960287930", ban)
    named = (banned.provider, banned.external_id)
    await show("ban an identity", identities.put(banned))
    await show("look for the ban of an identity", identities.find(*named))
    await show("lift the ban of an identity", identities.delete(*named))
    grants = identity.DynamoGrantStore(client, prefix)
    grant = Grant("apple", "TEAM123456:001234.0f0e0d0c0b0a09080706050403020100.1234", "x" * 320)
    await show("keep what a platform wants back", grants.put(grant))
    await show(
        "look for what a platform wants back", grants.find(grant.provider, grant.external_id)
    )
    await show("forget what a platform wants back", grants.delete(grant))


NO_BLOBS = FileBlobStore(Path("there-is-none"))


@dataclass(frozen=True)
class WithoutHttp:
    """player_data as identity asks it, all that is to be counted of it."""

    store: player_data.DynamoRecordStore
    name = "player_data"

    async def erase(self, user_id: str) -> None:
        while not await Erasure(self.store, NO_BLOBS).step(user_id):
            pass

    async def export(self, user_id: str) -> AsyncIterator[bytes]:
        after: Position | None = None
        while True:
            page = await Export(self.store).page(user_id, after)
            yield b""
            after = page.next_after
            if after is None:
                return


async def measure_farewell(client: Counting, prefix: str, clock: Clock, show: Show) -> None:
    """Of a player with two sessions and three records of 1 KB, each of which was written twice."""
    store = identity.DynamoAccountStore(client, prefix)
    accounts = Accounts(store, clock)
    sessions = identity.DynamoSessionStore(client, prefix)
    record_store = player_data.DynamoRecordStore(client, prefix)
    holders = [WithoutHttp(record_store)]
    user_id = (await accounts.create_guest()).account.user_id
    now = clock.now()
    later = now + timedelta(days=7)
    for _ in range(2):
        key = SessionKey(user_id, new_id())
        await sessions.create(Session(key, "a device with a name", 1, now, now, later, later))
    records = Records(record_store, Collections(), clock)
    for number in range(6):
        slot = RecordKey(user_id, "saves", f"slot{number % 3}")
        await put(records, slot, "x" * KILOBYTE, Precondition.ALWAYS)

    exports = Exports(accounts, sessions, holders)
    await show("export a player: identity", exports.own(user_id))
    await show("export a player: 3 records and their versions", read(exports.others(user_id)))
    await show("sum up a player: 3 records", record_store.summary(user_id))
    # Where tokens live for no time the first pass is the last.
    bans = Bans(accounts, identity.DynamoIdentityBanStore(client, prefix), clock)
    identities = identity.DynamoIdentityStore(client, prefix)
    seals = Seals(new_key, clock)
    grants = Grants(identity.DynamoGrantStore(client, prefix), identities, seals, {})
    links = Links(identities, accounts, bans, grants, clock)

    def erasures(lifetime: timedelta) -> Erasures:
        return Erasures(store, accounts, sessions, links, holders, lifetime, clock)

    waiting, at_once = erasures(timedelta(minutes=17)), erasures(timedelta(0))
    await show("erase a player, all of that", waiting.request(user_id))
    revocations = Revocations(sessions, store, timedelta(minutes=16), clock)
    await show("the list of what was taken back: 1 player", revocations.refresh())
    another = (await accounts.create_guest()).account.user_id
    await show("erase a player of whom there is nothing", waiting.request(another))
    third = (await accounts.create_guest()).account.user_id
    await show("the same, and the tombstone", at_once.request(third))


async def measure_usage(client: Counting, prefix: str, show: Show) -> None:
    """Of a player with quotas; the other records are written without."""
    clock, quota = SystemClock(), Quota(records=4, bytes=20 * KILOBYTE)
    store = player_data.DynamoRecordStore(client, prefix, quota)
    records = Records(store, Collections(), clock)
    player = Caller(new_id(), is_service=False)

    def save(name: str, size: float) -> Awaitable[object]:
        key = RecordKey(player.subject, "saves", name)
        return records.write(player, Asked(key, changes.put("x" * int(size * KILOBYTE))))

    async def too_much() -> None:
        with suppress(errors.QuotaExceeded):
            await save("slot1", 21)

    async def forgotten() -> Records:
        """As another process begins, long after the player was counted."""
        name = f"{prefix}{player_data.RECORDS.name}"
        key = {"player": {"S": player.subject}, "sort": {"S": "!usage"}}
        change = "SET counted_at = counted_at - :day"
        day = {":day": {"N": "86400000"}}
        await client.update_item(
            TableName=name, Key=key, UpdateExpression=change, ExpressionAttributeValues=day
        )
        fresh = player_data.DynamoRecordStore(client, prefix, quota)
        return Records(fresh, Collections(), clock)

    await show("with quotas: a player's first write, 0.2 KB", save("slot1", 0.2))
    await show("with quotas: another record of 0.2 KB", save("slot2", 0.2))
    records = await forgotten()
    await show("with quotas: overwrite it, 0.2 KB, after some seconds", save("slot2", 0.3))
    await show("with quotas: overwrite it, 0.2 KB", save("slot2", 0.2))
    await show("with quotas: overwrite it with 2 KB", save("slot2", 2))
    await save("slot3", 12)
    records = await forgotten()
    await show("a write that is refused by the quota, of 14 KB", too_much())
    await show("the same within a minute", too_much())
    await show("a player's usage within a minute", store.usage(player.subject, now=clock.now()))
    later = clock.now() + timedelta(minutes=2)
    await show("a player's usage, 14 KB", store.usage(player.subject, now=later))

    def past(moment: datetime) -> Awaitable[object]:
        return store.as_of(player.subject, moment, collection=None, after=None, limit=100)

    await show("3 records as of a moment after their last writes, 14 KB", past(later))
    await show("as of a moment before, with 4 versions of 1 KB", past(later - timedelta(hours=1)))


async def read(pages: AsyncIterator[object]) -> None:
    async for _ in pages:
        pass


async def measure_identities(client: Counting, prefix: str, now: datetime, show: Show) -> None:
    identities = identity.DynamoIdentityStore(client, prefix)
    player, other = (Account(new_id(), now, None, seen_at=now) for _ in range(2))
    steam = LinkedIdentity("steam", "76561197960287930", player.user_id, now)
    epic = replace(steam, provider="epic")
    await show("platform login, first: identity", identities.find(*steam.key))
    first = identities.create_account(player, steam)
    player = await show("platform login, first: account and identity", first)
    await show("platform login, again: identity", identities.find(*steam.key))
    player = await show("link an identity", identities.link(player, epic))
    former, epic = epic.external_id, replace(epic, external_id="another")
    player = await show("rename it", identities.rename(player, former, epic))
    apple = replace(steam, provider="apple", user_id=other.user_id)
    other = await identities.create_account(other, apple)
    player, other = await show("move it to another account", identities.move(epic, player, other))
    other = await show("unlink it", identities.unlink(other, *epic.key))
    await show("release the identity of an erased account: look", identities.find(*steam.key))
    await show("release the identity of an erased account", identities.release(steam))


async def refresh(sessions: identity.DynamoSessionStore, key: SessionKey, *, counter: int) -> None:
    now = SystemClock().now()
    await sessions.redeem(
        key,
        counter=counter,
        now=now,
        idle_expires_at=now + timedelta(days=7),
        grace=timedelta(minutes=1),
    )


async def reuse(sessions: identity.DynamoSessionStore, key: SessionKey) -> None:
    with suppress(errors.RefreshTokenReused):
        await refresh(sessions, key, counter=1)


async def put(records: Records, key: RecordKey, value: str, precondition: Precondition) -> None:
    await records.write(BY, Asked(key, changes.put(value), precondition))


async def refused(records: Records, key: RecordKey) -> None:
    with suppress(errors.VersionConflict):
        await put(records, key, "x", Precondition.at(1))


def main() -> int:
    folder = os.environ.get("PLAYMESH_DYNAMODB_LOCAL")  # noqa: TID251 - the edge: read once, here
    if not folder:
        print("PLAYMESH_DYNAMODB_LOCAL must name the folder of DynamoDB Local", file=sys.stderr)
        return 64
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with aws.dynamodb_local(Path(folder)) as endpoint:
        asyncio.run(measure(endpoint))
    return 0


if __name__ == "__main__":
    sys.exit(main())
