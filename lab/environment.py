"""The environment of a command that runs in the lab: the toolchain's, and what a site's owner would have told its user.

Owns which variables `lab exec` sets. Proxies are taken away: there is nobody to reach them in the lab's network.
"""

from __future__ import annotations

from collections.abc import Mapping

from lab.datacentre import Datacentre
from lab.directory import LabDirectory

PASSPHRASE = "lab"  # noqa: S105 - of a throw-away state in the lab's own folder
# Where clients look for certificates. Whichever the host sets is pointed at the lab's CA, so that nothing trusts both.
CERTIFICATE_FILE_VARIABLES = (
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "NIX_SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
)
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


def api_token(directory: LabDirectory, datacentre: Datacentre) -> str:
    return f"{datacentre.proxmox.tokens[0].id}={directory.token_secret()}"


def trust(directory: LabDirectory) -> dict[str, str]:
    """The lab's authority and no other, for programs that read certificates as Go and OpenSSL do."""
    return {"SSL_CERT_FILE": str(directory.ca), "SSL_CERT_DIR": str(directory.no_certificates)}


def of_commands(
    directory: LabDirectory, datacentre: Datacentre, base: Mapping[str, str], tools: Mapping[str, str]
) -> dict[str, str]:
    """The host's variables `base`, under the toolchain's `tools`, under the lab's own."""
    environment = {name: value for name, value in base.items() if name not in PROXY_VARIABLES}
    environment |= {name: str(directory.ca) for name in CERTIFICATE_FILE_VARIABLES if name in environment}
    environment |= {**tools, **trust(directory)}
    return environment | {
        "NO_PROXY": "*",
        "no_proxy": "*",
        "PULUMI_BACKEND_URL": f"file://{directory.pulumi_state}",
        "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
        "PROXMOX_VE_API_TOKEN": api_token(directory, datacentre),
        "LAB_DIRECTORY": str(directory.root),
    }
