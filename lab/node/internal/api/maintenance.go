package api

import (
	"context"
	"fmt"
	"slices"
	"strings"

	cosiapi "github.com/cosi-project/runtime/api/v1alpha1"
	"github.com/cosi-project/runtime/pkg/state/protobuf/server"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/api/storage"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"cluster-stack/lab/node/internal/authz"
	"cluster-stack/lab/node/internal/cosi"
	"cluster-stack/lab/node/internal/node"
	"cluster-stack/lab/node/internal/settings"
)

// Maintenance is the separate maintenance server of Talos 1.12 and older: few
// calls, and fewer apply modes.
type Maintenance struct {
	machine.UnimplementedMachineServiceServer

	node *node.Node
}

// NewMaintenance makes the gRPC server of an unconfigured older machine.
func NewMaintenance(ctx context.Context, node *node.Node) *grpc.Server {
	options := append(authz.Interceptors(authz.Metadata, nil), grpc.MaxRecvMsgSize(constants.GRPCMaxMessageSize))
	grpcServer := grpc.NewServer(options...)

	machine.RegisterMachineServiceServer(grpcServer, &Maintenance{node: node})
	storage.RegisterStorageServiceServer(grpcServer, &Server{node: node, ended: ctx.Done()})
	cosiapi.RegisterStateServer(grpcServer, server.NewState(cosi.ForClients(node.Resources)))

	return grpcServer
}

var errMaintenance = status.Error(codes.Unimplemented, "API is not implemented in maintenance mode")

// ApplyConfiguration leaves maintenance mode with the configuration.
func (m *Maintenance) ApplyConfiguration(ctx context.Context, in *applyRequest) (*applyResponse, error) {
	switch in.Mode {
	case machine.ApplyConfigurationRequest_TRY, machine.ApplyConfigurationRequest_REBOOT, machine.ApplyConfigurationRequest_AUTO:
	default:
		return nil, status.Errorf(codes.Unimplemented, "apply configuration --mode='%s' is not supported in maintenance mode",
			strings.ReplaceAll(strings.ToLower(in.Mode.String()), "_", "-"))
	}

	if !m.node.InMaintenance() {
		return nil, status.Error(codes.FailedPrecondition, "the machine has a configuration already")
	}

	next, err := settings.Decode(in.Data, m.node.Version)
	if err != nil {
		// without a status code of its own: older nodes answer Unknown here
		return nil, fmt.Errorf("failed to parse config: %w", err)
	}

	// older nodes want machine.install even when the system is installed
	mode := settings.NewMode(m.node.Image.Platform, false)

	warnings, err := next.Validate(mode)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "configuration validation failed: %s", err)
	}

	runtimeWarnings, err := next.RuntimeValidate(ctx, m.node.Resources, mode)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "runtime configuration validation failed: %s", err)
	}

	answer := &applyResponse{Messages: []*machine.ApplyConfiguration{{Warnings: slices.Concat(warnings, runtimeWarnings)}}}

	if in.DryRun {
		answer.Messages[0].ModeDetails = "Dry run summary:\nNode is running in maintenance mode and does not have a config yet."

		return answer, nil
	}

	if err := m.node.SetPersistent(next); err != nil {
		return nil, err
	}

	return answer, m.node.SetActive(next)
}

// GenerateClientConfiguration needs the cluster's authority.
func (m *Maintenance) GenerateClientConfiguration(
	context.Context, *machine.GenerateClientConfigurationRequest,
) (*machine.GenerateClientConfigurationResponse, error) {
	return nil, status.Error(codes.Unimplemented, "client configuration (talosconfig) can't be generated in the maintenance mode")
}

// Version is for administrators over SideroLink only.
func (m *Maintenance) Version(context.Context, *emptypb.Empty) (*machine.VersionResponse, error) {
	return nil, errMaintenance
}

// Upgrade is for administrators over SideroLink only.
func (m *Maintenance) Upgrade(context.Context, *machine.UpgradeRequest) (*machine.UpgradeResponse, error) {
	return nil, errMaintenance
}

// Reset is for administrators over SideroLink only.
func (m *Maintenance) Reset(context.Context, *machine.ResetRequest) (*machine.ResetResponse, error) {
	return nil, errMaintenance
}

// MetaWrite is for administrators over SideroLink only.
func (m *Maintenance) MetaWrite(context.Context, *machine.MetaWriteRequest) (*machine.MetaWriteResponse, error) {
	return nil, errMaintenance
}

// MetaDelete is for administrators over SideroLink only.
func (m *Maintenance) MetaDelete(context.Context, *machine.MetaDeleteRequest) (*machine.MetaDeleteResponse, error) {
	return nil, errMaintenance
}
