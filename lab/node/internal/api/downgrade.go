package api

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// The oldest version of etcd that knows downgrades.
const oldestMajor, oldestMinor = 3, 5

// EtcdDowngradeValidate asks whether etcd could go back to a version.
func (s *Server) EtcdDowngradeValidate(
	ctx context.Context, in *machine.EtcdDowngradeValidateRequest,
) (*machine.EtcdDowngradeValidateResponse, error) {
	version, err := s.downgrade(ctx, "etcd downgrade validate", clientv3.DowngradeValidate, in.Version)

	return &machine.EtcdDowngradeValidateResponse{
		Messages: []*machine.EtcdDowngradeValidate{{ClusterDowngrade: version}},
	}, err
}

// EtcdDowngradeEnable has etcd go back to a version.
func (s *Server) EtcdDowngradeEnable(
	ctx context.Context, in *machine.EtcdDowngradeEnableRequest,
) (*machine.EtcdDowngradeEnableResponse, error) {
	version, err := s.downgrade(ctx, "etcd downgrade enable", clientv3.DowngradeEnable, in.Version)

	return &machine.EtcdDowngradeEnableResponse{Messages: []*machine.EtcdDowngradeEnable{{ClusterDowngrade: version}}}, err
}

// EtcdDowngradeCancel has etcd stay.
func (s *Server) EtcdDowngradeCancel(ctx context.Context, _ *emptypb.Empty) (*machine.EtcdDowngradeCancelResponse, error) {
	version, err := s.downgrade(ctx, "etcd downgrade cancel", clientv3.DowngradeCancel, "")

	return &machine.EtcdDowngradeCancelResponse{Messages: []*machine.EtcdDowngradeCancel{{ClusterDowngrade: version}}}, err
}

func (s *Server) downgrade(
	ctx context.Context, what string, action clientv3.DowngradeAction, version string,
) (*machine.EtcdClusterDowngrade, error) {
	if err := s.node.CheckControlPlane(what); err != nil {
		return nil, err
	}

	if action != clientv3.DowngradeCancel {
		if err := validateDowngrade(version); err != nil {
			return nil, err
		}
	}

	_, client, err := s.local(what)
	if err != nil {
		return nil, err
	}

	defer client.Close() //nolint:errcheck

	answer, err := client.Downgrade(ctx, action, version)
	if err != nil {
		return nil, fmt.Errorf("failed to query etcd status: %w", err)
	}

	return &machine.EtcdClusterDowngrade{ClusterVersion: answer.Version}, nil
}

func validateDowngrade(version string) error {
	if version == "" {
		return status.Error(codes.InvalidArgument, "version is required for etcd downgrade")
	}

	first, second, found := strings.Cut(version, ".")
	if !found || strings.Contains(second, ".") {
		return status.Error(codes.InvalidArgument, "version should be in MAJOR.MINOR format")
	}

	major, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return status.Error(codes.InvalidArgument, "major version should be a number")
	}

	minor, err := strconv.ParseInt(second, 10, 64)
	if err != nil {
		return status.Error(codes.InvalidArgument, "minor version should be a number")
	}

	if major < oldestMajor || (major == oldestMajor && minor < oldestMinor) {
		return status.Error(codes.InvalidArgument, "etcd downgrade is only supported to 3.5 and later versions")
	}

	return nil
}
