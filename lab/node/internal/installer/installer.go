// Package installer is what an installer image does on a machine that has
// Talos already: its checks, and the change of the boot loader's entries. Who
// asks for it, and what happens before and after, is not its business.
package installer

import (
	"context"
	"fmt"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/compatibility"
	"github.com/siderolabs/talos/pkg/machinery/meta"

	"cluster-stack/lab/node/internal/bootloader"
	"cluster-stack/lab/node/internal/hardware"
	"cluster-stack/lab/node/internal/node"
)

// Upgrade puts the image beside the system that runs, to boot next. What it
// does goes to say, a line at a time. The META partition remembers what to go
// back to until the new system has once been ready.
func Upgrade(ctx context.Context, n *node.Node, image *hardware.Image, say func(line string) error) error {
	disk := n.Disk()

	lines := func(texts ...string) error {
		for _, text := range texts {
			if err := say(text); err != nil {
				return err
			}
		}

		return nil
	}

	if err := lines("running pre-flight checks", "host Talos version: "+n.Version.Tag()); err != nil {
		return err
	}

	if err := checkVersion(n.Version.Tag(), image.Version); err != nil {
		return fmt.Errorf("pre-flight checks failed: %w", err)
	}

	if err := lines("all pre-flight checks successful", fmt.Sprintf("probing bootloader on %q", disk.Device)); err != nil {
		return err
	}

	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(n.Hardware.Delays.Install()):
	}

	previous, err := bootloader.New(n.Hardware.Firmware, disk).Upgrade(image)
	if err != nil {
		return err
	}

	if err := n.ChangeMeta(map[uint8]string{meta.Upgrade: previous}); err != nil {
		return fmt.Errorf("failed to set META tag Upgrade: %w", err)
	}

	return lines(fmt.Sprintf("installation of %s complete", image.Version))
}

// checkVersion is the installer's check of the Talos that it replaces.
func checkVersion(host, installer string) error {
	parsed, err := compatibility.ParseTalosVersion(&machine.VersionInfo{Tag: host})
	if err != nil {
		return fmt.Errorf("error parsing host Talos version: %w", err)
	}

	next, err := compatibility.ParseTalosVersion(&machine.VersionInfo{Tag: installer})
	if err != nil {
		return fmt.Errorf("error parsing installer Talos version: %w", err)
	}

	return next.UpgradeableFrom(parsed)
}
