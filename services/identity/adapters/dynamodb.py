"""identity's stores in DynamoDB, moments as milliseconds."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from services.identity.adapters import bans, identities, undo
from services.identity.models import (
    MOST_REPLAYS,
    REFRESH_REUSED,
    Account,
    Erasure,
    Grant,
    IdempotencyRecord,
    IdentityBan,
    LinkedIdentity,
    Mark,
    Outcome,
    Redeemed,
    Session,
    SessionKey,
)
from shared import errors
from shared.aws import Client
from shared.clock import from_millis, to_millis, to_seconds
from shared.dynamodb import (
    ConditionFailed,
    Item,
    Table,
    TableDefinition,
    binary,
    every,
    number,
    string,
    transact,
)
from shared.ids import new_operation

_LOOKS = 4
"""At a session: for one caller it goes from current to replayed, to reused, to refused."""
_SHARDS = 8
"""Partitions of the index of ended sessions, so that a storm of ends has no hot one."""

_KEPT_AFTER_EXPIRY = timedelta(days=1)
"""Longer than any access token of it lives: of a session that is gone nobody is told it ended."""

# Only items that have both attributes of an index's key are in it: few.
ACCOUNTS = TableDefinition(
    name="accounts",
    schema={
        "KeySchema": [{"AttributeName": "user_id", "KeyType": "HASH"}],
        "AttributeDefinitions": [
            {"AttributeName": "user_id", "AttributeType": "S"},
            {"AttributeName": "mark", "AttributeType": "S"},
            {"AttributeName": "marked_at", "AttributeType": "N"},
        ],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "by-mark",
                "KeySchema": [
                    {"AttributeName": "mark", "KeyType": "HASH"},
                    {"AttributeName": "marked_at", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        "BillingMode": "PAY_PER_REQUEST",
    },
    operations=("get_item", "put_item", "update_item", "scan"),
)

IDENTITIES = TableDefinition(
    name="identities",
    schema={
        "KeySchema": [{"AttributeName": "identity", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "identity", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    },
    operations=("get_item", "put_item", "update_item", "delete_item"),
)

SESSIONS = TableDefinition(
    name="sessions",
    schema={
        "KeySchema": [
            {"AttributeName": "user_id", "KeyType": "HASH"},
            {"AttributeName": "session_id", "KeyType": "RANGE"},
        ],
        "AttributeDefinitions": [
            {"AttributeName": "user_id", "AttributeType": "S"},
            {"AttributeName": "session_id", "AttributeType": "S"},
            {"AttributeName": "ended_shard", "AttributeType": "N"},
            {"AttributeName": "ended_at", "AttributeType": "N"},
        ],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "by-end",
                "KeySchema": [
                    {"AttributeName": "ended_shard", "KeyType": "HASH"},
                    {"AttributeName": "ended_at", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
        "BillingMode": "PAY_PER_REQUEST",
    },
    operations=("get_item", "put_item", "update_item", "query", "batch_write_item"),
    # DynamoDB deletes when it likes, from then on; until then the limits of the session speak.
    ttl_attribute="expires_at",
)

IDENTITY_BANS = TableDefinition(
    name="identity-bans",
    schema={
        "KeySchema": [{"AttributeName": "identity", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "identity", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    },
    ttl_attribute="expires_at",
    operations=("get_item", "update_item", "delete_item"),
)

GRANTS = TableDefinition(
    name="grants",
    schema={
        "KeySchema": [{"AttributeName": "identity", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "identity", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    },
    operations=("get_item", "update_item", "delete_item"),
)

IDEMPOTENCY = TableDefinition(
    name="idempotency",
    schema={
        "KeySchema": [{"AttributeName": "key", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "key", "AttributeType": "B"}],
        "BillingMode": "PAY_PER_REQUEST",
    },
    # As with sessions: the condition of a claim looks at `valid_until`.
    ttl_attribute="expires_at",
    operations=("update_item",),
)


class DynamoAccountStore:
    def __init__(self, client: Client, prefix: str) -> None:
        self._table = Table(client, prefix, ACCOUNTS)

    async def create(self, account: Account) -> None:
        try:
            await self._table.create(_account_item(account))
        except ConditionFailed:
            raise errors.AlreadyExists("the user id is taken") from None

    async def get(self, user_id: str) -> Account | None:
        item = await self._table.get({"user_id": string(user_id)})
        return _account(item) if item else None

    async def replace(self, account: Account) -> Account:
        following = _following(account)
        try:
            applied = await self._table.update(**_replacement(following))
        except ConditionFailed:
            raise _changed() from None
        # As this change left it: where its reply was lost, others may have followed.
        return replace(following, created_at=_moment(applied.item, "created_at"))

    async def marked_since(
        self, mark: Mark, moment: datetime, *, limit: int, until: datetime | None = None
    ) -> Sequence[Account]:
        values = {":mark": string(mark.value), ":moment": number(to_millis(moment))}
        if until is not None:
            values[":until"] = number(to_millis(until))
        when = "BETWEEN :moment AND :until" if until is not None else ">= :moment"
        items = await self._table.latest(
            "by-mark", f"#mark = :mark AND #marked_at {when}", values, limit=limit
        )
        return [_account(item) for item in items]

    async def inactive_guests(self, before: datetime) -> AsyncIterator[Account]:
        where = "#seen_at < :before OR (attribute_not_exists(#seen_at) AND #created_at < :before)"
        values = {":before": number(to_millis(before))}
        async for item in every(lambda start: self._table.scan(where, values, start=start)):
            account = _account(item)
            if account.scope == "guest" and not account.is_gone:
                yield account

    async def tombstones(self) -> AsyncIterator[Account]:
        where = "attribute_exists(#erased_at)"
        async for item in every(lambda start: self._table.scan(where, {}, start=start)):
            yield _account(item)


class DynamoIdentityStore:
    """The identity's item and the accounts' change in one transaction, recognised by the latter."""

    def __init__(self, client: Client, prefix: str) -> None:
        self._client = client
        self._table = Table(client, prefix, IDENTITIES)
        self._accounts = Table(client, prefix, ACCOUNTS)

    async def find(self, provider: str, external_id: str) -> LinkedIdentity | None:
        item = await self._table.get(_identity_key(provider, external_id))
        if item is None:
            return None
        return LinkedIdentity(
            provider=provider,
            external_id=external_id,
            user_id=item["user_id"]["S"],
            linked_at=_moment(item, "linked_at"),
        )

    async def create_account(self, account: Account, identity: LinkedIdentity) -> Account:
        created = account.linked(identity)
        operation = binary(new_operation())
        item = _identity_item(identity, account.user_id)
        puts = [
            ("Put", self._table.creation(item, operation)),
            ("Put", self._accounts.creation(_account_item(created), operation)),
        ]
        try:
            await transact(self._client, operation, puts)
        except ConditionFailed:
            raise errors.AlreadyExists("the identity is linked or the id taken") from None
        return created

    async def link(self, account: Account, identity: LinkedIdentity) -> Account:
        following = _following(account.linked(identity))
        if following.identities == account.identities:
            return await self._unchanged(account)
        operation = binary(new_operation())
        free = "attribute_not_exists(#identity) OR #user_id = :user_id"
        writes = [
            ("Update", self._belonging(identity, account.user_id, operation, condition=free)),
            ("Update", self._accounts.change(operation=operation, **_replacement(following))),
        ]
        try:
            await transact(self._client, operation, writes)
        except ConditionFailed as failed:
            if failed.item and "identity" in failed.item:
                raise errors.AlreadyLinked(owner=failed.item["user_id"]["S"]) from None
            raise _changed() from None
        return following

    async def unlink(self, account: Account, provider: str, external_id: str) -> Account:
        following = _following(account.unlinked(provider, external_id))
        if following.identities == account.identities:
            return await self._unchanged(account)
        operation = binary(new_operation())
        key, is_mine = _identity_key(provider, external_id), _owned_by(account.user_id)
        writes = [
            ("Delete", self._table.deletion(key, **is_mine)),
            ("Update", self._accounts.change(operation=operation, **_replacement(following))),
        ]
        try:
            await transact(self._client, operation, writes)
        except ConditionFailed:
            raise _changed() from None
        return following

    async def rename(
        self, account: Account, former_external_id: str, identity: LinkedIdentity
    ) -> Account:
        following = _following(account.renamed(former_external_id, identity))
        if following.identities == account.identities:
            return await self._unchanged(account)
        operation = binary(new_operation())
        item, is_mine = _identity_item(identity, account.user_id), _owned_by(account.user_id)
        former = _identity_key(identity.provider, former_external_id)
        writes = [
            ("Put", self._table.creation(item, operation)),
            ("Delete", self._table.deletion(former, **is_mine)),
            ("Update", self._accounts.change(operation=operation, **_replacement(following))),
        ]
        try:
            await transact(self._client, operation, writes)
        except ConditionFailed as failed:
            in_the_way = failed.item or {}
            is_new = in_the_way.get("identity") == item["identity"]
            if is_new and in_the_way["user_id"] != item["user_id"]:
                raise errors.AlreadyLinked(owner=in_the_way["user_id"]["S"]) from None
            raise _changed() from None
        return following

    async def move(
        self, identity: LinkedIdentity, source: Account, target: Account
    ) -> tuple[Account, Account]:
        left = _following(source.unlinked(*identity.key))
        joined = _following(target.linked(identity))
        operation = binary(new_operation())
        writes = [
            (
                "Update",
                self._belonging(identity, target.user_id, operation, **_owned_by(source.user_id)),
            ),
            ("Update", self._accounts.change(operation=operation, **_replacement(left))),
            ("Update", self._accounts.change(operation=operation, **_replacement(joined))),
        ]
        try:
            await transact(self._client, operation, writes)
        except ConditionFailed:
            raise _changed() from None
        return left, joined

    async def release(self, identity: LinkedIdentity) -> None:
        key = _identity_key(*identity.key)
        await self._table.delete_where(key, **_owned_by(identity.user_id))

    def _belonging(
        self,
        identity: LinkedIdentity,
        user_id: str,
        operation: Mapping[str, Any],
        *,
        condition: str,
        values: Item | None = None,
    ) -> Mapping[str, Any]:
        """The change after which an identity is an account's."""
        return self._table.change(
            _identity_key(*identity.key),
            operation,
            assignments=["#user_id = :user_id", "#linked_at = :linked_at"],
            condition=condition,
            values={
                **(values or {}),
                ":user_id": string(user_id),
                ":linked_at": number(to_millis(identity.linked_at)),
            },
        )

    async def _unchanged(self, account: Account) -> Account:
        """The account as it is stored. Raises VersionConflict where that is another revision."""
        item = await self._accounts.get({"user_id": string(account.user_id)})
        stored = _account(item) if item else None
        if stored is None or stored.revision != account.revision:
            raise _changed()
        return stored


