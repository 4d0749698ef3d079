package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/api/common"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"cluster-stack/lab/node/internal/etcd"
	"cluster-stack/lab/node/internal/services"
)

const (
	snapshotChunk = 32 << 10
	// serviceStep is how often a service is looked at that is about to end.
	serviceStep = 20 * time.Millisecond
)

// member is this control plane's etcd member, prepared at least.
func (s *Server) member(what string) (*etcd.Member, error) {
	if err := s.node.CheckControlPlane(what); err != nil {
		return nil, err
	}

	member := s.node.Etcd.Load()
	if member == nil {
		return nil, status.Error(codes.FailedPrecondition, "etcd is not ready yet")
	}

	return member, nil
}

// local asks this machine's own member.
func (s *Server) local(what string) (*etcd.Member, *clientv3.Client, error) {
	member, err := s.member(what)
	if err != nil {
		return nil, nil, err
	}

	client, err := member.LocalClient()
	if err != nil {
		return nil, nil, fmt.Errorf("failed to create etcd client: %w", err)
	}

	return member, client, nil
}

// anyMember asks the members on any known control plane.
func (s *Server) anyMember(what string) (*clientv3.Client, error) {
	member, err := s.member(what)
	if err != nil {
		return nil, err
	}

	client, err := member.Client(s.node.ControlPlanes())
	if err != nil {
		return nil, fmt.Errorf("failed to create etcd client: %w", err)
	}

	return client, nil
}

// EtcdMemberList answers the members.
func (s *Server) EtcdMemberList(ctx context.Context, in *machine.EtcdMemberListRequest) (*machine.EtcdMemberListResponse, error) {
	const what = "member list"

	var (
		client *clientv3.Client
		err    error
	)

	if in.QueryLocal {
		_, client, err = s.local(what)
	} else {
		client, err = s.anyMember(what)
	}

	if err != nil {
		return nil, err
	}

	defer client.Close() //nolint:errcheck

	list, err := client.MemberList(clientv3.WithRequireLeader(ctx))
	if err != nil {
		return nil, err
	}

	members := &machine.EtcdMembers{}

	for _, member := range list.Members {
		members.LegacyMembers = append(members.LegacyMembers, member.Name)
		members.Members = append(members.Members, &machine.EtcdMember{
			Id: member.ID, Hostname: member.Name, PeerUrls: member.PeerURLs, ClientUrls: member.ClientURLs,
			IsLearner: member.IsLearner,
		})
	}

	return &machine.EtcdMemberListResponse{Messages: []*machine.EtcdMembers{members}}, nil
}

// EtcdStatus answers the state of this machine's member.
func (s *Server) EtcdStatus(ctx context.Context, _ *emptypb.Empty) (*machine.EtcdStatusResponse, error) {
	member, client, err := s.local("etcd status")
	if err != nil {
		return nil, err
	}

	defer client.Close() //nolint:errcheck

	current, err := client.Status(ctx, member.Endpoint())
	if err != nil {
		return nil, fmt.Errorf("failed to query etcd status: %w", err)
	}

	return &machine.EtcdStatusResponse{Messages: []*machine.EtcdStatus{{MemberStatus: &machine.EtcdMemberStatus{
		MemberId: current.Header.MemberId, ProtocolVersion: current.Version, DbSize: current.DbSize,
		DbSizeInUse: current.DbSizeInUse, Leader: current.Leader, RaftIndex: current.RaftIndex, RaftTerm: current.RaftTerm,
		RaftAppliedIndex: current.RaftAppliedIndex, StorageVersion: current.StorageVersion, Errors: current.Errors,
		IsLearner: current.IsLearner,
	}}}}, nil
}

// EtcdRemoveMemberByID removes a member, whichever.
func (s *Server) EtcdRemoveMemberByID(
	ctx context.Context, in *machine.EtcdRemoveMemberByIDRequest,
) (*machine.EtcdRemoveMemberByIDResponse, error) {
	client, err := s.anyMember("etcd remove member")
	if err != nil {
		return nil, err
	}

	defer client.Close() //nolint:errcheck

	if _, err := client.MemberRemove(clientv3.WithRequireLeader(ctx), in.MemberId); err != nil {
		err = fmt.Errorf("failed to remove member %d: %w", in.MemberId, err)

		if errors.Is(err, rpctypes.ErrMemberNotFound) {
			return nil, status.Error(codes.NotFound, err.Error())
		}

		return nil, fmt.Errorf("failed to remove member: %w", err)
	}

	return &machine.EtcdRemoveMemberByIDResponse{Messages: []*machine.EtcdRemoveMemberByID{{}}}, nil
}

// EtcdLeaveCluster removes this machine's member and its data.
func (s *Server) EtcdLeaveCluster(ctx context.Context, _ *machine.EtcdLeaveClusterRequest) (*machine.EtcdLeaveClusterResponse, error) {
	member, err := s.member("etcd leave")
	if err != nil {
		return nil, err
	}

	if err := member.Leave(ctx, s.node.ControlPlanes()); err != nil {
		return nil, err
	}

	// Talos answers when the service has ended.
	for !s.node.Services.Is("etcd", services.Finished) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.ended:
			return nil, status.Error(codes.Unavailable, "the machine is going down")
		case <-time.After(serviceStep):
		}
	}

	return &machine.EtcdLeaveClusterResponse{Messages: []*machine.EtcdLeaveCluster{{}}}, nil
}

