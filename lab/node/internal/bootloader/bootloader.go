// Package bootloader is what Talos does with the two entries of its boot
// loader: GRUB's A and B where the firmware is a BIOS, systemd-boot's unified
// kernel images where it is UEFI. It decides which image boots next; it does
// not know where images come from.
package bootloader

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"cluster-stack/lab/node/internal/hardware"
)

// GRUB's entries.
const (
	grubA = "A"
	grubB = "B"
)

// Loader is the boot loader of one disk.
type Loader struct {
	disk *hardware.Disk
	uefi bool
}

// New is the boot loader that Talos uses with this firmware.
func New(firmware hardware.Firmware, disk *hardware.Disk) *Loader {
	return &Loader{disk: disk, uefi: firmware.Kind == hardware.OVMF}
}

// Install makes the image the only entry.
func (l *Loader) Install(image *hardware.Image) error {
	return l.disk.SetBoot(&hardware.Boot{Entry: l.name(hardware.Entry{Image: *image})})
}

// Upgrade makes the image the entry that boots next and keeps the one that
// booted until now, whose label it returns. What was kept before goes.
func (l *Loader) Upgrade(image *hardware.Image) (previous string, err error) {
	boot, err := l.entries()
	if err != nil {
		return "", err
	}

	label := grubA
	if boot.Label == grubA {
		label = grubB
	}

	if l.uefi {
		label = nextFile(image.Version, boot)
	}

	kept := boot.Entry

	return kept.Label, l.disk.SetBoot(&hardware.Boot{Entry: hardware.Entry{Image: *image, Label: label}, Other: &kept})
}

// Revert makes the other entry the one that boots next.
func (l *Loader) Revert() error {
	boot, err := l.entries()
	if err != nil {
		return err
	}

	switch {
	case boot.Other != nil:
		return l.disk.SetBoot(&hardware.Boot{Entry: *boot.Other, Other: &boot.Entry})
	case l.uefi:
		return errors.New("previous UKI not found")
	default:
		// the empty name is Talos' own
		return errors.New(`cannot rollback to "", label does not exist`)
	}
}

// Booted is the label of the entry that boots.
func (l *Loader) Booted() (string, error) {
	boot, err := l.entries()
	if err != nil {
		return "", err
	}

	return boot.Label, nil
}

// entries are those of an installed disk, with names also where a disk image
// brought the system.
func (l *Loader) entries() (*hardware.Boot, error) {
	boot, err := l.disk.Boot()
	if err != nil {
		return nil, err
	}

	if boot == nil {
		return nil, fmt.Errorf("no boot loader on %s: file does not exist", l.disk.Device)
	}

	boot.Entry = l.name(boot.Entry)

	return boot, nil
}

// name gives an entry without a name that of the first one.
func (l *Loader) name(entry hardware.Entry) hardware.Entry {
	switch {
	case entry.Label != "":
	case l.uefi:
		entry.Label = fileName(entry.Version, 0)
	default:
		entry.Label = grubA
	}

	return entry
}

// nextFile is the name of a further image of that version on the disk.
func nextFile(version string, boot *hardware.Boot) string {
	labels := []string{boot.Label}
	if boot.Other != nil {
		labels = append(labels, boot.Other.Label)
	}

	next := 0

	for _, label := range labels {
		found, generation, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(label, "Talos-"), ".efi"), "~")
		if found != version {
			continue
		}

		number, _ := strconv.Atoi(generation)
		next = max(next, number+1)
	}

	return fileName(version, next)
}

func fileName(version string, generation int) string {
	if generation == 0 {
		return fmt.Sprintf("Talos-%s.efi", version)
	}

	return fmt.Sprintf("Talos-%s~%d.efi", version, generation)
}