class DynamoSessionStore:
    def __init__(self, client: Client, prefix: str) -> None:
        self._table = Table(client, prefix, SESSIONS)

    async def create(self, session: Session) -> None:
        item = {
            **_key(session.key),
            "counter": number(session.counter),
            "created_at": number(to_millis(session.created_at)),
            "refreshed_at": number(to_millis(session.refreshed_at)),
            "idle_expires_at": number(to_millis(session.idle_expires_at)),
            "absolute_expires_at": number(to_millis(session.absolute_expires_at)),
            "replays": number(session.replays),
            "expires_at": number(to_seconds(session.absolute_expires_at + _KEPT_AFTER_EXPIRY)),
        }
        if session.device is not None:
            item["device"] = string(session.device)
        if session.provider is not None:
            item["provider"] = string(session.provider)
        if session.ended_at is not None:
            item["ended_at"] = number(to_millis(session.ended_at))
            item["ended_shard"] = _shard(session.key)
        if session.ended_reason is not None:
            item["ended_reason"] = string(session.ended_reason)
        try:
            await self._table.create(item)
        except ConditionFailed:
            raise errors.AlreadyExists("the session id is taken") from None

    async def get(self, key: SessionKey) -> Session | None:
        item = await self._table.get(_key(key))
        return _session(item) if item else None

    async def redeem(
        self,
        key: SessionKey,
        *,
        counter: int,
        now: datetime,
        idle_expires_at: datetime,
        grace: timedelta,
    ) -> Redeemed:
        # Nearly every token is the current one, so that is tried without having looked. A
        # condition that fails answers the session, which tells what to try instead.
        outcome = Outcome.ADVANCED
        for _ in range(_LOOKS):
            change = _change(key, outcome, counter, now=now, idle_expires_at=idle_expires_at)
            try:
                applied = await self._table.update(_key(key), **change)
            except ConditionFailed as failed:
                if failed.item is None:
                    raise errors.InvalidRefreshToken from None
                session = _session(failed.item)
                outcome = session.outcome(counter, now=now, grace=grace)
                if outcome is not Outcome.REUSED and (refusal := session.refusal(outcome)):
                    raise refusal from None
                continue
            if outcome is Outcome.REUSED:
                raise errors.RefreshTokenReused
            # As this change left it: where its reply was lost, others may have followed.
            session = replace(
                _session(applied.item), counter=counter + 1, ended_at=None, ended_reason=None
            )
            if outcome is Outcome.ADVANCED:
                session = replace(
                    session, refreshed_at=now, idle_expires_at=idle_expires_at, replays=0
                )
            return Redeemed(outcome, session)
        raise errors.Unavailable("the session changes all the time")

    async def end(self, key: SessionKey, *, now: datetime, reason: str) -> Session | None:
        try:
            applied = await self._table.update(
                _key(key), **_end(key, "attribute_exists(#user_id)", {}, now=now, reason=reason)
            )
        except ConditionFailed as failed:
            return _session(failed.item) if failed.item else None
        return _session(applied.item)  # from its end on nothing of it changes

    async def list(self, user_id: str) -> Sequence[Session]:
        return [_session(item) async for item in self._items(user_id)]

    async def ended_since(self, moment: datetime, *, limit: int) -> Sequence[SessionKey]:
        shards = await asyncio.gather(
            *(
                self._table.latest(
                    "by-end",
                    "#ended_shard = :shard AND #ended_at >= :moment",
                    {":shard": number(shard), ":moment": number(to_millis(moment))},
                    limit=limit,
                )
                for shard in range(_SHARDS)
            )
        )
        items = [item for shard in shards for item in shard]
        items.sort(key=lambda item: _moment(item, "ended_at"), reverse=True)
        return [SessionKey(item["user_id"]["S"], item["session_id"]["S"]) for item in items[:limit]]

    async def delete_all(self, user_id: str) -> None:
        keys = self._items(user_id, keys_only=True)
        await self._table.delete_many([key async for key in keys])

    async def delete_expired(self, before: datetime, *, limit: int) -> int:
        """DynamoDB does it."""
        del before, limit
        return 0

    def _items(self, user_id: str, *, keys_only: bool = False) -> AsyncIterator[Item]:
        values = {":user_id": string(user_id)}
        return every(
            lambda start: self._table.query(
                "#user_id = :user_id", values, start=start, keys_only=keys_only
            )
        )


