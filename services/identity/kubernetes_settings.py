"""Which Kubernetes cluster is trusted to say which service account a service runs as."""

from dataclasses import dataclass
from pathlib import Path

from shared.env import Env
from shared.http.client import is_tamper_proof


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """`issuer` is compared as text. The two files are what the cluster's own API server asks for.

    `ca_file` None: the certificate authorities of this system. `token_file` None: the keys are
    public, as those of EKS are.
    """

    issuer: str
    audience: str
    jwks_url: str
    ca_file: Path | None
    token_file: Path | None

    @classmethod
    def read(cls, env: Env) -> "KubernetesSettings | None":
        """None where no cluster is named."""
        issuer = env.text("K8S_ISSUER", "")
        if not issuer:
            return None
        # Where EKS has them; other clusters name the place in their discovery document.
        jwks_url = env.url("K8S_JWKS_URL", f"{env.url('K8S_ISSUER', issuer)}/keys")
        if not is_tamper_proof(jwks_url):
            env.fault("K8S_JWKS_URL", "must be https (it follows from K8S_ISSUER if not set)")
        return cls(
            issuer=issuer,
            audience=env.text("K8S_AUDIENCE", "playmesh:identity"),
            jwks_url=jwks_url,
            ca_file=_optional_path(env, "K8S_CA_FILE"),
            token_file=_optional_path(env, "K8S_TOKEN_FILE"),
        )


def _optional_path(env: Env, name: str) -> Path | None:
    return env.path(name, "") if env.text(name, "") else None
