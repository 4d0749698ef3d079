package machine

import (
	"context"
	"fmt"
	"time"

	machineapi "github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/config/types/block/blockhelpers"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"

	"cluster-stack/lab/node/internal/api"
	"cluster-stack/lab/node/internal/bootloader"
	"cluster-stack/lab/node/internal/factory"
	"cluster-stack/lab/node/internal/hardware"
)

// minimumDisk is what Talos' partitions need without any room in EPHEMERAL.
const minimumDisk = 4 << 30

// install writes the installer image of the configuration to the disk of the
// configuration, and reboots into it.
func (l *life) install(ctx context.Context) error {
	l.publish("", &machineapi.SequenceEvent{Sequence: "install", Action: machineapi.SequenceEvent_START})
	l.publish("", &machineapi.PhaseEvent{Phase: "install", Action: machineapi.PhaseEvent_START})
	l.node.SetStage(runtime.MachineStageInstalling)

	settings := l.node.Config().Machine().Install()

	disk, err := l.installDisk(ctx, settings)
	if err != nil {
		return err
	}

	if disk.SizeBytes < minimumDisk {
		return fmt.Errorf("disk %s is too small: %d bytes, %d bytes are required", disk.Device, disk.SizeBytes, uint64(minimumDisk))
	}

	l.node.Logs.Printf("installing Talos to disk %s from %s", disk.Device, settings.Image())

	pulled, err := factory.NewClient().Pull(ctx, settings.Image(), l.node.Image.Arch)
	if err != nil {
		return err
	}

	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(l.hw.Delays.Install()):
	}

	if err := disk.WipeAll(); err != nil {
		return err
	}

	l.node.SetDisk(disk)

	// the image last: a machine that is killed here boots the medium again
	if err := l.node.Persist(); err != nil {
		return err
	}

	if err := bootloader.New(l.hw.Firmware, disk).Install(&pulled.Installs); err != nil {
		return err
	}

	l.node.Logs.Printf("installation of %s successful", pulled.Installs.Version)
	l.publish("", &machineapi.SequenceEvent{Sequence: "install", Action: machineapi.SequenceEvent_STOP})
	l.node.SetStage(runtime.MachineStageRebooting)
	l.leave(ExitReboot)

	return nil
}

// installDisk finds the disk by name or by the selector's expression.
func (l *life) installDisk(ctx context.Context, settings config.Install) (*hardware.Disk, error) {
	expression, err := settings.DiskMatchExpression()
	if err != nil {
		return nil, fmt.Errorf("failed to get disk match expression: %w", err)
	}

	device := settings.Disk()

	if expression != nil {
		matched, err := blockhelpers.MatchDisks(ctx, l.node.Resources, expression)
		if err != nil {
			return nil, err
		}

		if len(matched) == 0 {
			return nil, fmt.Errorf("no disks matched the expression: %s", expression)
		}

		device = matched[0].TypedSpec().DevPath
	}

	if disk := api.FindDisk(l.hw, device); disk != nil {
		return disk, nil
	}

	return nil, fmt.Errorf("lstat %s: no such file or directory", device)
}
