"""Records, pages and cursors as JSON; preconditions as HTTP headers."""

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from aiohttp import hdrs, web
from multidict import CIMultiDictProxy

from services.player_data.models import (
    LARGEST_PAGE,
    Blob,
    CollectionSummary,
    ExportPage,
    Page,
    Position,
    Precondition,
    Record,
    RecordKey,
    Written,
    check_name,
)
from services.player_data.past import Past, PastPage
from services.player_data.usage import Quota, Usage
from shared import errors, strict_json
from shared.clock import from_iso, to_iso
from shared.http.bodies import Fields, read_query
from shared.http.etags import etag, parse_versions
from shared.ids import is_id
from shared.strict_json import JsonValue

_MOST_RECORDS = 100
_LONGEST_FIELD = 1024
LONGEST_CURSOR = 512
_LONGEST_MOMENT = 64
_LARGEST_VERSION = 2**63 - 1
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_MOST_FIELDS = 64
_NAME_OF_PLAYER = "player_name"
_ANSWERED = frozenset(("UserID", "PlayerName"))


@dataclass(frozen=True, slots=True)
class Listing:
    collection: str | None
    prefix: str
    after: RecordKey | None
    limit: int
    as_of: datetime | None


def read_player(match_info: Mapping[str, str]) -> str:
    """Of a service, which has no `me`: the user id."""
    player = match_info["player"]
    if not is_id(player):
        raise errors.InvalidRequest("a player is named by its user id")
    return player


def read_key(match_info: Mapping[str, str], player: str) -> RecordKey:
    return RecordKey(
        player,
        check_name(match_info["collection"], "collection"),
        check_name(match_info["key"], "key"),
    )


def read_version(match_info: Mapping[str, str]) -> int:
    text = match_info["version"]
    if not _VERSION.fullmatch(text):
        raise errors.InvalidRequest("a version is a whole number from 1 on")
    return int(text)


def read_precondition(headers: CIMultiDictProxy[str]) -> Precondition:
    """RFC 9110 section 13.1: If-Match with versions or `*`, or If-None-Match: *."""
    if_match = _header(headers, hdrs.IF_MATCH)
    if_none_match = _header(headers, hdrs.IF_NONE_MATCH)
    if if_match is not None and if_none_match is not None:
        raise errors.InvalidRequest("send If-Match or If-None-Match, not both")
    if if_match is not None:
        versions = parse_versions(if_match)
        return Precondition.EXISTS if versions is None else Precondition.at(*versions)
    if if_none_match is not None:
        if parse_versions(if_none_match) is not None:
            raise errors.InvalidRequest("a write takes If-None-Match: * only")
        return Precondition.ABSENT
    return Precondition.ALWAYS


def is_not_modified(headers: CIMultiDictProxy[str], record: Record) -> bool:
    """Whether an If-None-Match names the record as it is (weak comparison, section 13.1.2)."""
    header = _header(headers, hdrs.IF_NONE_MATCH)
    if header is None:
        return False
    versions = parse_versions(header, weak=True)
    return versions is None or record.version in versions


def read_listing(request: web.Request, player: str) -> Listing:
    fields = read_query(request)
    collection = fields.optional_text("collection", longest=128)
    prefix = fields.optional_text("prefix", longest=128)
    if prefix is not None and collection is None:
        raise errors.InvalidRequest("`prefix` needs a `collection`")
    # An empty one is refused: who asks for the past must not take the present for it.
    as_of = fields.text("as_of", longest=_LONGEST_MOMENT) if "as_of" in fields.names() else None
    if as_of is not None and prefix is not None:
        raise errors.InvalidRequest("send `prefix` or `as_of`, not both")
    cursor = fields.optional_text("cursor", longest=LONGEST_CURSOR)
    return Listing(
        collection=check_name(collection, "collection") if collection else None,
        prefix=check_name(prefix, "prefix")
        if prefix and prefix not in (".", "..")
        else prefix or "",
        after=_read_cursor(cursor, player, collection) if cursor else None,
        limit=_read_limit(fields.optional_text("limit", longest=8)),
        as_of=_read_moment(as_of) if as_of is not None else None,
    )