class DynamoIdentityBanStore:
    def __init__(self, client: Client, prefix: str) -> None:
        self._table = Table(client, prefix, IDENTITY_BANS)

    async def find(self, provider: str, external_id: str) -> IdentityBan | None:
        item = await self._table.get(_identity_key(provider, external_id))
        if item is None:
            return None
        return IdentityBan(provider, external_id, bans.read(item["ban"]["S"])[0])

    async def put(self, ban: IdentityBan) -> None:
        until = ban.ban.until
        await self._table.update(
            _identity_key(ban.provider, ban.external_id),
            assignments=["#ban = :ban", *(["#expires_at = :expires_at"] if until else [])],
            remove="" if until else "#expires_at",
            values={
                ":ban": string(bans.render([ban.ban])),
                **({":expires_at": number(to_seconds(until))} if until else {}),
            },
        )

    async def delete(self, provider: str, external_id: str) -> None:
        item = await self._table.get(_identity_key(provider, external_id))
        if item is not None:
            await self._table.delete(item)


class DynamoGrantStore:
    def __init__(self, client: Client, prefix: str) -> None:
        self._table = Table(client, prefix, GRANTS)

    async def find(self, provider: str, external_id: str) -> Grant | None:
        item = await self._table.get(_identity_key(provider, external_id))
        return Grant(provider, external_id, item["sealed"]["S"]) if item else None

    async def put(self, grant: Grant) -> None:
        await self._table.update(
            _identity_key(grant.provider, grant.external_id),
            assignments=["#sealed = :sealed"],
            values={":sealed": string(grant.sealed)},
        )

    async def delete(self, grant: Grant) -> None:
        await self._table.delete_where(
            _identity_key(grant.provider, grant.external_id),
            "#sealed = :sealed",
            {":sealed": string(grant.sealed)},
        )


