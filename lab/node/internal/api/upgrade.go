package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/meta"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cluster-stack/lab/node/internal/bootloader"
	"cluster-stack/lab/node/internal/etcd"
	"cluster-stack/lab/node/internal/hardware"
	"cluster-stack/lab/node/internal/images"
	"cluster-stack/lab/node/internal/installer"
	"cluster-stack/lab/node/internal/node"
)

// Upgrade is the upgrade of Talos before 1.13, which 1.13 serves as well: it
// looks after etcd, installs now or at the next boot, and reboots.
func (s *Server) Upgrade(ctx context.Context, in *machine.UpgradeRequest) (*machine.UpgradeResponse, error) {
	if s.node.Disk() == nil {
		return nil, status.Error(codes.FailedPrecondition, "Talos is not installed")
	}

	s.node.Logs.Printf("upgrade request received: staged %v, force %v, reboot mode %v", in.Stage, in.Force, in.RebootMode)
	s.node.Logs.Printf("validating %q", in.Image)

	if _, err := s.node.Images.Pull(ctx, images.InMemory, in.Image); err != nil {
		return nil, fmt.Errorf("error validating installer image %q: %w", in.Image, err)
	}

	if s.node.IsControlPlane() && !in.Force {
		if err := s.checkEtcdForUpgrade(ctx); err != nil {
			return nil, err
		}
	}

	sequence := node.Sequence{Name: "upgrade", Actor: uuid.NewString(), Upgrade: in}

	if in.Stage {
		if err := s.stage(in); err != nil {
			return nil, err
		}

		sequence.Name = "stageUpgrade"
	}

	if err := s.node.Start(sequence); err != nil {
		return nil, sequenceError(err)
	}

	return &machine.UpgradeResponse{Messages: []*machine.Upgrade{{Ack: "Upgrade request received", ActorId: sequence.Actor}}}, nil
}

func (s *Server) checkEtcdForUpgrade(ctx context.Context) error {
	member, err := s.member("upgrade")
	if err != nil {
		return fmt.Errorf("failed to create etcd client: %w", err)
	}

	client, err := member.Client(s.node.ControlPlanes())
	if err != nil {
		return fmt.Errorf("failed to create etcd client: %w", err)
	}

	defer client.Close() //nolint:errcheck

	unlock, err := etcd.LockUpgrade(ctx, client)
	if err != nil {
		return fmt.Errorf("failed to acquire upgrade mutex: %w", err)
	}

	// as in Talos: the lock is for the checks, not for the upgrade
	defer unlock()

	if err := member.ValidateForUpgrade(ctx, client); err != nil {
		return fmt.Errorf("error validating etcd for upgrade: %w", err)
	}

	return nil
}

// stage leaves the upgrade to the next boot.
func (s *Server) stage(in *machine.UpgradeRequest) error {
	options, err := json.Marshal(map[string]any{"Upgrade": true, "Force": false, "Pull": true})
	if err != nil {
		return fmt.Errorf("error serializing install options: %w", err)
	}

	if err := s.node.ChangeMeta(map[uint8]string{
		meta.StagedUpgradeImageRef: in.Image, meta.StagedUpgradeInstallOptions: string(options),
	}); err != nil {
		return fmt.Errorf("error adding staged upgrade image ref tag: %w", err)
	}

	return nil
}

// Rollback boots the other entry.
func (s *Server) Rollback(context.Context, *machine.RollbackRequest) (*machine.RollbackResponse, error) {
	s.node.Logs.Printf("rollback via API received")

	disk := s.node.Disk()
	if disk == nil {
		return nil, status.Error(codes.FailedPrecondition, "system disk not found")
	}

	if err := bootloader.New(s.node.Hardware.Firmware, disk).Revert(); err != nil {
		return nil, err
	}

	if err := s.node.Start(node.Sequence{Name: "reboot", Reboot: &machine.RebootRequest{}}); err != nil {
		return nil, sequenceError(err)
	}

	return &machine.RollbackResponse{Messages: []*machine.Rollback{{}}}, nil
}

// lifecycleServer is the upgrade of Talos 1.13: it installs an image that has
// been pulled before, and leaves etcd, pods and the reboot to the caller.
type lifecycleServer struct {
	machine.UnimplementedLifecycleServiceServer

	node *node.Node
	busy sync.Mutex
}

// Upgrade puts the image beside the running system.
func (s *lifecycleServer) Upgrade(
	in *machine.LifecycleServiceUpgradeRequest, stream grpc.ServerStreamingServer[machine.LifecycleServiceUpgradeResponse],
) error {
	if !s.busy.TryLock() {
		return status.Error(codes.FailedPrecondition, "another installation/upgrade is already in progress")
	}
	defer s.busy.Unlock()

	if s.node.Disk() == nil {
		return status.Error(codes.FailedPrecondition, "machine is not installed")
	}

	reference := in.GetSource().GetImageName()
	if reference == "" {
		return status.Error(codes.InvalidArgument, "installer image name is required")
	}

	s.node.Logs.Printf("starting upgrade: installer_image=%s, disk=%s", reference, s.node.Disk().Device)

	image, err := s.pulled(in, reference)
	if err != nil {
		return status.Errorf(codes.Internal, "upgrade failed: %s", err)
	}

	return s.run(image, stream)
}

func (s *lifecycleServer) pulled(in *machine.LifecycleServiceUpgradeRequest, reference string) (*hardware.Image, error) {
	place, err := placeOf(s.node, in.GetContainerd())
	if err != nil {
		return nil, err
	}

	image, err := s.node.Images.Get(place, reference)
	if err != nil {
		return nil, err
	}

	if image == nil {
		return nil, fmt.Errorf("installer image %q not found in containerd store: image %q: not found", reference, reference)
	}

	return &image.Installs, nil
}

// errGone means that the caller is no longer there to hear of the upgrade.
var errGone = errors.New("failed to send message")

// run tells the caller what the installer says, and how it ends.
func (s *lifecycleServer) run(
	image *hardware.Image, stream grpc.ServerStreamingServer[machine.LifecycleServiceUpgradeResponse],
) error {
	say := func(line string) error {
		if err := stream.Send(&machine.LifecycleServiceUpgradeResponse{Progress: &machine.LifecycleServiceInstallProgress{
			Response: &machine.LifecycleServiceInstallProgress_Message{Message: line + "\n"},
		}}); err != nil {
			return fmt.Errorf("%w: %w", errGone, err)
		}

		return nil
	}

	exitCode := int32(0)

	err := installer.Upgrade(stream.Context(), s.node, image, say)

	switch {
	case errors.Is(err, errGone):
		return status.Errorf(codes.Internal, "upgrade failed: %s", err)
	case err != nil:
		exitCode = 1

		if err := say(err.Error()); err != nil {
			return status.Errorf(codes.Internal, "upgrade failed: %s", err)
		}

		s.node.Logs.Printf("upgrade failed: exit_code=%d: %s", exitCode, err)
	default:
		s.node.Logs.Printf("upgrade completed successfully: exit_code=%d", exitCode)
	}

	return stream.Send(&machine.LifecycleServiceUpgradeResponse{Progress: &machine.LifecycleServiceInstallProgress{
		Response: &machine.LifecycleServiceInstallProgress_ExitCode{ExitCode: exitCode},
	}})
}
