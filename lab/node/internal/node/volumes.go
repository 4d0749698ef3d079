package node

import (
	"fmt"
	"math"
	"slices"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/dustin/go-humanize"
	"github.com/siderolabs/gen/optional"
	blockpb "github.com/siderolabs/talos/pkg/machinery/api/resource/definitions/block"
	"github.com/siderolabs/talos/pkg/machinery/cel"
	"github.com/siderolabs/talos/pkg/machinery/cel/celenv"
	"github.com/siderolabs/talos/pkg/machinery/config"
	configtypes "github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/proto"
	"github.com/siderolabs/talos/pkg/machinery/resources/block"

	"cluster-stack/lab/node/internal/hardware"
)

// The layout of a disk, as far as clients ask for it.
const (
	statePartitionBytes = 100 << 20
	systemBytes         = 2202 << 20 // everything before EPHEMERAL
	tableBytes          = 2 << 20    // the partition table at both ends of a disk
	smallestUserVolume  = 100 << 20  // where the configuration names no size
)

// SystemVolumeProblem tells why the volumes that the system itself needs cannot
// be had on this machine, or nil.
func (n *Node) SystemVolumeProblem(settings config.Config) error {
	if settings == nil {
		return nil
	}

	for _, label := range hardware.Partitions {
		if err := n.sealingProblem(systemEncryption(settings, label)); err != nil {
			return fmt.Errorf("volume %s (partition): failed: error encrypting volume: %w", label, err)
		}
	}

	return nil
}

// systemEncryption is how a partition is encrypted: what its document says, else
// the v1alpha1 document; nil when it is not.
func systemEncryption(settings config.Config, label string) configtypes.EncryptionConfig {
	if document, found := settings.Volumes().ByName(label); found {
		if encryption := document.Encryption(); encryption != nil {
			return encryption
		}
	}

	if machine := settings.Machine(); machine != nil && machine.SystemDiskEncryption() != nil {
		return machine.SystemDiskEncryption().Get(label)
	}

	return nil
}

// sealingProblem tells why the keys of an encryption cannot be had, or nil.
func (n *Node) sealingProblem(encryption configtypes.EncryptionConfig) error {
	if encryption == nil {
		return nil
	}

	for _, key := range encryption.Keys() {
		if key.TPM() == nil {
			continue
		}

		if n.Hardware.TPM != hardware.TPM2 {
			return fmt.Errorf("key slot %d: failed to open TPM: no TPM 2.0 device, open /dev/tpmrm0: no such file or directory", key.Slot())
		}

		if key.TPM().CheckSecurebootOnEnroll() && !n.Image.SecureBoot {
			return fmt.Errorf("key slot %d: the TPM key is enrolled with Secure Boot only, and this machine was booted without", key.Slot())
		}
	}

	return nil
}

// userVolume is one volume that the configuration asks for.
type userVolume struct {
	id         string
	kind       block.VolumeType
	where      configtypes.VolumeProvisioningConfig
	encryption configtypes.EncryptionConfig
	filesystem block.FilesystemType
}

func userVolumes(settings config.Config) []userVolume {
	var volumes []userVolume

	for _, document := range settings.UserVolumeConfigs() {
		volumes = append(volumes, userVolume{
			id: constants.UserVolumePrefix + document.Name(), kind: document.Type().ValueOr(block.VolumeTypePartition),
			where: document.Provisioning(), encryption: document.Encryption(), filesystem: document.Filesystem().Type(),
		})
	}

	for _, document := range settings.RawVolumeConfigs() {
		volumes = append(volumes, userVolume{
			id: constants.RawVolumePrefix + document.Name(), kind: block.VolumeTypePartition,
			where: document.Provisioning(), encryption: document.Encryption(),
		})
	}

	for _, document := range settings.SwapVolumeConfigs() {
		volumes = append(volumes, userVolume{
			id: constants.SwapVolumePrefix + document.Name(), kind: block.VolumeTypePartition,
			where: document.Provisioning(), encryption: document.Encryption(), filesystem: block.FilesystemTypeSwap,
		})
	}

	return volumes
}

// layout is what is left of the disks while volumes are put on them.
type layout struct {
	free       map[string]uint64
	partitions map[string]int
}

// volumeStatuses are the volumes of the system disk, and those that the
// configuration asks for, in its order. Nothing is kept of where a volume was:
// the same configuration finds the same disks.
func (n *Node) volumeStatuses(system *hardware.Disk) []resource.Resource {
	settings := n.Config()
	left := layout{free: map[string]uint64{}, partitions: map[string]int{}}

	for _, disk := range n.Hardware.Disks {
		left.free[disk.Device] = disk.SizeBytes - min(disk.SizeBytes, tableBytes)
	}

	var statuses []resource.Resource

	ephemeral := system.SizeBytes - min(system.SizeBytes, systemBytes)

	if settings != nil {
		if document, found := settings.Volumes().ByName(constants.EphemeralPartitionLabel); found {
			ephemeral = min(ephemeral, document.Provisioning().MaxSize().ValueOr(math.MaxUint64))
		}
	}

	for index, volume := range []struct {
		label string
		bytes uint64
	}{{constants.MetaPartitionLabel, 1 << 20}, {constants.StatePartitionLabel, statePartitionBytes}, {constants.EphemeralPartitionLabel, ephemeral}} {
		const firstOfThese = 4

		status := volumeStatus(volume.label, system.Device, firstOfThese+index, volume.bytes)
		status.Filesystem = block.FilesystemTypeXFS

		if volume.label == constants.MetaPartitionLabel {
			status.Filesystem = block.FilesystemTypeNone
		} else if settings != nil {
			describeEncryption(&status, systemEncryption(settings, volume.label))
		}

		statuses = append(statuses, published(volume.label, status))
		left.partitions[system.Device] = firstOfThese + index
	}

	left.free[system.Device] -= min(left.free[system.Device], systemBytes+ephemeral)

	if settings == nil {
		return statuses
	}

	for _, volume := range userVolumes(settings) {
		statuses = append(statuses, published(volume.id, n.place(volume, system, left)))
	}

	return statuses
}