class DynamoIdempotencyStore:
    def __init__(self, client: Client, prefix: str) -> None:
        self._table = Table(client, prefix, IDEMPOTENCY)

    async def claim(self, record: IdempotencyRecord, *, now: datetime) -> IdempotencyRecord:
        try:
            applied = await self._table.update(
                {"key": binary(record.key)},
                assignments=[
                    "#request = :request",
                    "#result = :result",
                    "#valid_until = :valid_until",
                    "#expires_at = :expires_at",
                ],
                condition="attribute_not_exists(#key) OR #valid_until <= :now",
                values={
                    ":request": binary(record.request),
                    ":result": string(record.result),
                    ":valid_until": number(to_millis(record.expires_at)),
                    ":expires_at": number(to_seconds(record.expires_at)),
                    ":now": number(to_millis(now)),
                },
            )
        except ConditionFailed as failed:
            if failed.item is None:  # where nothing is stored the condition holds
                raise
            return _idempotency_record(failed.item)
        return _idempotency_record(applied.item)


_OPTIONAL = (
    "identities",
    "guest_secret_digest",
    "erasing_since",
    "tokens_expire_at",
    "undo",
    "erased_at",
    "mark",
    "marked_at",
)
"""Attributes that not every account has."""


def _account_item(account: Account) -> Item:
    item = {
        "user_id": string(account.user_id),
        "created_at": number(to_millis(account.created_at)),
        "seen_at": number(to_millis(account.seen_at)),
        "bans": string(bans.render(account.bans)),
        "revision": number(account.revision),
    }
    if account.identities:
        item["identities"] = string(identities.render(account.identities))
    if account.guest_secret_digest is not None:
        item["guest_secret_digest"] = binary(account.guest_secret_digest)
    if account.erasure is not None:
        item["erasing_since"] = number(to_millis(account.erasure.requested_at))
        item["tokens_expire_at"] = number(to_millis(account.erasure.tokens_expire_at))
    if account.undo is not None:
        item["undo"] = string(undo.render(account.undo))
    if account.erased_at is not None:
        item["erased_at"] = number(to_millis(account.erased_at))
    if account.marked is not None:
        mark, moment = account.marked
        item["mark"] = string(mark.value)
        item["marked_at"] = number(to_millis(moment))
    return item


