"""Players of a user pool: parse, call, render. These routes are there where one is on."""

from http import HTTPStatus

from aiohttp import web

from services.identity import cognito_wire as wire
from services.identity.appkeys import LOGINS, POOL_PLAYERS, VERIFIER
from services.identity.wire import read_link_token
from shared.auth.middleware import public
from shared.http.addresses import client_address
from shared.http.bodies import Fields, read_body_parameters, read_object, read_query
from shared.http.responses import json_response

_routes = web.RouteTableDef()


@_routes.post("/v1/cognito/sign-up")
@public
async def sign_up(request: web.Request) -> web.Response:
    asked = wire.read_sign_up(await read_object(request))
    is_confirmed = await request.app[POOL_PLAYERS].sign_up(
        asked.username, asked.password, asked.email, address=client_address(request)
    )
    return json_response(wire.render_sign_up(is_confirmed=is_confirmed))


@_routes.post("/v1/cognito/confirm")
@public
async def confirm(request: web.Request) -> web.Response:
    asked = wire.read_confirmation(await read_object(request))
    address = client_address(request)
    await request.app[POOL_PLAYERS].confirm(asked.username, asked.code, address=address)
    return web.Response(status=HTTPStatus.NO_CONTENT)


@_routes.post("/v1/cognito/resend")
@public
async def resend(request: web.Request) -> web.Response:
    username = wire.read_username(await read_object(request))
    await request.app[POOL_PLAYERS].resend(username, address=client_address(request))
    return web.Response(status=HTTPStatus.NO_CONTENT)


@_routes.post("/v1/cognito/forgot-password")
@public
async def forgot_password(request: web.Request) -> web.Response:
    username = wire.read_username(await read_object(request))
    await request.app[POOL_PLAYERS].forgot_password(username, address=client_address(request))
    return web.Response(status=HTTPStatus.NO_CONTENT)


@_routes.post("/v1/cognito/reset-password")
@public
async def reset_password(request: web.Request) -> web.Response:
    asked = wire.read_new_password(await read_object(request))
    await request.app[POOL_PLAYERS].reset_password(
        asked.username, asked.code, asked.password, address=client_address(request)
    )
    return web.Response(status=HTTPStatus.NO_CONTENT)


@_routes.post("/v1/cognito/sign-out")
@public
async def sign_out(request: web.Request) -> web.Response:
    asked = wire.read_sign_out(await read_object(request))
    address = client_address(request)
    await request.app[POOL_PLAYERS].sign_out(asked.access_token, address=address)
    return web.Response(status=HTTPStatus.NO_CONTENT)


@public
async def login_with_cognito(request: web.Request) -> web.Response:
    """All that the reference's clients ask for, at its one route."""
    query = wire.check_query(read_query(request))
    fields = wire.read_nested(await read_body_parameters(request))
    players, address = request.app[POOL_PLAYERS], client_address(request)
    match wire.read_drop_in(fields):
        case wire.SignIn(username, password):
            return await _sign_in(request, username, password, query, fields)
        case wire.SignUp(username, password, email):
            done = await players.sign_up(username, password, email, address=address)
            return json_response(wire.render_drop_in_sign_up(is_confirmed=done))
        case wire.Confirmation(username, code):
            await players.confirm(username, code, address=address)
            return json_response("Cognito Confirmation successful")
        case wire.ForgottenPassword(username):
            await players.forgot_password(username, address=address)
            return json_response("Cognito Forgot Password successful")
        case wire.NewPassword(username, code, password):
            await players.reset_password(username, code, password, address=address)
            return json_response("Cognito Reset Password successful")
        case wire.SignOut(access_token):
            await players.sign_out(access_token, address=address)
            return json_response("Cognito Sign Out successful")


# No GET: a password in a URL is in every log on the way.
routes = [
    *_routes,
    web.post("/login-with-cognito", login_with_cognito),
    web.post("//login-with-cognito", login_with_cognito),
]


async def _sign_in(
    request: web.Request, username: str, password: str, *sent: Fields
) -> web.Response:
    """`sent`: where the token of the player to link to may be."""
    tokens = [token for fields in sent if (token := read_link_token(fields)) is not None]
    login = await request.app[LOGINS].platform(
        "cognito",
        {"username": username, "password": password},
        address=client_address(request),
        link_to=await request.app[VERIFIER].verify_player(tokens[0]) if tokens else None,
    )
    return json_response(wire.render_drop_in_sign_in(login))