// place finds room for a volume, as Talos does it: on the first disk that
// matches and has enough.
func (n *Node) place(volume userVolume, system *hardware.Disk, left layout) block.VolumeStatusSpec {
	if volume.kind == block.VolumeTypeDirectory {
		return block.VolumeStatusSpec{Phase: block.VolumePhaseReady, Type: volume.kind, ParentID: constants.EphemeralPartitionLabel}
	}

	failed := block.VolumeStatusSpec{Phase: block.VolumePhaseFailed, PreFailPhase: block.VolumePhaseWaiting, Type: volume.kind}

	matched, err := n.matchingDisks(volume.where.DiskSelector(), system)
	if err != nil {
		failed.ErrorMessage = fmt.Sprintf("error evaluating disk locator: %s", err)

		return failed
	}

	if len(matched) == 0 {
		failed.ErrorMessage = "no disks matched selector for volume"

		return failed
	}

	if volume.kind == block.VolumeTypeDisk && len(matched) > 1 {
		failed.ErrorMessage = fmt.Sprintf("multiple disks matched locator for disk volume; matched disks: %v", matched)

		return failed
	}

	smallest := volume.where.MinSize().ValueOr(smallestUserVolume)

	index := slices.IndexFunc(matched, func(device string) bool { return left.free[device] >= smallest && left.free[device] > 0 })
	if index < 0 {
		failed.ErrorMessage = fmt.Sprintf(
			"no disks matched for volume (%d matched selector): %d have not enough space, 0 have wrong format, 0 have other issues",
			len(matched), len(matched))

		return failed
	}

	if err := n.sealingProblem(volume.encryption); err != nil {
		failed.PreFailPhase, failed.ErrorMessage = block.VolumePhaseProvisioned, fmt.Sprintf("error encrypting volume: %s", err)

		return failed
	}

	device := matched[index]
	size := min(left.free[device], volume.where.MaxSize().ValueOr(math.MaxUint64))

	if volume.kind == block.VolumeTypeDisk {
		size = left.free[device]
	}

	left.free[device] -= size
	left.partitions[device]++

	status := volumeStatus(volume.id, device, left.partitions[device], size)
	status.Filesystem = volume.filesystem

	if volume.kind == block.VolumeTypeDisk {
		status.Type, status.Location, status.ParentLocation, status.PartitionIndex = volume.kind, device, "", 0
	}

	describeEncryption(&status, volume.encryption)

	return status
}

func describeEncryption(status *block.VolumeStatusSpec, encryption configtypes.EncryptionConfig) {
	if encryption == nil || len(encryption.Keys()) == 0 {
		return
	}

	status.EncryptionProvider = block.EncryptionProviderLUKS2

	for _, key := range encryption.Keys() {
		switch {
		case key.TPM() != nil:
			status.ConfiguredEncryptionKeys = append(status.ConfiguredEncryptionKeys, block.EncryptionKeyTPM.String())
		case key.NodeID() != nil:
			status.ConfiguredEncryptionKeys = append(status.ConfiguredEncryptionKeys, block.EncryptionKeyNodeID.String())
		case key.KMS() != nil:
			status.ConfiguredEncryptionKeys = append(status.ConfiguredEncryptionKeys, block.EncryptionKeyKMS.String())
		default:
			status.ConfiguredEncryptionKeys = append(status.ConfiguredEncryptionKeys, block.EncryptionKeyStatic.String())
		}
	}
}

// matchingDisks are the devices for which an expression holds.
func (n *Node) matchingDisks(selector optional.Optional[cel.Expression], system *hardware.Disk) ([]string, error) {
	expression, set := selector.Get()
	if !set {
		return nil, nil
	}

	var matched []string

	for i := range n.Hardware.Disks {
		spec := &blockpb.DiskSpec{}
		if err := proto.ResourceSpecToProto(diskResource(i, &n.Hardware.Disks[i]), spec); err != nil {
			return nil, err
		}

		holds, err := expression.EvalBool(celenv.DiskLocator(), map[string]any{
			"disk": spec, "system_disk": n.Hardware.Disks[i].Device == system.Device,
		})
		if err != nil {
			return nil, err
		}

		if holds {
			matched = append(matched, n.Hardware.Disks[i].Device)
		}
	}

	return matched, nil
}

func volumeStatus(label, device string, partition int, bytes uint64) block.VolumeStatusSpec {
	return block.VolumeStatusSpec{
		Phase: block.VolumePhaseReady, Type: block.VolumeTypePartition, ParentLocation: device,
		Location: fmt.Sprintf("%s%d", device, partition), MountLocation: fmt.Sprintf("%s%d", device, partition),
		PartitionIndex: partition, Size: bytes, PrettySize: humanize.Bytes(bytes),
	}
}

func published(id string, spec block.VolumeStatusSpec) resource.Resource {
	status := block.NewVolumeStatus(block.NamespaceName, id)
	*status.TypedSpec() = spec

	return status
}
