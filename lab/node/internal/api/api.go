// Package api serves the machine's own API (machined): the official generated
// services over what package node knows. Who may call and which node a call is
// for has been settled before by apid and package authz.
package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	cosiapi "github.com/cosi-project/runtime/api/v1alpha1"
	"github.com/cosi-project/runtime/pkg/state/protobuf/server"
	"github.com/siderolabs/talos/pkg/machinery/api/cluster"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/api/storage"
	timeapi "github.com/siderolabs/talos/pkg/machinery/api/time"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cluster-stack/lab/node/internal/authz"
	"cluster-stack/lab/node/internal/cosi"
	"cluster-stack/lab/node/internal/node"
)

// Server implements the services of a configured machine, and since Talos 1.13
// also those of one in maintenance mode.
type Server struct {
	machine.UnimplementedMachineServiceServer
	cluster.UnimplementedClusterServiceServer
	storage.UnimplementedStorageServiceServer
	timeapi.UnimplementedTimeServiceServer

	node *node.Node
	// ended is closed when the machine goes down: streams end then.
	ended <-chan struct{}
}

// New makes the gRPC server of machined.
func New(ctx context.Context, node *node.Node) *grpc.Server {
	options := append(authz.Interceptors(authz.Metadata, authz.Rules), notSimulated()...)
	options = append(options, logged(node.Logs.Service("machined").Append)...)
	grpcServer := grpc.NewServer(append(options, grpc.MaxRecvMsgSize(constants.GRPCMaxMessageSize))...)
	api := &Server{node: node, ended: ctx.Done()}

	machine.RegisterMachineServiceServer(grpcServer, api)
	cluster.RegisterClusterServiceServer(grpcServer, api)
	storage.RegisterStorageServiceServer(grpcServer, api)
	timeapi.RegisterTimeServiceServer(grpcServer, api)
	cosiapi.RegisterStateServer(grpcServer, server.NewState(cosi.ForClients(node.Resources)))

	if node.Version.UpgradeAPI() {
		machine.RegisterLifecycleServiceServer(grpcServer, &lifecycleServer{node: node})
		machine.RegisterImageServiceServer(grpcServer, &imageServer{node: node})
	}

	return grpcServer
}

// sinceUpgradeAPI are the services that older nodes of Talos do not have: gRPC
// itself refuses them there.
var sinceUpgradeAPI = []string{machine.LifecycleService_ServiceDesc.ServiceName, machine.ImageService_ServiceDesc.ServiceName}

// notSimulated words the refusal of calls that the lab's node does not serve.
func notSimulated() []grpc.ServerOption {
	word := func(err error, method string) error {
		current := status.Convert(err)
		if current.Code() == codes.Unimplemented && strings.HasSuffix(current.Message(), "not implemented") {
			return status.Errorf(codes.Unimplemented, "%s is not simulated: this is a node of the lab, not a Talos machine", method)
		}

		return err
	}

	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			reply, err := handler(ctx, request)
			if err != nil {
				return nil, word(err, info.FullMethod)
			}

			return reply, nil
		}),
		grpc.ChainStreamInterceptor(func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			if err := handler(server, stream); err != nil {
				return word(err, info.FullMethod)
			}

			return nil
		}),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			method, _ := grpc.MethodFromServerStream(stream)

			if service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/"); slices.Contains(sinceUpgradeAPI, service) {
				return status.Errorf(codes.Unimplemented, "unknown service %s", service)
			}

			return status.Errorf(codes.Unimplemented, "%s is not simulated: this is a node of the lab, not a Talos machine", method)
		}),
	}
}

// logged writes each call into the log of machined, as Talos does.
func logged(write func(line string)) []grpc.ServerOption {
	tell := func(method string, began time.Time, err error) {
		outcome := "Success"
		if err != nil {
			outcome = err.Error()
		}

		write(fmt.Sprintf("%s [%s] %s %s", status.Code(err), method, time.Since(began), outcome))
	}

	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			began := time.Now()
			reply, err := handler(ctx, request)
			tell(info.FullMethod, began, err)

			return reply, err
		}),
		grpc.ChainStreamInterceptor(func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			began := time.Now()
			err := handler(server, stream)
			tell(info.FullMethod, began, err)

			return err
		}),
	}
}

// until is a context that also ends when the machine goes down.
func (s *Server) until(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)

	go func() {
		select {
		case <-s.ended:
			cancel()
		case <-ctx.Done():
		}
	}()

	return ctx, cancel
}

func (s *Server) unsupported(what string) error {
	return status.Errorf(codes.Unimplemented, "%s is not simulated: the lab's services are started and stopped with the machine", what)
}

// sequenceError words a sequence that cannot be started.
func sequenceError(err error) error {
	if errors.Is(err, node.ErrLocked) {
		return status.Error(codes.FailedPrecondition, fmt.Sprintf("the machine is already going down: %s", err))
	}

	return err
}
