"""One player's records taken over into another's, as JSON."""

from dataclasses import dataclass

from services.player_data.batch_wire import read_members
from services.player_data.merging import Step
from services.player_data.models import RecordKey
from services.player_data.wire import LONGEST_CURSOR, decode_cursor, encode_cursor
from shared import errors
from shared.ids import is_id
from shared.strict_json import JsonValue


@dataclass(frozen=True, slots=True)
class Asked:
    source: str
    dry_run: bool
    after: RecordKey | None


def read(body: JsonValue, target: str) -> Asked:
    """`{"from": user id}`, `"dry_run": true` to be told only, `cursor` of the answer before."""
    members = read_members(body, "the body", {"from", "dry_run", "cursor"})
    source, dry_run = members.get("from"), members.get("dry_run", False)
    if not isinstance(source, str) or not is_id(source):
        raise errors.InvalidRequest("`from` must be a user id")
    if not isinstance(dry_run, bool):
        raise errors.InvalidRequest("`dry_run` must be true or false")
    cursor = members.get("cursor")
    return Asked(source, dry_run, None if cursor is None else _after(cursor, source, target))


def render(step: Step, source: str, target: str) -> dict[str, object]:
    """`cursor` is null of the last page."""
    after = step.next_after
    return {
        "results": [
            {
                "collection": one.collection,
                "key": one.key,
                "policy": one.policy.value,
                "action": one.action.value,
                "version": one.version,
            }
            for one in step.merged
        ],
        "cursor": encode_cursor([source, target, after.collection, after.key]) if after else None,
    }


def _after(cursor: JsonValue, source: str, target: str) -> RecordKey:
    """A cursor holds only between the two players of whom it was given."""
    if isinstance(cursor, str) and len(cursor) <= LONGEST_CURSOR:
        match decode_cursor(cursor):
            case [str(one), str(other), str(collection), str(key)] if (
                one == source and other == target
            ):
                return RecordKey(source, collection, key)
    raise errors.InvalidRequest("`cursor` is not one that this merge has given")
