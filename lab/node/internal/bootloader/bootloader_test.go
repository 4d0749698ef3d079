package bootloader_test

import (
	"strings"
	"testing"

	"cluster-stack/lab/node/internal/bootloader"
	"cluster-stack/lab/node/internal/hardware"
)

func image(version string) *hardware.Image {
	return &hardware.Image{Version: version, Platform: "metal"}
}

// state is "label=version" of the entry that boots and of the other one.
func state(t *testing.T, disk *hardware.Disk) string {
	t.Helper()

	boot, err := disk.Boot()
	if err != nil {
		t.Fatal(err)
	}

	text := boot.Label + "=" + boot.Version
	if boot.Other != nil {
		text += " " + boot.Other.Label + "=" + boot.Other.Version
	}

	return text
}

func TestTwoEntries(t *testing.T) {
	for kind, expected := range map[string][]string{
		"seabios": {"A=v1.12.0", "B=v1.13.0 A=v1.12.0", "A=v1.13.1 B=v1.13.0", "B=v1.13.0 A=v1.13.1", "A=v1.13.0 B=v1.13.0"},
		hardware.OVMF: {
			"Talos-v1.12.0.efi=v1.12.0", "Talos-v1.13.0.efi=v1.13.0 Talos-v1.12.0.efi=v1.12.0",
			"Talos-v1.13.1.efi=v1.13.1 Talos-v1.13.0.efi=v1.13.0", "Talos-v1.13.0.efi=v1.13.0 Talos-v1.13.1.efi=v1.13.1",
			"Talos-v1.13.0~1.efi=v1.13.0 Talos-v1.13.0.efi=v1.13.0",
		},
	} {
		disk := &hardware.Disk{Device: "/dev/sda", Path: t.TempDir()}
		loader := bootloader.New(hardware.Firmware{Kind: kind}, disk)

		if _, err := loader.Upgrade(image("v1.13.0")); err == nil || !strings.Contains(err.Error(), "no boot loader on /dev/sda") {
			t.Errorf("%s: upgrade of an empty disk: %v", kind, err)
		}

		steps := []func() error{
			func() error { return loader.Install(image("v1.12.0")) },
			func() error {
				previous, err := loader.Upgrade(image("v1.13.0"))
				if !strings.HasPrefix(expected[0], previous+"=") {
					t.Errorf("%s: the upgrade keeps %s", kind, previous)
				}

				return err
			},
			func() error { _, err := loader.Upgrade(image("v1.13.1")); return err },
			loader.Revert,
			func() error { _, err := loader.Upgrade(image("v1.13.0")); return err },
		}

		for number, step := range steps {
			if err := step(); err != nil {
				t.Fatalf("%s: step %d: %s", kind, number, err)
			}

			if found := state(t, disk); found != expected[number] {
				t.Errorf("%s: step %d: %s, not %s", kind, number, found, expected[number])
			}
		}
	}
}

func TestADiskImageHasNothingToGoBackTo(t *testing.T) {
	for kind, complaint := range map[string]string{
		"seabios": `cannot rollback to "", label does not exist`, hardware.OVMF: "previous UKI not found",
	} {
		disk := &hardware.Disk{Device: "/dev/sda", Path: t.TempDir()}

		// as Proxmox writes an imported image
		if err := disk.SetBoot(&hardware.Boot{Entry: hardware.Entry{Image: *image("v1.13.0")}}); err != nil {
			t.Fatal(err)
		}

		loader := bootloader.New(hardware.Firmware{Kind: kind}, disk)

		if err := loader.Revert(); err == nil || err.Error() != complaint {
			t.Errorf("%s: %v", kind, err)
		}

		if _, err := loader.Upgrade(image("v1.13.1")); err != nil {
			t.Fatal(err)
		}

		if err := loader.Revert(); err != nil {
			t.Error(err)
		}
	}
}
