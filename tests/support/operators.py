"""An operator of a running mesh."""

import json

import aiohttp

from tests.support.mesh import Mesh


async def operator_token(mesh: Mesh, http: aiohttp.ClientSession, resource: str) -> str:
    clients = json.loads((mesh.data_dir / "secrets" / "service-clients.json").read_text())
    form = {
        "grant_type": "client_credentials",
        "client_id": "operator",
        "client_secret": clients["clients"][0]["secrets"][0],
        "resource": resource,
    }
    async with http.post(f"{mesh.identity.url}/oauth2/token", data=form) as response:
        assert response.status == 200, await response.text()
        return str((await response.json())["access_token"])
