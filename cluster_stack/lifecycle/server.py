"""Pulumi's provider protocol: which resource type a request is for, and what the engine gets to read.

Every call runs in a thread of its own. What a resource type raises as LifecycleError reaches the user as that sentence.
The engine sends secrets in clear and marks what comes back by what it sent, so nothing here tells them apart.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2, empty_pb2
from google.rpc import status_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from cluster_stack.lifecycle.difference import difference
from cluster_stack.lifecycle.engine import Engine
from cluster_stack.lifecycle.errors import LifecycleError, UnfinishedError
from cluster_stack.lifecycle.names import PACKAGE
from cluster_stack.lifecycle.resource import ResourceType
from cluster_stack.lifecycle.values import from_engine, to_engine
from cluster_stack.lifecycle.waiting import Waiting

VERSION = "0.1.0"
_READ_SECONDS = 30.0
_THREADS = 512
"""More than the engine ever does at once: a call that waits must not keep one out that ends it."""
_ANY_SIZE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """The provider of one update, preview or destroy."""

    def __init__(self, engine: Engine, types_of: Callable[[Mapping[str, Any]], Mapping[str, ResourceType]]) -> None:
        """``types_of`` makes the resource types, by their tokens, from the provider's own inputs."""
        self._engine = engine
        self._types_of = types_of
        self._types = types_of({})
        self._cancelled = threading.Event()

    # Of the provider itself

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version=VERSION)

    def GetSchema(self, request: Any, context: Any) -> Any:
        return provider_pb2.GetSchemaResponse(schema=f'{{"name": "{PACKAGE}", "version": "{VERSION}"}}')

    def Attach(self, request: Any, context: Any) -> Any:
        self._engine = Engine(request.address)
        return empty_pb2.Empty()

    def CheckConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        """Another kubeconfig is another way to the same cluster, never a reason to make its objects anew."""
        return difference(from_engine(request.old_inputs), from_engine(request.news), [])

    def Configure(self, request: Any, context: Any) -> Any:
        self._types = self._types_of(from_engine(request.args))
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    def Cancel(self, request: Any, context: Any) -> Any:
        self._cancelled.set()
        return empty_pb2.Empty()

    # Of resources

    def Check(self, request: Any, context: Any) -> Any:
        found = self._type(request.urn).check(from_engine(request.news))
        failures = [provider_pb2.CheckFailure(property=key, reason=sentence) for key, sentence in found]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    def Diff(self, request: Any, context: Any) -> Any:
        old, new = from_engine(request.old_inputs), from_engine(request.news)
        return difference(old, new, self._type(request.urn).replacing(old, new))

    def Create(self, request: Any, context: Any) -> Any:
        if request.preview:
            return provider_pb2.CreateResponse()
        kind, inputs = self._type(request.urn), from_engine(request.properties)
        identity = kind.identity(inputs)
        try:
            kind.create(inputs, self._waiting(request))
        except UnfinishedError as error:
            _unfinished(context, identity, inputs, error)
        except LifecycleError as error:
            _failed(context, error)
        return provider_pb2.CreateResponse(id=identity)

    def Update(self, request: Any, context: Any) -> Any:
        if request.preview:
            return provider_pb2.UpdateResponse()
        kind, old, new = self._type(request.urn), from_engine(request.old_inputs), from_engine(request.news)
        try:
            kind.update(old, new, self._waiting(request))
        except UnfinishedError as error:
            _unfinished(context, request.id, new, error)
        except LifecycleError as error:
            _failed(context, error)
        return provider_pb2.UpdateResponse()

    def Read(self, request: Any, context: Any) -> Any:
        kind, inputs = self._type(request.urn), from_engine(request.inputs)
        try:
            found = kind.read(inputs, self._waiting(request, _READ_SECONDS))
        except LifecycleError as error:
            _failed(context, error)
        if found is None:
            return provider_pb2.ReadResponse()
        # Without any properties, even none, the engine takes the resource for gone.
        return provider_pb2.ReadResponse(id=request.id, properties=to_engine({}), inputs=to_engine(found))

    def Delete(self, request: Any, context: Any) -> Any:
        try:
            self._type(request.urn).delete(from_engine(request.old_inputs), self._waiting(request))
        except LifecycleError as error:
            _failed(context, error)
        return empty_pb2.Empty()

    def _type(self, urn: str) -> ResourceType:
        # urn:pulumi:<stack>::<project>::<types of the parents, and its own, with $ between them>::<name>
        return self._types[urn.split("::")[2].rpartition("$")[2]]

    def _waiting(self, request: Any, seconds: float = 0) -> Waiting:
        return Waiting(request.timeout or seconds, self._cancelled, lambda line: self._engine.show(request.urn, line))


def _failed(context: grpc.ServicerContext, error: LifecycleError) -> NoReturn:
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
    raise AssertionError("an aborted call ends")


def _unfinished(
    context: grpc.ServicerContext, identity: str, inputs: Mapping[str, Any], error: UnfinishedError
) -> NoReturn:
    """The engine remembers the resource with the sentence, and the next update updates it, changed or not."""
    detail = provider_pb2.ErrorResourceInitFailed(id=identity, reasons=[str(error)], inputs=to_engine(inputs))
    detail.properties.SetInParent()
    packed = any_pb2.Any()
    packed.Pack(detail)
    code = grpc.StatusCode.UNKNOWN
    status = status_pb2.Status(code=code.value[0], message=str(error), details=[packed])
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, str(error))
    raise AssertionError("an aborted call ends")


def serve(provider: Provider) -> tuple[grpc.Server, int]:
    """Start to serve, on a port of the loopback device that is free."""
    server = grpc.server(futures.ThreadPoolExecutor(_THREADS), options=_ANY_SIZE)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port
