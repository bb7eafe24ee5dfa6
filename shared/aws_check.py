"""What a service lacks in AWS, found by asking for it.

A role of least privilege may describe nothing, so each permission is tried by a call that changes
nothing: reads of what cannot exist, writes on a condition that cannot hold (one write unit each,
at start). Where there is no such call, as for PutSecretValue, nothing is asked.
"""

import functools
from collections.abc import Collection, Mapping
from typing import Any

from shared import errors
from shared.aws import AwsError, Client, attempt, is_known_region
from shared.start_check import Probe, StartError

_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
_MISSING = {"ResourceNotFoundException", "NoSuchBucket"}
_NO_INDEX = "does not have the specified index"
_NEW_INDEX = "backfilling"
"""DynamoDB tells both by a ValidationException's words alone."""
_MADE_BY = "make aws-setup makes it, or AWS_REGION is the wrong one"
_ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IncorrectEndpoint"}
_THROTTLED = {
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestTimeout",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
_CREDENTIALS: Mapping[str, str] = {
    **dict.fromkeys(("NoCredentialsError", "MissingAuthenticationTokenException"), "none found"),
    "PartialCredentialsError": "incomplete",
    **dict.fromkeys(
        (
            "ExpiredToken",
            "ExpiredTokenException",
            "RequestExpired",
            "SSOTokenLoadError",
            "TokenRefreshRequired",
            "TokenRetrievalError",
            "UnauthorizedSSOTokenError",
        ),
        "expired",
    ),
    **dict.fromkeys(
        (
            "AuthFailure",
            "IncompleteSignature",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "InvalidToken",
            "NotSignedUp",
            "UnrecognizedClientException",
        ),
        "not known to AWS",
    ),
    **dict.fromkeys(
        ("InvalidSignatureException", "RequestTimeTooSkewed", "SignatureDoesNotMatch"),
        "the secret key or this machine's clock is wrong",
    ),
}
_WHERE = (
    "AWS looks for them in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in the profile"
    " AWS_PROFILE, and at the role of the pod, task or machine"
)


def probe(
    client: Client,
    operation: str,
    resource: str,
    *,
    passes: Collection[str] = (),
    note: str = "",
    **parameters: object,
) -> Probe:
    """`ask` for later."""
    return functools.partial(
        ask, client, operation, resource, passes=passes, note=note, missing="", **parameters
    )


async def ask(
    client: Client,
    operation: str,
    resource: str,
    *,
    passes: Collection[str] = (),
    note: str = "",
    missing: str = "",
    **parameters: object,
) -> Mapping[str, Any]:
    """Call `operation` on `resource`, which is for people: `table playmesh-accounts`.

    `passes` are words of refusals that show that all is well. `note` is told where access is
    denied, `missing` where there is no such resource: without it, that `make aws-setup` makes it.
    Raises StartError and Unavailable, as a probe does.
    """
    try:
        return await attempt(getattr(client, operation), **parameters)
    except AwsError as error:
        if any(words in f"{error.code}: {error.message}" for words in passes):
            return {}
        place = f"{resource} in {client.meta.region_name}"
        service = client.meta.service_model.service_name
        action = f"{service}:{client.meta.method_to_api_mapping[operation]}"
        if error.code == "EndpointConnectionError" and not await is_known_region(client):
            region = client.meta.region_name
            raise StartError(
                f"AWS_REGION is {region}, which is no region ({error.message})"
            ) from error.__cause__
        if fault := _fault(action, place, note, missing or _MADE_BY, error):
            raise StartError(fault) from error.__cause__
        raise errors.Unavailable(f"{action} on {place}: {error.code}") from error.__cause__


def _fault(action: str, place: str, note: str, missing: str, error: AwsError) -> str | None:
    """What to tell the operator; None for what may pass by itself."""
    code, message = error.code, error.message
    if reason := _wrong_with_credentials(error):
        return f"AWS credentials: {reason}; {_WHERE}"
    if _is_passing(error):
        return None
    if code in _MISSING or _NO_INDEX in message:
        told = f"{place} does not exist: {missing}"
    elif code in _ELSEWHERE:
        told = f"{place} is in another region: AWS_REGION is the wrong one"
    elif code in _DENIED:
        told = f"{action} on {place}: access denied{note}"
    else:
        told = f"{action} on {place}: {code}"
    return f"{told} ({message})"


def _wrong_with_credentials(error: AwsError) -> str | None:
    if reason := _CREDENTIALS.get(error.code):
        return f"{reason} ({error.code})"
    # A role's credentials are the answer to a call of their own.
    asked: str = getattr(error.__cause__, "operation_name", "")
    if asked.startswith("AssumeRole") and not _is_passing(error):
        return f"{asked} is refused ({error.code}: {error.message})"
    return None


def _is_passing(error: AwsError) -> bool:
    if not error.response:  # nobody has answered
        return True
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if status >= 500 or status == 429 or error.code in _THROTTLED:  # noqa: PLR2004 - of HTTP
        return True
    return _NEW_INDEX in error.message
