package node

import (
	"fmt"
	"strings"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/dustin/go-humanize"
	"github.com/siderolabs/talos/pkg/machinery/resources/block"

	"cluster-stack/lab/node/internal/hardware"
)

const systemImageBytes = 80 << 20

// PublishDisks publishes the disks and the volumes on the system disk.
func (n *Node) PublishDisks() error {
	var disks []resource.Resource

	for i := range n.Hardware.Disks {
		disks = append(disks, diskResource(i, &n.Hardware.Disks[i]))
	}

	// The system itself, which is on no disk once it has booted.
	squashfs := block.NewDisk(block.NamespaceName, "loop0")
	*squashfs.TypedSpec() = block.DiskSpec{
		DevPath: "/dev/loop0", Size: systemImageBytes, PrettySize: humanize.Bytes(systemImageBytes), IOSize: 512, SectorSize: 512,
		Readonly: true, BusPath: "/virtual", SubSystem: "/sys/class/block",
	}
	disks = append(disks, squashfs)

	if cdrom := n.Hardware.CDROM; cdrom != nil {
		resource := block.NewDisk(block.NamespaceName, strings.TrimPrefix(cdrom.Device, "/dev/"))
		*resource.TypedSpec() = block.DiskSpec{
			DevPath: cdrom.Device, IOSize: 2048, SectorSize: 2048, Readonly: true, CDROM: true, Model: "QEMU DVD-ROM",
			Transport: "ata", SubSystem: "/sys/class/block",
		}
		disks = append(disks, resource)
	}

	if err := n.replace(block.NamespaceName, block.DiskType, disks); err != nil {
		return err
	}

	system := n.Disk()
	if system == nil {
		return nil
	}

	current := block.NewSystemDisk(block.NamespaceName, block.SystemDiskID)
	current.TypedSpec().DiskID, current.TypedSpec().DevPath = system.Name(), system.Device

	statuses := n.volumeStatuses(system)

	if err := n.replace(block.NamespaceName, block.VolumeStatusType, statuses); err != nil {
		return err
	}

	if err := n.replace(block.NamespaceName, block.DiscoveredVolumeType, n.discoveredVolumes(statuses)); err != nil {
		return err
	}

	return n.put(current)
}

// diskResource is the disk with this number, which no other disk of the machine has.
func diskResource(number int, disk *hardware.Disk) *block.Disk {
	resource := block.NewDisk(block.NamespaceName, disk.Name())
	*resource.TypedSpec() = block.DiskSpec{
		DevPath: disk.Device, Size: disk.SizeBytes, PrettySize: humanize.Bytes(disk.SizeBytes), IOSize: 512, SectorSize: 512,
		Model: "QEMU HARDDISK", Serial: disk.Serial, Transport: transport(disk), SubSystem: "/sys/class/block", Rotational: disk.Rotational,
		BusPath:  fmt.Sprintf("/pci0000:00/0000:00:1e.0/virtio3/host2/target2:0:%[1]d/2:0:%[1]d:0", number),
		Symlinks: []string{fmt.Sprintf("/dev/disk/by-path/pci-0000:00:1e.0-scsi-0:0:%d:0", number)},
	}

	if disk.Serial != "" && strings.HasPrefix(disk.Name(), "sd") {
		resource.TypedSpec().Symlinks = append(resource.TypedSpec().Symlinks, "/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_"+disk.Serial)
	}

	return resource
}

func transport(disk *hardware.Disk) string {
	if disk.Transport == "virtio-scsi" || disk.Transport == "virtio" {
		return "virtio"
	}

	return disk.Transport
}

// discoveredVolumes are the disks, what is known to be on them, and the
// partitions of the volumes.
func (n *Node) discoveredVolumes(statuses []resource.Resource) []resource.Resource {
	var found []resource.Resource

	partitioned := map[string]bool{}

	for _, item := range statuses {
		status, isStatus := item.(*block.VolumeStatus)
		if !isStatus || status.TypedSpec().Type != block.VolumeTypePartition || status.TypedSpec().Location == "" {
			continue
		}

		volume := status.TypedSpec()
		partitioned[volume.ParentLocation] = true

		one := newDiscoveredVolume(volume.Location, block.DeviceTypePartition, volume.Size)
		one.TypedSpec().Parent = strings.TrimPrefix(volume.ParentLocation, "/dev/")
		one.TypedSpec().ParentDevPath = volume.ParentLocation
		one.TypedSpec().Name = contentOf(volume)
		one.TypedSpec().PartitionLabel = status.Metadata().ID()
		one.TypedSpec().PartitionIndex = uint(volume.PartitionIndex) //nolint:gosec // a few
		found = append(found, one)
	}

	for _, disk := range n.Hardware.Disks {
		one := newDiscoveredVolume(disk.Device, block.DeviceTypeDisk, disk.SizeBytes)
		if partitioned[disk.Device] {
			one.TypedSpec().Name = "gpt"
		}

		found = append(found, one)
	}

	return found
}

// contentOf is how a partition's content is recognised.
func contentOf(volume *block.VolumeStatusSpec) string {
	switch {
	case volume.EncryptionProvider == block.EncryptionProviderLUKS2:
		return "luks"
	case volume.Filesystem == block.FilesystemTypeNone:
		return ""
	default:
		return volume.Filesystem.String()
	}
}

func newDiscoveredVolume(device, kind string, bytes uint64) *block.DiscoveredVolume {
	volume := block.NewDiscoveredVolume(block.NamespaceName, strings.TrimPrefix(device, "/dev/"))
	*volume.TypedSpec() = block.DiscoveredVolumeSpec{DevPath: device, Type: kind, SectorSize: 512, IOSize: 512}
	volume.TypedSpec().SetSize(bytes)

	return volume
}
