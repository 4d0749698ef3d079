"""The API's failures, in the shape in which Proxmox sends them: a reason phrase, and errors by parameter."""

from __future__ import annotations

from collections.abc import Mapping


class ApiError(Exception):
    """One refused or failed call. The text becomes the HTTP reason phrase, as clients read it there."""

    def __init__(self, status: int, message: str, errors: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message.rstrip("\n")
        self.errors = dict(errors or {})


def failure(message: str) -> ApiError:
    """What a plain `die` in Proxmox's code becomes."""
    return ApiError(500, message)


def parameter_error(errors: Mapping[str, str]) -> ApiError:
    return ApiError(400, "Parameter verification failed.", errors)


def not_permitted(detail: str = "") -> ApiError:
    return ApiError(403, f"Permission check failed ({detail})" if detail else "Permission check failed")


def unauthorized(message: str) -> ApiError:
    return ApiError(401, message)


def not_implemented(method: str, path: str) -> ApiError:
    return ApiError(501, f"Method '{method} {path}' not implemented")


def no_such_guest(node: str, vmid: int) -> ApiError:
    return failure(f"Configuration file 'nodes/{node}/qemu-server/{vmid}.conf' does not exist")
