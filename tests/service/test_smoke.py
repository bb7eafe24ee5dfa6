from pathlib import Path

from tests.support import apps
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer


async def test_smoke(tmp_path: Path, clock: ManualClock, issuer: Issuer) -> None:
    async with apps.identity(tmp_path, clock) as identity, identity.http.post("/v1/guests") as r:
        assert r.status == 201
    async with (
        apps.player_data(tmp_path, issuer, clock) as data,
        data.http.get(
            "/v1/players/me/records", headers={"Authorization": "Bearer " + issuer.token()}
        ) as r,
    ):
        assert (r.status, await r.json()) == (200, {"records": [], "cursor": None})
