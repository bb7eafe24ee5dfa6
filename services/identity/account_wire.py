"""Accounts, sessions and bans as JSON."""

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.identity.accounts import NewGuest
from services.identity.conflicts import CURRENT, EXISTING, Choice, Side
from services.identity.erasures import Held
from services.identity.models import (
    EVERYTHING,
    Account,
    Ban,
    CollectionSummary,
    IdentityBan,
    Session,
    SessionKey,
)
from shared import errors, strict_json
from shared.clock import from_iso, to_iso
from shared.http.bodies import Fields
from shared.ids import is_id

_LONGEST_REASON = 500
_LONGEST_EXTERNAL_ID = 256
_LONGEST_CONFLICT_TOKEN = 4096
_SCOPE = re.compile(r"[a-z0-9_.-]{1,32}")
_PROVIDER = re.compile(r"[a-z0-9_-]{1,32}")


@dataclass(frozen=True, slots=True)
class BanRequest:
    reason: str
    until: datetime | None
    scope: str


def read_user_id(match_info: Mapping[str, str]) -> str:
    user_id = match_info["user_id"]
    if not is_id(user_id):
        raise errors.NotFound("there is no such account")
    return user_id


def read_provider(match_info: Mapping[str, str]) -> str:
    provider = match_info["provider"]
    if not _PROVIDER.fullmatch(provider):
        raise errors.InvalidRequest("a provider is 1 to 32 of a-z, 0-9, - and _")
    return provider


def read_identity(match_info: Mapping[str, str]) -> tuple[str, str]:
    """Provider and external id."""
    provider, external_id = read_provider(match_info), match_info["external_id"]
    if len(external_id) > _LONGEST_EXTERNAL_ID or not external_id.isprintable():
        raise errors.InvalidRequest("that is no id that a provider gives")
    return provider, external_id


def read_session_key(match_info: Mapping[str, str], user_id: str) -> SessionKey:
    session_id = match_info["session_id"]
    if not is_id(session_id):
        raise errors.NotFound("there is no such session")
    return SessionKey(user_id, session_id)


def read_ban(fields: Fields) -> BanRequest:
    return BanRequest(
        reason=fields.text("reason", longest=_LONGEST_REASON),
        until=_read_moment(fields, "until"),
        scope=read_scope(fields),
    )


def read_scope(fields: Fields) -> str:
    scope = fields.optional_text("scope", longest=32) or EVERYTHING
    if not _SCOPE.fullmatch(scope):
        raise errors.InvalidRequest("`scope` is 1 to 32 of a-z, 0-9, _ . and -")
    return scope


def read_conflict_token(fields: Fields) -> str:
    return fields.text("conflict_token", longest=_LONGEST_CONFLICT_TOKEN)


def read_keep(fields: Fields) -> str:
    keep = fields.text("keep", longest=8)
    if keep not in (CURRENT, EXISTING):
        raise errors.InvalidRequest(f"`keep` must be {CURRENT} or {EXISTING}")
    return keep


def render_secret(guest: NewGuest) -> dict[str, object]:
    return {"user_id": guest.account.user_id, "guest_secret": guest.secret}


def render_sessions(sessions: Iterable[Session], current: str | None) -> dict[str, object]:
    return {
        "sessions": [
            {**_living(session), "current": session.key.session_id == current}
            for session in sessions
        ]
    }


def render_account(account: Account) -> dict[str, object]:
    return {
        "user_id": account.user_id,
        "scope": account.scope,
        "identities": [
            {
                "provider": identity.provider,
                "external_id": identity.external_id,
                "linked_at": to_iso(identity.linked_at),
            }
            for identity in account.identities
        ],
        "created_at": to_iso(account.created_at),
    }


def render_player(account: Account, sessions: Iterable[Session]) -> dict[str, object]:
    """For operators."""
    return {
        **render_account(account),
        "seen_at": to_iso(account.seen_at),
        "state": _state(account),
        "recoverable_until": to_iso(account.undo.until) if account.undo else None,
        "bans": [render_ban(ban) for ban in account.bans],
        "sessions": [_living(session) for session in sessions],
    }


