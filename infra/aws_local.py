"""`make aws-local`: an AWS of this machine's own, moto's server, set up for the services.

It forgets everything when it ends. Ctrl-C stops it.
"""

import asyncio
import logging
import os
import sys
import threading
from pathlib import Path

from moto.server import ThreadedMotoServer

from infra.aws_setup import set_up
from shared import aws
from shared.env import Env
from shared.files import VersionedFile
from shared.settings import AwsSettings


async def _prepare(names: AwsSettings, saves_bucket: str, data_dir: Path) -> None:
    await set_up(names, saves_bucket, print)
    # Where the embedded mesh has it: the operator's secret, for the demo and for people.
    async with aws.client("secretsmanager") as client:
        secret = await aws.call(client.get_secret_value, SecretId=names.secret("service-clients"))
    file = VersionedFile(data_dir / "secrets" / "service-clients.json")
    known = await file.read()
    await file.replace(secret["SecretString"].encode(), expected=known.etag if known else None)


def main() -> int:
    env = Env(os.environ)  # noqa: TID251 - the edge: read once, here
    names, saves_bucket = AwsSettings.read(env), env.required("SAVES_BUCKET")
    env.check()
    url = os.environ["AWS_ENDPOINT_URL"]  # noqa: TID251 - AWS's own variable
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=int(url.rpartition(":")[2]))
    server.start()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for each request otherwise
    try:
        asyncio.run(_prepare(names, saves_bucket, env.path("DATA_DIR", ".playmesh")))
        print(f"\nAWS of this machine is ready at {url}. In another terminal:\n")
        print(f"  make run BACKEND=aws AWS_ENDPOINT_URL={url}\n", flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    finally:
        server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
