"""The site's own Git server: `https://git.lan/<name>.git` is the bare repository `<folder>/<name>.git`.

A process of its own, because the daemon may wait for none. Git's own `git http-backend` speaks the protocol; this is
the web server before it. Everybody may read, unless there is a file `token` in the repository: then who has that token
as the password, under whatever name, as with the large Git hosts. Nobody can push: who has the folder writes into it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hmac
import os
import ssl
from pathlib import Path

from aiohttp import hdrs, web

HTTPS = 443
TOKEN_FILE = "token"  # noqa: S105 - a name
"""The file in a private repository that holds what must be known to read it."""


class GitServer:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def application(self) -> web.Application:
        application = web.Application(client_max_size=64 << 20)
        application.router.add_route("*", "/{path:.*}", self._answer)
        return application

    async def _answer(self, request: web.Request) -> web.Response:
        """Hand a request to Git, as a web server hands one to a CGI program."""
        if not self._may_read(request):
            return web.Response(status=401, headers={hdrs.WWW_AUTHENTICATE: 'Basic realm="Git"'}, text="Unauthorized")
        body = await request.read()
        variables = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self._folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",  # the repositories may be another user's
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": f"/{request.match_info['path']}",
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        }
        backend = await asyncio.create_subprocess_exec(
            "git", "http-backend", env=variables, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        answer, _ = await backend.communicate(body)
        head, _, content = answer.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(headers.pop("Status", "200").split()[0])
        return web.Response(status=status, headers=headers, body=content)

    def _may_read(self, request: web.Request) -> bool:
        file = self._folder / request.match_info["path"].partition("/")[0] / TOKEN_FILE
        if not file.exists():
            return True
        try:
            given = base64.b64decode(request.headers.get(hdrs.AUTHORIZATION, "").removeprefix("Basic "))
        except ValueError:
            return False
        return hmac.compare_digest(given.partition(b":")[2], file.read_bytes().strip())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.git_server")
    parser.add_argument("--address", required=True)
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--folder", required=True, type=Path)
    arguments = parser.parse_args()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(arguments.certificate, arguments.key)
    web.run_app(
        GitServer(arguments.folder).application(),
        host=arguments.address,
        port=HTTPS,
        ssl_context=context,
        print=None,
        access_log=None,
    )


if __name__ == "__main__":
    main()