def render_ban(ban: Ban) -> dict[str, object]:
    return {
        "scope": ban.scope,
        "reason": ban.reason,
        "since": to_iso(ban.since),
        "until": to_iso(ban.until) if ban.until else None,
    }


def render_identity_ban(found: IdentityBan | None) -> dict[str, object]:
    return {"ban": render_ban(found.ban) if found else None}


def render_held(held: Held) -> dict[str, object]:
    """What identity holds, for the player to whom it belongs."""
    account = held.account
    return {
        **render_account(account),
        "seen_at": to_iso(account.seen_at),
        "bans": [render_ban(ban) for ban in account.bans],
        "sessions": [
            {
                **_living(session),
                "ended_at": to_iso(session.ended_at) if session.ended_at else None,
                "ended_reason": session.ended_reason,
            }
            for session in held.sessions
        ],
    }


async def render_export(
    held: Held, others: AsyncIterator[tuple[str, bytes]]
) -> AsyncIterator[bytes]:
    """One JSON document, in parts: what identity holds, then the pages of every other service."""
    head = b'{"identity":' + _json(render_held(held)) + b',"services":['
    before = head  # with the first page, so that nothing was sent where there is none
    async for name, page in others:
        yield before + b'{"service":' + _json(name) + b',"held":' + page + b"}"
        before = b","
    yield b"]}" if before != head else head + b"]}"


def describe_banned(error: errors.Banned) -> Mapping[str, object]:
    return {"reason": error.detail, "until": to_iso(error.until) if error.until else None}


def describe_already_linked(error: errors.AlreadyLinked) -> Mapping[str, object]:
    """For who has proven the identity just now, so that what it opens is theirs to see."""
    choice = error.choice
    if not isinstance(choice, Choice):
        return {}
    return {
        "conflict_token": choice.token,
        "expires_in": choice.expires_in,
        "current": _side(choice.current),
        "existing": _side(choice.existing),
    }


def describe_session_ended(error: errors.SessionEnded) -> Mapping[str, object]:
    return {"reason": error.reason}


def _side(side: Side) -> dict[str, object]:
    account, held = side.account, side.player_data
    return {
        "user_id": account.user_id,
        "created_at": to_iso(account.created_at),
        "seen_at": to_iso(account.seen_at),
        "providers": [identity.provider for identity in account.identities],
        "guest": account.guest_secret_digest is not None,
        "player_data": None if held is None else _player_data(held),
    }


def _player_data(held: Sequence[CollectionSummary]) -> dict[str, object]:
    moments = [one.updated_at for one in held]
    return {
        "collections": [
            {
                "name": one.name,
                "records": one.records,
                "bytes": one.bytes,
                "updated_at": to_iso(one.updated_at),
            }
            for one in held
        ],
        "records": sum(one.records for one in held),
        "bytes": sum(one.bytes for one in held),
        "updated_at": to_iso(max(moments)) if moments else None,
    }


def _json(value: object) -> bytes:
    return strict_json.dumps(value).encode()


def _living(session: Session) -> dict[str, object]:
    return {
        "session_id": session.key.session_id,
        "device": session.device,
        "created_at": to_iso(session.created_at),
        "last_seen_at": to_iso(session.refreshed_at),
        "expires_at": to_iso(session.expires_at),
    }


def _state(account: Account) -> str:
    if account.erased_at is not None:
        return "erased"
    if account.undo is not None:
        return "recoverable"
    return "erasing" if account.erasure is not None else "active"


def _read_moment(fields: Fields, name: str) -> datetime | None:
    text = fields.optional_text(name, longest=40)
    if text is None:
        return None
    try:
        return from_iso(text)
    except ValueError:
        raise errors.InvalidRequest(
            f"`{name}` must be a moment with a time zone, as 2026-12-24T18:00:00Z"
        ) from None
