"""The Kubernetes API, as far as this project needs it: discovery, and four verbs.

The standard library, like ``cluster_stack.proxmox_api``: a server-side apply is one PATCH, and a client library would
bring a dozen packages and a second of import time into every preview for it.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import ssl
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import yaml

from cluster_stack.lifecycle.errors import LifecycleError

TIMEOUT_SECONDS = 15
FIELD_MANAGER = "cluster-stack"
"""Under this name the API server remembers which fields are ours."""
_APPLY = "application/apply-patch+yaml"
_GONE_FOR_A_WHILE = (429, 500, 502, 503, 504)
"""Statuses with which a server that starts, or has no etcd for a moment, answers."""


class UnavailableError(Exception):
    """No answer, or none that says anything of the request: it may be another one in a moment."""


class RefusedError(Exception):
    """The API server's answer is no. The text is its own sentence."""

    def __init__(self, status: int, answer: Mapping[str, Any]) -> None:
        self.status = status
        self.reason = str(answer.get("reason", ""))
        details = answer.get("details") or {}
        self.causes: list[Mapping[str, str]] = details.get("causes") or []
        super().__init__(str(answer.get("message") or f"status {status}"))


class UnknownKindError(Exception):
    """The API server knows no such kind: its CustomResourceDefinition is not there, or not yet."""


@dataclass(frozen=True)
class Kind:
    """Where the objects of a kind are."""

    prefix: str
    """``/api/v1`` or ``/apis/<group>/<version>``."""
    plural: str
    namespaced: bool

    def path(self, namespace: str, name: str = "") -> str:
        place = f"/namespaces/{quote(namespace, safe='')}" if self.namespaced else ""
        return f"{self.prefix}{place}/{self.plural}" + (f"/{quote(name, safe='')}" if name else "")


@dataclass(frozen=True)
class Kubeconfig:
    """The parts of a kubeconfig file as Talos writes it: one cluster, one user with a certificate. All are PEM."""

    server: str
    authority: str
    certificate: str
    key: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Kubeconfig:
        """Raises LifecycleError, without anything of the text."""
        try:
            data = yaml.safe_load(text)
            named = {kind: {one["name"]: one for one in data[kind]} for kind in ("contexts", "clusters", "users")}
            context = named["contexts"][data["current-context"]]["context"]
            cluster, user = named["clusters"][context["cluster"]]["cluster"], named["users"][context["user"]]["user"]
            pems = (cluster["certificate-authority-data"], user["client-certificate-data"], user["client-key-data"])
            return cls(cluster["server"], *(base64.b64decode(pem, validate=True).decode() for pem in pems))
        except (yaml.YAMLError, KeyError, TypeError, ValueError, binascii.Error):
            what = "the kubeconfig is not one that Talos makes: a server, and a certificate with its key in the file."
            raise LifecycleError(what) from None


class KubernetesApi:
    """One API server, asked from several threads at the same time."""

    def __init__(self, kubeconfig: Kubeconfig) -> None:
        self.server = kubeconfig.server
        url = urlsplit(kubeconfig.server)
        self._address = (url.hostname or "", url.port or 443)
        self._tls = _tls(kubeconfig)
        self._kinds: dict[str, dict[str, Kind]] = {}
        self._lock = threading.Lock()

    def kind(self, api_version: str, kind: str) -> Kind:
        """Raises UnknownKindError, UnavailableError, RefusedError."""
        with self._lock:
            known = self._kinds.get(api_version, {})
        if kind not in known:
            known = self._discovered(api_version)
            if kind not in known:
                raise UnknownKindError(f"the API server knows no {kind} of {api_version}")
            with self._lock:
                self._kinds[api_version] = known
        return known[kind]

    def _discovered(self, api_version: str) -> dict[str, Kind]:
        prefix = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        try:
            answer = self._request("GET", prefix)
        except RefusedError as error:
            if error.status == 404:
                return {}
            raise
        # Those with a slash are parts of an object, like its status.
        resources = [one for one in answer["resources"] if "/" not in one["name"]]
        return {one["kind"]: Kind(prefix, one["name"], bool(one["namespaced"])) for one in resources}

    def get(self, path: str, **parameters: str) -> dict[str, Any] | None:
        """None where there is no such thing. Raises UnavailableError, RefusedError."""
        try:
            return self._request("GET", path, parameters)
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    def apply(self, path: str, manifest: Mapping[str, Any], *, force: bool, for_show: bool = False) -> dict[str, Any]:
        """A server-side apply: what it becomes, or would. ``force`` takes fields from others. Raises as ``get``."""
        parameters = {"fieldManager": FIELD_MANAGER, "force": str(force).lower(), "fieldValidation": "Strict"}
        parameters |= {"dryRun": "All"} if for_show else {}
        return self._request("PATCH", path, parameters, json.dumps(manifest), _APPLY)

    def delete(self, path: str) -> bool:
        """Begin to delete; False where there is no such thing. Raises as ``get``."""
        options = json.dumps({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"})
        try:
            self._request("DELETE", path, {}, options, "application/json")
        except RefusedError as error:
            if error.status == 404:
                return False
            raise
        return True

    def _request(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: str | None = None,
        content: str = "",
    ) -> dict[str, Any]:
        target = f"{path}?{urlencode(parameters)}" if parameters else path
        headers = {"Accept": "application/json"} | ({"Content-Type": content} if content else {})
        connection = http.client.HTTPSConnection(*self._address, timeout=TIMEOUT_SECONDS, context=self._tls)
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            status, text = response.status, response.read()
        except ssl.SSLCertVerificationError as error:
            # No wait mends it: somebody else answers at this address.
            what = f"{self.server} is not this cluster's API: its certificate is not trusted ({error.verify_message})."
            raise LifecycleError(what) from None
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(_reason(error)) from None
        finally:
            connection.close()
        try:
            answer: dict[str, Any] = json.loads(text)
        except ValueError:
            answer = {}
        if status in _GONE_FOR_A_WHILE:
            raise UnavailableError(str(answer.get("message") or f"status {status}"))
        if status == 401:
            what = (
                f"{self.server} does not accept the certificate of the kubeconfig. Run `pulumi up --refresh`: it reads "
                "the kubeconfig anew."
            )
            raise LifecycleError(what)
        if status >= 400:
            raise RefusedError(status, answer)
        return answer


def _tls(kubeconfig: Kubeconfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=kubeconfig.authority)
        # The standard library reads a certificate and its key from a file only.
        with tempfile.TemporaryDirectory(prefix="cluster-stack-") as folder:
            file = Path(folder) / "client.pem"
            file.touch(mode=0o600)
            file.write_text(f"{kubeconfig.certificate}\n{kubeconfig.key}")
            context.load_cert_chain(file)
    except (ssl.SSLError, ValueError):
        raise LifecycleError("the certificates of the kubeconfig cannot be read.") from None
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS} s"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