def _following(account: Account) -> Account:
    return replace(account, revision=account.revision + 1)


def _replacement(following: Account) -> dict[str, Any]:
    """The change that puts an account in place of the revision before it."""
    before = following.revision - 1
    attributes = dict(_account_item(following))
    key = {"user_id": attributes.pop("user_id")}
    del attributes["created_at"]
    # Until it is changed for the first time, an account from before there were revisions has
    # none: it counts as 1.
    unchanged = "#revision = :before"
    if before == 1:
        unchanged = (
            f"attribute_exists(#user_id) AND (attribute_not_exists(#revision) OR {unchanged})"
        )
    return {
        "key": key,
        "assignments": [f"#{name} = :{name}" for name in attributes],
        "remove": ", ".join(f"#{name}" for name in _OPTIONAL if name not in attributes),
        "condition": unchanged,
        "values": {
            **{f":{name}": value for name, value in attributes.items()},
            ":before": number(before),
        },
    }


def _changed() -> errors.VersionConflict:
    return errors.VersionConflict("the account has changed meanwhile")


def _owned_by(user_id: str) -> dict[str, Any]:
    """The condition that an identity is an account's."""
    return {"condition": "#user_id = :owner", "values": {":owner": string(user_id)}}


def _account(item: Item) -> Account:
    """Also one from before it was seen, linked, banned or erased."""
    created_at = _moment(item, "created_at")
    erasing = "erasing_since" in item
    return Account(
        user_id=item["user_id"]["S"],
        created_at=created_at,
        guest_secret_digest=item.get("guest_secret_digest", {}).get("B"),
        seen_at=_moment(item, "seen_at") if "seen_at" in item else created_at,
        identities=(
            identities.read(item["identities"]["S"], item["user_id"]["S"])
            if "identities" in item
            else ()
        ),
        bans=bans.read(item["bans"]["S"]) if "bans" in item else (),
        erasure=(
            Erasure(
                _moment(item, "erasing_since"),
                _moment(item, "tokens_expire_at"),
                undo.read(item["undo"]["S"]) if "undo" in item else None,
            )
            if erasing
            else None
        ),
        erased_at=_moment(item, "erased_at") if "erased_at" in item else None,
        revision=int(item["revision"]["N"]) if "revision" in item else 1,
    )


