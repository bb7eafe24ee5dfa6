"""The token endpoint of OAuth 2.0, for services and operators."""

from aiohttp import hdrs, web

from services.identity import oauth_wire as wire
from services.identity.appkeys import LIMITS, SERVICE_CLIENTS
from services.identity.service_clients import ServiceClient, ServiceClients, ServiceToken
from shared import errors
from shared.auth.middleware import public
from shared.http.addresses import client_address
from shared.http.bodies import Fields, read_form
from shared.http.problems import from_error
from shared.http.responses import json_response

routes = web.RouteTableDef()


@routes.post("/oauth2/token")
@public
async def service_token(request: web.Request) -> web.Response:
    try:
        token = await _issue(request)
    except errors.PlaymeshError as error:
        return _refusal(request, error)
    return json_response(wire.render_service_token(token))


async def _issue(request: web.Request) -> ServiceToken:
    request.app[LIMITS].attempt(client_address(request))
    asked = wire.read_token_request(await _form(request), request.headers.get(hdrs.AUTHORIZATION))
    clients = request.app[SERVICE_CLIENTS]
    client = await _authenticate(clients, asked.credential)
    return clients.issue(client, audience=asked.resource, scope=asked.scope)


async def _authenticate(
    clients: ServiceClients, credential: wire.ClientSecret | wire.Assertion
) -> ServiceClient:
    match credential:
        case wire.ClientSecret(client_id, secret):
            return await clients.by_secret(client_id, secret)
        case wire.Assertion(text):
            return await clients.by_assertion(text)


async def _form(request: web.Request) -> Fields:
    """RFC 6749 section 5.2 has one answer to whatever is malformed, where HTTP has several."""
    try:
        return await read_form(request)
    except web.HTTPRequestEntityTooLarge:
        raise errors.TooLarge from None
    except web.HTTPUnsupportedMediaType:
        raise errors.InvalidRequest("the body must be a form") from None
    except web.RequestPayloadError:
        raise errors.InvalidRequest("the body is broken off or malformed") from None


def _refusal(request: web.Request, error: errors.PlaymeshError) -> web.Response:
    """A problem that is an error of RFC 6749 section 5.2 as well, where that has a name for it."""
    members = wire.render_error(error)
    response = from_error(request, error, members)
    if members:
        response.content_type = "application/json"
    return response
