"""How often somebody may try to get in."""

from prometheus_client import Counter

from services.identity.models import IDEMPOTENCY_LIFETIME
from shared import errors
from shared.clock import Clock
from shared.limits import Limiter, Noted, RateLimit

# OWASP ASVS 5.0, 6.1.1, asks for a limit that locks nobody out. The figures are ours: ten typing
# errors, and from then on no more than a person types.
_FAILURES = RateLimit(burst=10, per_second=1 / 6)
# Each makes a session, which is kept for a day at least and may be ended: more than devices need.
_LOGINS_OF_ACCOUNT = RateLimit(burst=10, per_second=1 / 6)
# A user pool locks a player out after five wrong passwords, for up to a quarter of an hour, whoever
# has sent them: from one address there are never enough, from many no more than a person types.
_PASSWORDS_FROM_ADDRESS = RateLimit(burst=5, per_second=1 / 900)
_PASSWORDS = RateLimit(burst=10, per_second=1 / 6)
# Of codes and mails a pool has so many for one player in an hour.
_POOL_REQUESTS = RateLimit(burst=5, per_second=15 / 3600)

# Later the same key makes another guest, which counts.
_REPEATED_FOR = IDEMPOTENCY_LIFETIME.total_seconds()

_LIMITED = Counter("playmesh_limited", "Requests beyond a limit.", ("limit",))
for _limit in ("logins", "logins_of_account", "guests", "failures", "passwords", "pool_requests"):
    _LIMITED.labels(_limit)


class LoginLimits:
    """Limits by address, which come first, and by account, which come last.

    The law: a right secret is never refused for failures, whoever failed before and from wherever.
    So nothing here can be asked about an account before its credential has been checked; `failed`
    comes after that where it did not hold, `proven` where it did. Who guesses is kept out by the
    length of the secrets and by the limit of their address; the one of the account slows down
    clients that are stuck, and shows guessing in a metric.

    It holds for our own secrets. A password that is kept elsewhere is guessed over there, which
    locks the player out: `password` and `pool_request` come before it is asked.

    An address is a name as of `shared.http.addresses`. Each process counts for itself.
    """

    def __init__(self, *, logins: RateLimit, guests: RateLimit, clock: Clock) -> None:
        self._logins = Limiter(logins, clock)
        # One setting turns both off.
        self._proven = Limiter(_LOGINS_OF_ACCOUNT if logins.per_second else logins, clock)
        self._guests = Limiter(guests, clock)
        self._let_through = Noted(_REPEATED_FOR, clock)
        self._failures = Limiter(_FAILURES, clock)
        is_on = bool(logins.per_second)
        self._passwords = Limiter(_PASSWORDS if is_on else logins, clock)
        self._passwords_from = Limiter(_PASSWORDS_FROM_ADDRESS if is_on else logins, clock)
        self._pool_requests = Limiter(_POOL_REQUESTS if is_on else logins, clock)

    def attempt(self, address: str) -> None:
        """A login, before anything is looked at. Raises TooManyRequests."""
        _take(self._logins, address, "logins")

    def creation(self, address: str, *, idempotency_key: str | None = None) -> None:
        """A new guest, before it is made. Raises TooManyRequests.

        A repetition makes no new guest but a session, so it counts as a login does: from whatever
        address it comes, whose answer was lost is not refused for having asked again.
        """
        if idempotency_key is not None and idempotency_key in self._let_through:
            self.attempt(address)
            return
        _take(self._guests, address, "guests")
        if idempotency_key is not None:
            self._let_through.note(idempotency_key)

    def proven(self, account: str) -> None:
        """A login whose credential held, before its session is opened. Raises TooManyRequests.

        Only whoever has the right secret gets here, so nobody else uses it up.
        """
        _take(self._proven, account, "logins_of_account")

    def password(self, username: str, address: str) -> None:
        """One that is to be tried at a user pool. Raises TooManyRequests, as `pool_request`.

        First by name and address, so that whoever guesses uses up what is theirs, and the player
        at another address gets in.
        """
        name = username.casefold()  # pools may take them in either case
        _take(self._passwords_from, f"{address} {name}", "passwords")
        _take(self._passwords, name, "passwords")

    def pool_request(self, kind: str, username: str) -> None:
        """Of one kind, for a player that there may be."""
        _take(self._pool_requests, f"{kind} {username.casefold()}", "pool_requests")

    def failed(self, account: str) -> None:
        """A credential that did not hold, after it was checked, for an account that may not exist.

        Raises TooManyRequests, which then is the answer, in place of InvalidCredential. It is the
        same for an account that there is and one that there is not; any text will do.
        """
        _take(self._failures, account, "failures")


def _take(limiter: Limiter, key: str, limit: str) -> None:
    try:
        limiter.take(key)
    except errors.TooManyRequests:
        _LIMITED.labels(limit).inc()
        raise
