"""Project Wycheproof's vectors for JOSE against our reading of key sets and of compact JWS.

    python -m tests.attacks.wycheproof DIRECTORY

DIRECTORY holds json_web_signature_test.json, json_web_key_test.json, json_web_crypto_test.json and
json_web_encryption_test.json (C2SP/wycheproof, testvectors_v1). Exits with 1 where a token is
accepted that must not be, or a good RS256 or ES256 signature of a payload is not.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.auth import jws
from shared.auth.jwk_set import InvalidJwkSet, VerificationKey, parse_jwk_set

FILES = ("signature", "key", "crypto", "encryption")
ALGORITHMS = frozenset(("RS256", "ES256"))
# Marked invalid, and byte for byte the token and key of 357, which is marked valid.
DEFECTIVE = {("signature", 367), ("signature", 370)}


@dataclass(frozen=True)
class Case:
    number: int
    token: str
    keys: bytes
    must_be_accepted: bool


class Keys:
    def __init__(self, document: bytes) -> None:
        self._keys: Mapping[str, VerificationKey] = {}
        with contextlib.suppress(InvalidJwkSet):
            self._keys = parse_jwk_set(document)

    async def key(self, key_id: str) -> VerificationKey | None:
        return self._keys.get(key_id)


def cases(directory: Path, file: str) -> Iterator[Case]:
    vectors = json.loads((directory / f"json_web_{file}_test.json").read_bytes())
    for group in vectors["testGroups"]:
        key = group.get("public", group["private"])
        keys = key.get("keys", [key])
        is_ours = file != "encryption" and all(key.get("alg") in ALGORITHMS for key in keys)
        for test in group["tests"]:
            if (file, test["tcId"]) not in DEFECTIVE:
                sealed = test.get("jws", test.get("jwe"))
                token = sealed if isinstance(sealed, str) else json.dumps(sealed)
                is_good = is_ours and test["result"] == "valid" and ".." not in token
                yield Case(test["tcId"], token, json.dumps({"keys": keys}).encode(), is_good)


async def is_accepted(case: Case) -> bool:
    try:
        await jws.verify(case.token, Keys(case.keys), ALGORITHMS)
    except jws.InvalidJws:
        return False
    return True


async def main(directory: Path) -> int:
    wrong = 0
    for file in FILES:
        judged = [(case, await is_accepted(case)) for case in cases(directory, file)]
        accepted = [case for case, is_in in judged if is_in]
        false_accepts = [case.number for case in accepted if not case.must_be_accepted]
        false_refusals = [
            case.number for case, is_in in judged if case.must_be_accepted and not is_in
        ]
        wrong += len(false_accepts) + len(false_refusals)
        sys.stdout.write(
            f"{file:10}  {len(judged):3} cases, {len(accepted):2} accepted; "
            f"false accepts {false_accepts}, false refusals {false_refusals}\n"
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]))))