def _identity_key(provider: str, external_id: str) -> dict[str, Any]:
    return {"identity": string(f"{provider}#{external_id}")}


def _identity_item(identity: LinkedIdentity, user_id: str) -> dict[str, Any]:
    return {
        **_identity_key(*identity.key),
        "user_id": string(user_id),
        "linked_at": number(to_millis(identity.linked_at)),
    }


def _key(key: SessionKey) -> dict[str, Any]:
    return {"user_id": string(key.user_id), "session_id": string(key.session_id)}


def _session(item: Item) -> Session:
    return Session(
        key=SessionKey(item["user_id"]["S"], item["session_id"]["S"]),
        device=item.get("device", {}).get("S"),
        counter=int(item["counter"]["N"]),
        created_at=_moment(item, "created_at"),
        refreshed_at=_moment(item, "refreshed_at"),
        idle_expires_at=_moment(item, "idle_expires_at"),
        absolute_expires_at=_moment(item, "absolute_expires_at"),
        replays=int(item["replays"]["N"]) if "replays" in item else 0,
        ended_at=_moment(item, "ended_at") if "ended_at" in item else None,
        ended_reason=item.get("ended_reason", {}).get("S"),
        provider=item.get("provider", {}).get("S"),
    )


def _shard(key: SessionKey) -> Mapping[str, Any]:
    return number(zlib.crc32(key.session_id.encode()) % _SHARDS)


def _end(
    key: SessionKey, condition: str, values: Item, *, now: datetime, reason: str
) -> dict[str, Any]:
    """The change that ends a session which has not ended, on a further condition."""
    return {
        "assignments": ["#ended_at = :now", "#ended_shard = :shard", "#ended_reason = :reason"],
        "condition": f"{condition} AND attribute_not_exists(#ended_at)",
        "values": {
            **values,
            ":now": number(to_millis(now)),
            ":shard": _shard(key),
            ":reason": string(reason),
        },
    }


def _change(
    key: SessionKey, outcome: Outcome, counter: int, *, now: datetime, idle_expires_at: datetime
) -> dict[str, Any]:
    """What `outcome` does to a session, on the condition that it is still what becomes of it.

    When the counter advanced, and what the limits are, changes with the counter only.
    """
    if outcome is Outcome.ADVANCED:
        return {
            "assignments": [
                "#counter = :next",
                "#refreshed_at = :now",
                "#idle_expires_at = :idle_expires_at",
                "#replays = :none_yet",
            ],
            "condition": "#counter = :counter AND attribute_not_exists(#ended_at)"
            " AND #idle_expires_at > :now AND #absolute_expires_at > :now",
            "values": {
                ":counter": number(counter),
                ":next": number(counter + 1),
                ":now": number(to_millis(now)),
                ":idle_expires_at": number(to_millis(idle_expires_at)),
                ":none_yet": number(0),
            },
        }
    if outcome is Outcome.REPLAYED:
        return {
            "assignments": ["#replays = if_not_exists(#replays, :none_yet) + :one"],
            "condition": "#counter = :next AND attribute_not_exists(#ended_at)"
            " AND (attribute_not_exists(#replays) OR #replays < :most)",
            "values": {
                ":next": number(counter + 1),
                ":most": number(MOST_REPLAYS),
                ":none_yet": number(0),
                ":one": number(1),
            },
        }
    # Of a token that was used too late nothing that others do makes anything else.
    used = {":counter": number(counter)}
    return _end(key, "#counter > :counter", used, now=now, reason=REFRESH_REUSED)


def _idempotency_record(item: Item) -> IdempotencyRecord:
    return IdempotencyRecord(
        key=item["key"]["B"],
        request=item["request"]["B"],
        result=item["result"]["S"],
        expires_at=_moment(item, "valid_until"),
    )


def _moment(item: Item, name: str) -> datetime:
    return from_millis(int(item[name]["N"]))