def render_record(record: Record) -> str:
    return _with_content(_names(record), record)


def _with_content(names: Mapping[str, object], record: Record) -> str:
    """The value goes out as it was stored, without being parsed again."""
    if record.blob:
        return strict_json.dumps({**names, "blob": describe_blob(record.blob)})
    return strict_json.dumps(names)[:-1] + ',"value":' + record.value + "}"


def describe_blob(blob: Blob) -> dict[str, JsonValue]:
    return {"media_type": blob.media_type, "bytes": blob.size, "sha256": blob.sha256}


def written_names(written: Written) -> dict[str, object]:
    """Of what was deleted; `version` is null where there was nothing."""
    return {
        "collection": written.key.collection,
        "key": written.key.key,
        "version": written.version,
        "deleted": True,
    }


def render_page(page: Page) -> str:
    cursor = encode_cursor(_parts(page.next_after)) if page.next_after else None
    records = ",".join(render_record(record) for record in page.records)
    return '{"records":[' + records + '],"cursor":' + strict_json.dumps(cursor) + "}"


def render_versions(versions: Sequence[Record]) -> str:
    return '{"versions":[' + ",".join(render_record(record) for record in versions) + "]}"


def read_position(request: web.Request, player: str) -> Position | None:
    cursor = read_query(request).optional_text("cursor", longest=LONGEST_CURSOR)
    if cursor is None:
        return None
    match decode_cursor(cursor):
        case [str(owner), str(collection), str(key), int(version)] if (
            owner == player and 0 <= version <= _LARGEST_VERSION
        ):
            return Position(RecordKey(player, collection, key), version)
    raise errors.InvalidRequest("`cursor` is not one that this export has given")


def render_export(page: ExportPage) -> str:
    records, versions = (
        ",".join(render_record(held.record) for held in page.held if held.is_current == current)
        for current in (True, False)
    )
    return f'{{"records":[{records}],"versions":[{versions}],"cursor":{export_cursor(page)}}}'


def export_cursor(page: ExportPage) -> str:
    after = page.next_after
    return strict_json.dumps(encode_cursor([*_parts(after.key), after.version]) if after else None)


def render_summary(collections: Sequence[CollectionSummary]) -> dict[str, object]:
    """`updated_at` is null of a player of whom there is nothing."""
    moments = [one.updated_at for one in collections]
    return {
        "collections": [
            {
                "name": one.name,
                "records": one.records,
                "bytes": one.bytes,
                "updated_at": to_iso(one.updated_at),
            }
            for one in collections
        ],
        "records": sum(one.records for one in collections),
        "bytes": sum(one.bytes for one in collections),
        "updated_at": to_iso(max(moments)) if moments else None,
    }


def render_usage(used: Usage, quota: Quota) -> dict[str, object]:
    """Null in the quota: there is none."""
    return {**asdict(used), "quota": asdict(quota)}


def render_past(page: PastPage, moment: datetime) -> str:
    """Each record with whether it is what there was; `version` null where nothing is kept."""
    cursor = encode_cursor(_parts(page.next_after)) if page.next_after else None
    head = {
        "as_of": to_iso(moment),
        "complete": all(one.is_complete for one in page.held),
        "cursor": cursor,
    }
    records = ",".join(_render_held(one) for one in page.held)
    return strict_json.dumps(head)[:-1] + ',"records":[' + records + "]}"


def _render_held(one: Past) -> str:
    complete = {"complete": one.is_complete}
    if one.record is not None:
        return _with_content({**_names(one.record), **complete}, one.record)
    nothing = {"collection": one.key.collection, "key": one.key.key, "version": None}
    return strict_json.dumps({**nothing, **complete})


