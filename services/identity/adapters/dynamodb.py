"""identity's stores in DynamoDB, moments as milliseconds."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from services.identity.models import (
    MOST_REPLAYS,
    REFRESH_REUSED,
    REFUSALS,
    Account,
    IdempotencyRecord,
    LinkedIdentity,
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
    create_all,
    number,
    string,
)

_LOOKS = 4
"""At a session: for one caller it goes from current to replayed, to reused, to refused."""

ACCOUNTS = TableDefinition(
    name="accounts",
    schema={
        "KeySchema": [{"AttributeName": "user_id", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "user_id", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    },
    operations=("get_item", "put_item"),
)

IDENTITIES = TableDefinition(
    name="identities",
    schema={
        "KeySchema": [{"AttributeName": "identity", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "identity", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    },
    operations=("get_item", "put_item"),
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
        ],
        "BillingMode": "PAY_PER_REQUEST",
    },
    # DynamoDB deletes days late; until then the limits of the session speak.
    ttl_attribute="expires_at",
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
        if item is None:
            return None
        return Account(
            user_id=user_id,
            created_at=_moment(item, "created_at"),
            guest_secret_digest=item.get("guest_secret_digest", {}).get("B"),
        )


class DynamoIdentityStore:
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

    async def create_account(self, account: Account, identity: LinkedIdentity) -> None:
        linked = {
            **_identity_key(identity.provider, identity.external_id),
            "user_id": string(identity.user_id),
            "linked_at": number(to_millis(identity.linked_at)),
        }
        new = [(self._table, linked), (self._accounts, _account_item(account))]
        try:
            await create_all(self._client, new)
        except ConditionFailed:
            raise errors.AlreadyExists("the identity is linked or the id taken") from None


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
            "expires_at": number(to_seconds(session.absolute_expires_at)),
        }
        if session.device is not None:
            item["device"] = string(session.device)
        if session.ended_at is not None:
            item["ended_at"] = number(to_millis(session.ended_at))
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
            change = _change(outcome, counter, now=now, idle_expires_at=idle_expires_at)
            try:
                applied = await self._table.update(_key(key), **change)
            except ConditionFailed as failed:
                if failed.item is None:
                    raise errors.InvalidRefreshToken from None
                outcome = _session(failed.item).outcome(counter, now=now, grace=grace)
                if outcome in (Outcome.REFUSED, Outcome.REPLAYED_TOO_OFTEN):
                    raise REFUSALS[outcome] from None
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


def _account_item(account: Account) -> Item:
    item = {
        "user_id": string(account.user_id),
        "created_at": number(to_millis(account.created_at)),
    }
    if account.guest_secret_digest is not None:
        item["guest_secret_digest"] = binary(account.guest_secret_digest)
    return item


def _identity_key(provider: str, external_id: str) -> dict[str, Any]:
    return {"identity": string(f"{provider}#{external_id}")}


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
    )


def _change(
    outcome: Outcome, counter: int, *, now: datetime, idle_expires_at: datetime
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
    return {
        "assignments": ["#ended_at = :now", "#ended_reason = :reason"],
        # Of a token that was used too late nothing that others do makes anything else.
        "condition": "#counter > :counter AND attribute_not_exists(#ended_at)",
        "values": {
            ":counter": number(counter),
            ":now": number(to_millis(now)),
            ":reason": string(REFRESH_REUSED),
        },
    }


def _idempotency_record(item: Item) -> IdempotencyRecord:
    return IdempotencyRecord(
        key=item["key"]["B"],
        request=item["request"]["B"],
        result=item["result"]["S"],
        expires_at=_moment(item, "valid_until"),
    )


def _moment(item: Item, name: str) -> datetime:
    return from_millis(int(item[name]["N"]))
