"""Errors as RFC 9457 problems: the one place where a domain error becomes a status."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from shared import errors, strict_json
from shared.http.keys import REQUEST_ID

Describe = Callable[[Any], Mapping[str, object]]

_log = structlog.get_logger()

STATUS: Mapping[type[errors.PlaymeshError], HTTPStatus] = {
    errors.PlaymeshError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.InvalidRequest: HTTPStatus.BAD_REQUEST,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.InvalidValue: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.InvalidConflictToken: HTTPStatus.BAD_REQUEST,
    errors.WeakPassword: HTTPStatus.BAD_REQUEST,
    errors.InvalidCode: HTTPStatus.BAD_REQUEST,
    errors.ExpiredCode: HTTPStatus.BAD_REQUEST,
    errors.UnsupportedGrantType: HTTPStatus.BAD_REQUEST,
    errors.InvalidGrant: HTTPStatus.BAD_REQUEST,
    errors.InvalidScope: HTTPStatus.BAD_REQUEST,
    errors.InvalidTarget: HTTPStatus.BAD_REQUEST,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.InvalidToken: HTTPStatus.UNAUTHORIZED,
    errors.InvalidCredential: HTTPStatus.UNAUTHORIZED,
    errors.ExpiredCredential: HTTPStatus.UNAUTHORIZED,
    errors.WrongAudience: HTTPStatus.UNAUTHORIZED,
    errors.InvalidClient: HTTPStatus.UNAUTHORIZED,
    errors.InvalidRefreshToken: HTTPStatus.UNAUTHORIZED,
    errors.RefreshTokenReused: HTTPStatus.UNAUTHORIZED,
    errors.SessionEnded: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.Banned: HTTPStatus.FORBIDDEN,
    errors.ProviderBanned: HTTPStatus.FORBIDDEN,
    errors.NotOwned: HTTPStatus.FORBIDDEN,
    errors.RefusedByPolicy: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.AlreadyExists: HTTPStatus.CONFLICT,
    errors.AlreadyLinked: HTTPStatus.CONFLICT,
    errors.AlreadyDecided: HTTPStatus.CONFLICT,
    errors.ActionRequired: HTTPStatus.CONFLICT,
    errors.VersionConflict: HTTPStatus.PRECONDITION_FAILED,
    errors.IdempotencyKeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.QuotaExceeded: HTTPStatus.CONFLICT,
    errors.BatchFailed: HTTPStatus.CONFLICT,
    errors.TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ProviderUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ProviderMisconfigured: HTTPStatus.INTERNAL_SERVER_ERROR,
}

# What aiohttp itself answers, under a code of ours.
_HTTP_CODES = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}


def problem(
    request: web.Request,
    *,
    status: int,
    code: str,
    title: str,
    detail: str | None = None,
    more: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    body: dict[str, object] = {
        "type": f"urn:playmesh:error:{code}",
        "title": title,
        "status": status,
        "detail": detail or title,
        "request_id": request.get(REQUEST_ID),
        **(more or {}),
    }
    return web.Response(
        status=status,
        text=strict_json.dumps(body),
        content_type="application/problem+json",
        headers=headers,
    )


def from_error(
    request: web.Request,
    error: errors.PlaymeshError,
    more: Mapping[str, object] | None = None,
) -> web.Response:
    headers: dict[str, str] = {}
    if isinstance(error, errors.InvalidClient):
        headers[hdrs.WWW_AUTHENTICATE] = 'Basic realm="playmesh"'
    elif isinstance(error, errors.InvalidToken):
        headers[hdrs.WWW_AUTHENTICATE] = 'Bearer error="invalid_token"'
    elif type(error) is errors.Forbidden:  # RFC 6750 section 3.1
        headers[hdrs.WWW_AUTHENTICATE] = 'Bearer error="insufficient_scope"'
    elif isinstance(error, errors.Unauthenticated):
        headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    elif isinstance(error, errors.TooManyRequests | errors.Unavailable):
        headers[hdrs.RETRY_AFTER] = str(error.retry_after)
    return problem(
        request,
        status=STATUS[type(error)],
        code=error.code,
        title=error.title,
        detail=error.detail,
        more=more,
        headers=headers,
    )


def problems(
    describe: Mapping[type[errors.PlaymeshError], Describe] | None = None,
) -> Middleware:
    """Middleware that answers every error as a problem.

    `describe` adds members to the problems of an error class: what a version conflict shows as
    `current` is for the service to say.
    """
    describers = describe or {}

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except errors.PlaymeshError as error:
            describer = describers.get(type(error))
            return from_error(request, error, describer(error) if describer else None)
        except web.HTTPException as response:
            if response.status < HTTPStatus.BAD_REQUEST:
                raise
            return _from_http(request, response)
        except web.RequestPayloadError:
            return from_error(request, errors.InvalidRequest("the body is broken off or malformed"))
        except Exception:  # noqa: BLE001 - the last resort: nothing may leave without an answer
            # A bug of ours: the log has everything, the answer nothing but the request id.
            _log.exception("request.failed", method=request.method, path=request.rel_url.raw_path)
            return from_error(request, errors.PlaymeshError())

    return middleware


def _from_http(request: web.Request, response: web.HTTPException) -> web.Response:
    status = HTTPStatus(response.status)
    allow = response.headers.get(hdrs.ALLOW)
    return problem(
        request,
        status=status,
        code=_HTTP_CODES.get(status, "http_error"),
        title=status.phrase,
        headers={hdrs.ALLOW: allow} if allow else None,
    )
