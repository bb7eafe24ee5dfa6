"""What clients send of a user pool's players, and what they are answered."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.identity.logins import PlatformLogin
from services.identity.wire import render_drop_in_platform
from shared import errors
from shared.http.bodies import Fields

_LONGEST_USERNAME, _LONGEST_PASSWORD, _LONGEST_CODE, _LONGEST_EMAIL = 128, 256, 1024, 254
_LONGEST_TOKEN = 8192
_YES = "True"
"""As the reference's clients say it: text, and no other."""


@dataclass(frozen=True, slots=True)
class SignUp:
    username: str
    password: str = field(repr=False)
    email: str | None


@dataclass(frozen=True, slots=True)
class Confirmation:
    username: str
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewPassword:
    username: str
    code: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ForgottenPassword:
    username: str


@dataclass(frozen=True, slots=True)
class SignOut:
    access_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignIn:
    username: str
    password: str = field(repr=False)


DropInRequest = SignUp | Confirmation | ForgottenPassword | NewPassword | SignOut | SignIn


def read_username(fields: Fields) -> str:
    return fields.text("username", longest=_LONGEST_USERNAME)


def read_sign_up(fields: Fields) -> SignUp:
    return SignUp(
        read_username(fields),
        _password(fields, "password"),
        fields.optional_text("email", longest=_LONGEST_EMAIL),
    )


def read_confirmation(fields: Fields) -> Confirmation:
    return Confirmation(read_username(fields), _code(fields, "code"))


def read_new_password(fields: Fields) -> NewPassword:
    return NewPassword(
        read_username(fields), _code(fields, "code"), _password(fields, "new_password")
    )


def read_sign_out(fields: Fields) -> SignOut:
    return SignOut(fields.text("access_token", longest=_LONGEST_TOKEN))


def read_drop_in(fields: Fields) -> DropInRequest:
    """Of several wishes the first counts, in the order in which the reference looks at them."""
    if _wants(fields, "signup"):
        return read_sign_up(fields)
    if fields.has("signup_confirmation_code"):
        # Its code is what clients send under the one name, its documentation under the other.
        has_code = fields.has("confirmation_code")
        name = "confirmation_code" if has_code else "signup_confirmation_code"
        return Confirmation(read_username(fields), _code(fields, name))
    if _wants(fields, "forgot_password"):
        return ForgottenPassword(read_username(fields))
    if _wants(fields, "reset_password"):
        code = _code(fields, "reset_password_code")
        return NewPassword(read_username(fields), code, _password(fields, "password"))
    if _wants(fields, "signout"):
        return read_sign_out(fields)
    if _wants(fields, "signin"):
        return SignIn(read_username(fields), _password(fields, "password"))
    raise errors.InvalidRequest(
        "one of `signin`, `signup`, `forgot_password`, `reset_password` and `signout` must be"
        ' "True", or `signup_confirmation_code` the code'
    )


def read_nested(fields: Fields) -> Fields:
    """The reference has its fields below `body`; at the top they are as good."""
    return fields.optional_object("body") or fields


def check_query(query: Fields) -> Fields:
    """What the reference takes from the URL of a POST, and nothing else: no password."""
    if not set(query.names()) <= {"auth_token", "link_to_existing_user"}:
        raise errors.InvalidRequest("send the parameters of a POST in its body, not in its URL")
    return query


def render_sign_up(*, is_confirmed: bool) -> dict[str, object]:
    return {"confirmed": is_confirmed}


def render_drop_in_sign_in(login: PlatformLogin) -> dict[str, object]:
    return render_drop_in_platform(login, {"cognito_id": login.identity.details["sub"]})


def render_drop_in_sign_up(*, is_confirmed: bool) -> str:
    done = "Cognito Sign Up successful"
    return done if is_confirmed else f"{done}, please confirm your code"


def describe_action_required(error: errors.ActionRequired) -> Mapping[str, object]:
    token = {"challenge_token": error.token} if error.token else {}
    return {"challenge": error.challenge, "parameters": dict(error.parameters), **token}


def _wants(fields: Fields, name: str) -> bool:
    return fields.optional_text(name, longest=_LONGEST_CODE) == _YES


def _password(fields: Fields, name: str) -> str:
    return fields.text(name, longest=_LONGEST_PASSWORD)


def _code(fields: Fields, name: str) -> str:
    return fields.text(name, longest=_LONGEST_CODE)
