"""An API server for tests: objects in memory, the few rules of server-side apply that matter here, and real TLS.

The rules are the real server's, as tests/engine/test_flux.py meets them; here they can be brought about at will.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import ssl
import tempfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Answer = tuple[int, dict[str, Any]]
RESOURCES = {
    "/api/v1": [("configmaps", "ConfigMap", True), ("secrets", "Secret", True), ("pods", "Pod", True)],
    "/apis/apps/v1": [("deployments", "Deployment", True), ("deployments/status", "Deployment", True)],
    "/apis/source.toolkit.fluxcd.io/v1": [("gitrepositories", "GitRepository", True)],
}


class ApiServer:
    """Answers on the loopback device while it is entered."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str]] = []
        """Method and target of every request."""
        self.answers: list[Answer] = []
        """What is answered next, whatever is asked."""
        self.on_get: Callable[[str], None] = lambda _: None
        self.normal: Callable[[dict[str, str]], dict[str, str]] = dict
        """How the server writes what it is given."""
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self._authority = Authority(folder)
        self._client = self._authority.pair("client")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self._authority.pair("server"))
        context.load_verify_locations(self._authority.file)
        context.verify_mode = ssl.CERT_REQUIRED
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.address = f"https://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> ApiServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()

    def kubeconfig(self, authority: Path | None = None) -> str:
        certificate, key = self._client

        def data(file: Path) -> str:
            return base64.b64encode(file.read_bytes()).decode()

        cluster = {"server": self.address, "certificate-authority-data": data(authority or self._authority.file)}
        user = {"client-certificate-data": data(certificate), "client-key-data": data(key)}
        return yaml.safe_dump(
            {
                "current-context": "admin@x",
                "contexts": [{"name": "admin@x", "context": {"cluster": "x", "user": "admin"}}],
                "clusters": [{"name": "x", "cluster": cluster}],
                "users": [{"name": "admin", "user": user}],
            }
        )

    def answer(self, method: str, target: str, body: dict[str, Any]) -> Answer:
        self.asked.append((method, target))
        if self.answers:
            return self.answers.pop(0)
        url = urlsplit(target)
        if url.path in RESOURCES:
            found = [{"name": name, "kind": kind, "namespaced": spaced} for name, kind, spaced in RESOURCES[url.path]]
            return 200, {"resources": found}
        if method == "PATCH":
            query = parse_qs(url.query)
            before = self.objects.get(url.path)
            answer = self._apply(url.path, body, force=query["force"] == ["true"])
            if "dryRun" in query and before is not None:
                self.objects[url.path] = before
            return answer
        if method == "GET":
            self.on_get(url.path)
        if url.path.endswith("/pods"):
            return 200, {"items": []}
        if url.path not in self.objects:
            return 404, {"message": f"{url.path} not found", "reason": "NotFound"}
        if method == "DELETE":
            if self.objects[url.path]["metadata"].get("finalizers"):
                return 200, self.objects[url.path]
            return 200, self.objects.pop(url.path)
        return 200, self.objects[url.path]

    def _apply(self, path: str, body: dict[str, Any], *, force: bool) -> Answer:
        there = self.objects.get(path, {})
        theirs = there.get("owned by another", {})
        causes = [
            {
                "field": f".data.{key}",
                "message": 'conflict with "kubectl-edit" using v1',
                "reason": "FieldManagerConflict",
            }
            for key, value in theirs.items()
            if body["data"].get(key, value) != value
        ]
        if causes and not force:
            return 409, {"message": "Apply failed with 1 conflict", "reason": "Conflict", "details": {"causes": causes}}
        self.objects[path] = {**there, **body, "data": self.normal({**there.get("data", {}), **body.get("data", {})})}
        return 200, self.objects[path]


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
        self.file = folder / "ca.pem"
        self.file.write_bytes(self._certificate(self._name, self._key, authority=True))

    def pair(self, name: str) -> tuple[Path, Path]:
        """The files of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, secret = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate.write_bytes(self._certificate(subject, key, authority=False))
        form, encoding = serialization.PrivateFormat.TraditionalOpenSSL, serialization.Encoding.PEM
        secret.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
        return certificate, secret

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool) -> bytes:
        now = datetime.datetime.now(datetime.timezone.utc)
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        usage = x509.KeyUsage(True, False, False, False, False, authority, authority, False, False)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .add_extension(own, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False)
            .add_extension(usage, critical=True)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _handler(server: ApiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            status, answer = server.answer(self.command, self.path, body)
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_PATCH = do_DELETE = _any  # noqa: N815 - the standard library's names

        def log_message(self, *_: object) -> None:
            pass

    return Handler
