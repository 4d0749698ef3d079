package machine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	machineapi "github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/meta"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"

	"cluster-stack/lab/node/internal/bootloader"
	"cluster-stack/lab/node/internal/factory"
	"cluster-stack/lab/node/internal/hardware"
	"cluster-stack/lab/node/internal/images"
	"cluster-stack/lab/node/internal/installer"
)

// upgradePhases are the upgrade of the legacy call: everything that uses the
// disk stops, the installer runs, the machine boots again. A machine whose
// kubelet has registered a Node drains it before all else: that phase is
// called drain, with the task cordonAndDrainNode.
func (l *life) upgradePhases(in *machineapi.UpgradeRequest, steps restartSteps) []phase {
	upgrade := phase{"upgrade", "upgrade", func(ctx context.Context) error { return l.upgrade(ctx, in.Image) }}
	phases := []phase{steps.cleanup, steps.stopServices, upgrade, {name: "meta", task: "reloadMeta"}}

	if l.node.RegistersNode() {
		phases = append([]phase{l.drain()}, phases...)
	}

	if in.RebootMode == machineapi.UpgradeRequest_DEFAULT {
		phases = append(phases, steps.kexec)
	}

	return append(phases, steps.stopEverything, steps.reboot)
}

// upgrade runs the installer image, which the call has pulled.
func (l *life) upgrade(ctx context.Context, reference string) error {
	l.node.Logs.Printf("performing upgrade via %q", reference)

	if err := l.runInstaller(ctx, reference); err != nil {
		return err
	}

	l.node.Logs.Printf("upgrade successful")

	return nil
}

func (l *life) runInstaller(ctx context.Context, reference string) error {
	image, err := l.node.Images.Pull(ctx, images.InMemory, reference)
	if err != nil {
		return err
	}

	return installer.Upgrade(ctx, l.node, &image.Installs, func(line string) error {
		l.node.Logs.Printf("%s", line)

		return nil
	})
}

// takeStaged is the installer image of an upgrade that was staged before this
// boot, or "". It is taken once: an upgrade that fails is not tried again.
func (l *life) takeStaged() (string, error) {
	reference, staged, err := l.node.MetaTag(meta.StagedUpgradeImageRef)
	if err != nil || !staged {
		return "", err
	}

	return reference, l.node.ChangeMeta(nil, meta.StagedUpgradeImageRef, meta.StagedUpgradeInstallOptions)
}

// installStaged does the staged upgrade and reboots into it.
func (l *life) installStaged(ctx context.Context, reference string) error {
	l.publish("", &machineapi.SequenceEvent{Sequence: "install", Action: machineapi.SequenceEvent_START})
	l.publish("", &machineapi.PhaseEvent{Phase: "install", Action: machineapi.PhaseEvent_START})
	l.node.SetStage(runtime.MachineStageInstalling)
	l.node.Logs.Printf("performing staged upgrade via %q", reference)

	if err := l.pullWhenConnected(ctx, reference); err != nil {
		return err
	}

	if err := l.runInstaller(ctx, reference); err != nil {
		return err
	}

	l.node.Logs.Printf("staged upgrade successful")
	l.publish("", &machineapi.SequenceEvent{Sequence: "install", Action: machineapi.SequenceEvent_STOP})
	l.node.SetStage(runtime.MachineStageRebooting)
	l.leave(ExitReboot)

	return nil
}

// pullWhenConnected tries for as long as Talos does: the network comes up
// beside the boot.
func (l *life) pullWhenConnected(ctx context.Context, reference string) error {
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()

	for {
		_, err := l.node.Images.Pull(ctx, images.InMemory, reference)
		if err == nil || errors.Is(err, factory.ErrNotFound) || ctx.Err() != nil {
			return err
		}

		select {
		case <-ctx.Done():
			return err
		case <-time.After(pullRetry):
		}
	}
}

const (
	pullTimeout = 20 * time.Minute
	pullRetry   = time.Second
)

// checkImage lets an image that boots and dies die here: a fault.
func (l *life) checkImage() error {
	image := l.node.Image
	if !l.hw.Faults().Breaks(image) {
		return nil
	}

	return fmt.Errorf("boot sequence: failed: the image %s (schematic %s) boots and dies", image.Version, image.Schematic)
}

// revertUpgrade goes back to the boot entry before an upgrade whose system has
// never been ready. It is what Talos does about every fatal error.
func (l *life) revertUpgrade() {
	label, upgraded, err := l.node.MetaTag(meta.Upgrade)
	if err == nil && upgraded {
		err = l.revertTo(label)
	}

	if err != nil {
		l.node.Logs.Printf("failed to revert bootloader: %s", err)
	}
}

func (l *life) revertTo(label string) error {
	if label != "" {
		l.node.Logs.Printf("reverting failed upgrade, switching to %q", label)

		if err := bootloader.New(l.hw.Firmware, l.node.Disk()).Revert(); err != nil {
			return err
		}
	}

	return l.node.ChangeMeta(nil, meta.Upgrade)
}

// keepUpgrade forgets what there is to go back to, once the machine is ready.
func (l *life) keepUpgrade(ctx context.Context) {
	if _, upgraded, err := l.node.MetaTag(meta.Upgrade); err != nil || !upgraded {
		return
	}

	if err := l.awaitReady(ctx); err != nil {
		return
	}

	l.node.Logs.Printf("removing fallback entry")

	if err := l.node.ChangeMeta(nil, meta.Upgrade); err != nil {
		l.node.Logs.Printf("%s", err)
	}
}

// awaitReady waits until the machine runs and is ready.
func (l *life) awaitReady(ctx context.Context) error {
	_, err := safe.StateWatchFor[*runtime.MachineStatus](ctx, l.node.Resources, runtime.NewMachineStatus().Metadata(),
		state.WithEventTypes(state.Created, state.Updated),
		state.WithCondition(func(current resource.Resource) (bool, error) {
			spec := current.(*runtime.MachineStatus).TypedSpec() //nolint:forcetypeassert // it is what is watched

			return spec.Stage == runtime.MachineStageRunning && spec.Status.Ready, nil
		}))

	return err
}

// publishBootedEntry names the entry of a machine that was booted by
// systemd-boot.
func (l *life) publishBootedEntry() error {
	if l.hw.Firmware.Kind != hardware.OVMF || l.node.Disk() == nil {
		return nil
	}

	label, err := bootloader.New(l.hw.Firmware, l.node.Disk()).Booted()
	if err != nil {
		return err
	}

	return l.node.PublishBootedEntry(label)
}
