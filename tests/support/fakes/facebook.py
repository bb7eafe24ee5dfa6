"""Facebook's Graph API: the access token says what comes of it.

`EAA;ok;user=10150000000000001;app=...;type=PAGE`, or in place of `ok` one of the scenarios below.
A token that begins otherwise is one that Facebook cannot decrypt. Whatever it answers says that it
is text/javascript.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from shared.clock import Clock, to_seconds
from tests.support.fakes.fake import Answers, Fake, answer_json, answer_text, fields_of
from tests.support.tokens import encode

PLAYER = "10150000000000001"
FRIEND = "10150000000000002"
APP_ID = "1234567890123456"
OTHER_APP = "6543210987654321"
VERSION = "v25.0"
PATH = f"/{VERSION}/debug_token"
ME_PATH = f"/{VERSION}/me"


def token(scenario: str = "ok", **fields: str | int) -> str:
    return ";".join(["EAA", scenario, *(f"{name}={value}" for name, value in fields.items())])


class FacebookFake(Fake):
    """Knows one application and its secret."""

    def __init__(self, clock: Clock, secret: str) -> None:
        super().__init__()
        self.clock = clock
        self.secret = secret
        self.asked: list[dict[str, str]] = []
        self._seen: set[str] = set()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        return app

    def settings(self, url: str) -> dict[str, str]:
        return {
            "PROVIDERS": "facebook",
            "FACEBOOK_URL": url,
            "FACEBOOK_APP_ID": APP_ID,
            "FACEBOOK_APP_SECRET": self.secret,
        }

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path_qs)
        self.asked.append(dict(request.query))
        if f"/{request.match_info['path']}" == ME_PATH:
            return self._me(request.query)
        if f"/{request.match_info['path']}" != PATH:
            return _error(2500, "Unknown path components")
        if request.query.get("access_token") != f"{APP_ID}|{self.secret}":
            return _error(190, "Invalid OAuth access token signature.")
        text = request.query["input_token"]
        begin, *rest = text.split(";")
        if begin != "EAA" or not rest:
            return _nested(190, "The access token could not be decrypted")
        scenario = self.scenario or rest[0]
        if known := await self.answer(scenario, request, _ANSWERS):
            return known
        fields = fields_of(rest[1:])
        again = text in self._seen
        self._seen.add(text)
        return self._judge(scenario, fields, again=again)

    def _me(self, query: Mapping[str, str]) -> web.Response:
        """Of a token with `me=` in it another one than debug_token says, or an error."""
        text = query["access_token"]
        known = hmac.digest(self.secret.encode(), text.encode(), hashlib.sha256).hex()
        if query.get("appsecret_proof") != known:
            return _error(100, "Invalid appsecret_proof provided in the API argument")
        fields = fields_of(text.split(";")[2:])
        me = fields.get("me", fields.get("user", PLAYER))
        if me[0] == "e":
            return _error(int(me[1:]), "Some error")
        return _json({} if me == "nobody" else {"id": me})

    def _judge(self, scenario: str, fields: dict[str, str], *, again: bool) -> web.Response:
        """`e190_463` is an error of the call, `n190_463` one of the token, which is in `data`."""
        if scenario[0] in "en" and scenario[1:2].isdigit():
            code, _, sub = scenario[1:].removesuffix("once").partition("_")
            if scenario.endswith("once") and again:
                return self._good(fields)
            make = _error if scenario[0] == "e" else _nested
            status = {"status": int(fields["status"])} if "status" in fields else {}
            return make(int(code), "Some error", int(sub) if sub else None, **status)
        return self._good(fields)

    def _good(self, fields: dict[str, str]) -> web.Response:
        now = to_seconds(self.clock.now())
        number = int if "numbers" in fields else str
        expires: Any = fields.get("expires", 3600)
        data: dict[str, Any] = {
            "app_id": number(fields.get("app", APP_ID)),
            "type": fields.get("type", "USER"),
            "application": "Acme Game",
            "data_access_expires_at": now + 7_776_000,
            "expires_at": 0 if expires == "never" else now + int(expires),
            "is_valid": fields.get("valid", "1") == "1",
            "scopes": ["public_profile"],
            "user_id": number(fields.get("user", PLAYER)),
        }
        if "wrong" in fields:
            name, value = fields["wrong"].split(":", 1)
            data[name] = json.loads(value)
        data.pop(fields.get("without", ""), None)
        return _json({"data": data}, int(fields.get("status", 200)))


def _error(code: int, text: str, subcode: int | None = None, *, status: int = 400) -> web.Response:
    error: dict[str, Any] = {"message": text, "type": "OAuthException", "code": code}
    if subcode is not None:
        error["error_subcode"] = subcode
    headers = {"X-App-Usage": '{"call_count": 101}'} if code == 4 else {}
    return _json({"error": {**error, "fbtrace_id": "Axyz123"}}, status, **headers)


def _nested(code: int, text: str, subcode: int | None = None, *, status: int = 200) -> web.Response:
    error: dict[str, Any] = {"code": code, "message": text}
    if subcode is not None:
        error["subcode"] = subcode
    return _json({"data": {"error": error, "is_valid": False, "scopes": []}}, status)


def _json(body: object, status: int = 200, **headers: str) -> web.Response:
    return answer_json(body, status, "text/javascript; charset=UTF-8", **headers)


_ANSWERS: Answers = {
    "nodata": lambda: answer_text('{"data": []}'),
    "emptydata": lambda: answer_text('{"data": {}}'),
    "texterror": lambda: answer_text('{"error": "no"}'),
    "textcode": lambda: answer_text('{"error": {"code": "190"}}', 400),
    "invalid": lambda: answer_text('{"data": {"is_valid": false, "scopes": []}}'),
    "invalidtext": lambda: answer_text('{"data": {"is_valid": "false", "scopes": []}}'),
}


def signed_request(
    secret: str,
    moment: int,
    *,
    user: str = PLAYER,
    signature: str | None = None,
    **changes: Any,  # noqa: ANN401 - also wrong types
) -> str:
    """What Facebook posts to the callbacks; a change to None leaves a member out."""
    members = {
        "algorithm": "HMAC-SHA256",
        "expires": moment + 3600,
        "issued_at": moment,
        "user_id": user,
        **changes,
    }
    kept = {name: value for name, value in members.items() if value is not None}
    return sign_request(secret, json.dumps(kept, separators=(",", ":")), signature)


def sign_request(secret: str, payload: str, signature: str | None = None) -> str:
    encoded = encode(payload.encode())
    tag = hmac.digest(secret.encode(), encoded.encode(), hashlib.sha256)
    return f"{signature or encode(tag)}.{encoded}"