def describe_quota(error: errors.QuotaExceeded) -> Mapping[str, object]:
    return {"used": error.used, "allowed": error.allowed}


def describe_conflict(
    error: errors.VersionConflict, *, largest: int = LARGEST_PAGE
) -> Mapping[str, object]:
    """The current record, so that a client can merge without another round trip.

    Without its value where that has more than `largest` characters.
    """
    current = error.current
    if not isinstance(current, Record):
        return {"current": None}
    if current.blob:
        return {"current": {**_names(current), "blob": describe_blob(current.blob)}}
    if len(current.value) > largest:
        return {"current": _names(current)}
    # Not the rendered record parsed again: that is one level deeper than a value may be.
    value = strict_json.loads(current.value.encode())
    return {"current": {**_names(current), "value": value}}


def describe_violations(error: errors.InvalidValue) -> Mapping[str, object]:
    return {"violations": error.violations}


def record_headers(record: Record) -> dict[str, str]:
    return {hdrs.ETAG: etag(record.version), hdrs.CACHE_CONTROL: "private, no-cache"}


def read_profile(fields: Fields) -> dict[str, str]:
    """`player_name` and any further fields, each a string with a plain name."""
    names = fields.names()
    if taken := _ANSWERED.intersection(names):
        raise errors.InvalidRequest(f"`{min(taken)}` is the name of an answered field")
    if len(names) > _MOST_FIELDS:
        raise errors.InvalidRequest(f"at most {_MOST_FIELDS} fields can be set")
    values = {
        check_name(name, "field name"): fields.text(name, longest=_LONGEST_FIELD) for name in names
    }
    if _NAME_OF_PLAYER not in values:
        raise errors.InvalidRequest(f"`{_NAME_OF_PLAYER}` is missing")
    return values


def render_profile(player: str, fields: Mapping[str, str]) -> dict[str, str]:
    """The names that the reference answers; further fields under the names they came with."""
    further = {name: text for name, text in fields.items() if name != _NAME_OF_PLAYER}
    return {**further, "UserID": player, "PlayerName": fields.get(_NAME_OF_PLAYER, "")}


def _names(record: Record) -> dict[str, object]:
    return {
        "collection": record.key.collection,
        "key": record.key.key,
        "version": record.version,
        "created_at": to_iso(record.created_at),
        "updated_at": to_iso(record.updated_at),
        "written_by": record.written_by or record.key.player,
    }


def _header(headers: CIMultiDictProxy[str], name: str) -> str | None:
    """Several headers of one name are one list (RFC 9110 section 5.3)."""
    values = headers.getall(name, [])
    return ", ".join(values) if values else None


def _read_limit(text: str | None) -> int:
    if text is None:
        return _MOST_RECORDS
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MOST_RECORDS:
        raise errors.InvalidRequest(f"`limit` must be a number from 1 to {_MOST_RECORDS}")
    return int(text)


def _read_moment(text: str) -> datetime:
    try:
        return from_iso(text)
    except ValueError:
        raise errors.InvalidRequest(
            "`as_of` must be a moment with its time zone, as RFC 3339 writes it"
        ) from None


def _parts(key: RecordKey) -> list[str]:
    return [key.player, key.collection, key.key]


def _read_cursor(cursor: str, player: str, collection: str | None) -> RecordKey:
    """A cursor holds only where it was given: the same player, the same collection."""
    match decode_cursor(cursor):
        case [str(owner), str(found), str(key)] if owner == player:
            if collection in (None, found):
                return RecordKey(player, found, key)
    raise errors.InvalidRequest("`cursor` is not one that this list has given")


def encode_cursor(position: Sequence[object]) -> str:
    """Opaque to who gets it, but no secret."""
    return urlsafe_b64encode(strict_json.dumps(position).encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> JsonValue:
    """None of what is no cursor at all."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return strict_json.loads(urlsafe_b64decode(padded.encode("ascii")))
    except (ValueError, binascii.Error):
        return None
