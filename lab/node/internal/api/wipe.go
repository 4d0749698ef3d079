package api

import (
	"context"
	"path"

	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/siderolabs/talos/pkg/machinery/api/storage"
	"github.com/siderolabs/talos/pkg/machinery/resources/block"
	"github.com/siderolabs/talos/pkg/machinery/role"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cluster-stack/lab/node/internal/authz"
)

// BlockDeviceWipe empties disks that nothing uses.
func (s *Server) BlockDeviceWipe(
	ctx context.Context, in *storage.BlockDeviceWipeRequest,
) (*storage.BlockDeviceWipeResponse, error) {
	if !s.node.InMaintenance() && !authz.Roles(ctx).Includes(role.Admin) {
		return nil, authz.ErrNotAuthorized
	}

	for _, device := range in.Devices {
		if err := s.checkWipe(ctx, device); err != nil {
			return nil, err
		}
	}

	for _, device := range in.Devices {
		s.node.Logs.Printf("wiping block device %q", device.Device)

		if err := FindDisk(s.node.Hardware, "/dev/"+device.Device).WipeAll(); err != nil {
			return nil, status.Errorf(codes.Internal, "failed to wipe block device %q: %v", device.Device, err)
		}
	}

	if err := s.node.PublishDisks(); err != nil {
		return nil, err
	}

	return &storage.BlockDeviceWipeResponse{Messages: []*storage.BlockDeviceWipe{{}}}, nil
}

// checkWipe tells why a device cannot be wiped, in Talos' words. Partitions are
// not in the lab: their device is not found.
func (s *Server) checkWipe(ctx context.Context, device *storage.BlockDeviceWipeDescriptor) error {
	name := device.Device

	disks, err := safe.ReaderListAll[*block.Disk](ctx, s.node.Resources)
	if err != nil {
		return err
	}

	disk, found := disks.Find(func(disk *block.Disk) bool { return disk.Metadata().ID() == name })

	switch {
	case !found:
		return status.Errorf(codes.NotFound, "blockdevice %q not found", name)
	case disk.TypedSpec().Readonly:
		return status.Errorf(codes.FailedPrecondition, "blockdevice %q is read-only", name)
	case disk.TypedSpec().CDROM:
		return status.Errorf(codes.FailedPrecondition, "blockdevice %q is a CD-ROM", name)
	case device.SkipVolumeCheck:
		return nil
	}

	volumes, err := safe.ReaderListAll[*block.VolumeStatus](ctx, s.node.Resources)
	if err != nil {
		return err
	}

	for volume := range volumes.All() {
		for _, used := range []string{volume.TypedSpec().Location, volume.TypedSpec().MountLocation, volume.TypedSpec().ParentLocation} {
			if used != "" && path.Base(used) == name {
				return status.Errorf(codes.FailedPrecondition, "blockdevice %q is in use by volume %q", name, volume.Metadata().ID())
			}
		}
	}

	return nil
}
