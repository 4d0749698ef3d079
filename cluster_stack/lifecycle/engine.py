"""The engine, as a provider sees it: where a line about a resource is shown."""

from __future__ import annotations

import contextlib

import grpc
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc


class Engine:
    """The engine that started this provider."""

    def __init__(self, address: str) -> None:
        """``address`` is empty where a person started the provider to attach to it; then nothing is shown."""
        self._stub = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address)) if address else None

    def show(self, urn: str, line: str) -> None:
        """On the resource's own line, until the next one."""
        if self._stub is None:
            return
        request = engine_pb2.LogRequest(severity=engine_pb2.INFO, message=line, urn=urn, ephemeral=True)
        # What is being waited for goes on when it cannot be shown.
        with contextlib.suppress(grpc.RpcError):
            self._stub.Log(request, timeout=5)