// EtcdForfeitLeadership hands the leadership on.
func (s *Server) EtcdForfeitLeadership(
	ctx context.Context, _ *machine.EtcdForfeitLeadershipRequest,
) (*machine.EtcdForfeitLeadershipResponse, error) {
	member, err := s.member("etcd forfeit leadership")
	if err != nil {
		return nil, err
	}

	leader, err := member.ForfeitLeadership(clientv3.WithRequireLeader(ctx))
	if err != nil {
		return nil, fmt.Errorf("failed to forfeit leadership: %w", err)
	}

	return &machine.EtcdForfeitLeadershipResponse{Messages: []*machine.EtcdForfeitLeadership{{Member: leader}}}, nil
}

// EtcdSnapshot streams a snapshot of this machine's member.
func (s *Server) EtcdSnapshot(_ *machine.EtcdSnapshotRequest, stream grpc.ServerStreamingServer[common.Data]) error {
	_, client, err := s.local("etcd snapshot")
	if err != nil {
		return err
	}

	defer client.Close() //nolint:errcheck

	reader, err := client.Snapshot(stream.Context())
	if err != nil {
		return fmt.Errorf("failed reading etcd snapshot: %w", err)
	}

	defer reader.Close() //nolint:errcheck

	buffer := make([]byte, snapshotChunk)

	for {
		n, err := reader.Read(buffer)
		if n > 0 {
			if err := stream.Send(&common.Data{Bytes: append([]byte(nil), buffer[:n]...)}); err != nil {
				return err
			}
		}

		if errors.Is(err, io.EOF) {
			return nil
		}

		if err != nil {
			return fmt.Errorf("failed reading etcd snapshot: %w", err)
		}
	}
}

// EtcdRecover receives a snapshot for a later bootstrap.
func (s *Server) EtcdRecover(stream grpc.ClientStreamingServer[common.Data, machine.EtcdRecoverResponse]) error {
	member, err := s.member("etcd recover")
	if err != nil {
		return err
	}

	path := member.RecoveryPath()

	if err := receive(stream, path); err != nil {
		os.Remove(path) //nolint:errcheck

		return err
	}

	return stream.SendAndClose(&machine.EtcdRecoverResponse{Messages: []*machine.EtcdRecover{{}}})
}

func receive(stream grpc.ClientStreamingServer[common.Data, machine.EtcdRecoverResponse], path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("error creating etcd recovery snapshot: %w", err)
	}

	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return file.Close()
		}

		if err == nil {
			_, err = file.Write(message.Bytes)
		}

		if err != nil {
			file.Close() //nolint:errcheck

			return fmt.Errorf("error writing snapshot: %w", err)
		}
	}
}

// EtcdAlarmList answers the alarms.
func (s *Server) EtcdAlarmList(ctx context.Context, _ *emptypb.Empty) (*machine.EtcdAlarmListResponse, error) {
	_, client, err := s.local("etcd alarm list")
	if err != nil {
		return nil, err
	}

	defer client.Close() //nolint:errcheck

	alarms, err := client.AlarmList(ctx)
	if err != nil {
		return nil, fmt.Errorf("failed to list etcd alarms: %w", err)
	}

	return &machine.EtcdAlarmListResponse{Messages: []*machine.EtcdAlarm{{MemberAlarms: memberAlarms(alarms.Alarms)}}}, nil
}

// EtcdAlarmDisarm disarms the alarms.
func (s *Server) EtcdAlarmDisarm(ctx context.Context, _ *emptypb.Empty) (*machine.EtcdAlarmDisarmResponse, error) {
	_, client, err := s.local("etcd alarm disarm")
	if err != nil {
		return nil, err
	}

	defer client.Close() //nolint:errcheck

	alarms, err := client.AlarmDisarm(ctx, &clientv3.AlarmMember{})
	if err != nil {
		return nil, fmt.Errorf("failed to disarm etcd alarm: %w", err)
	}

	return &machine.EtcdAlarmDisarmResponse{Messages: []*machine.EtcdAlarmDisarm{{MemberAlarms: memberAlarms(alarms.Alarms)}}}, nil
}

func memberAlarms(alarms []*etcdserverpb.AlarmMember) []*machine.EtcdMemberAlarm {
	mapped := make([]*machine.EtcdMemberAlarm, 0, len(alarms))

	for _, alarm := range alarms {
		mapped = append(mapped, &machine.EtcdMemberAlarm{
			MemberId: alarm.MemberID, Alarm: machine.EtcdMemberAlarm_AlarmType(alarm.Alarm),
		})
	}

	return mapped
}

// EtcdDefragment defragments this machine's member.
func (s *Server) EtcdDefragment(ctx context.Context, _ *emptypb.Empty) (*machine.EtcdDefragmentResponse, error) {
	member, client, err := s.local("etcd defragment")
	if err != nil {
		return nil, err
	}

	defer client.Close() //nolint:errcheck

	if _, err := client.Defragment(ctx, member.Endpoint()); err != nil {
		return nil, fmt.Errorf("failed to defragment etcd: %w", err)
	}

	return &machine.EtcdDefragmentResponse{Messages: []*machine.EtcdDefragment{{}}}, nil
}
