package hardware_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cluster-stack/lab/node/internal/hardware"
)

func load(t *testing.T) *hardware.Machine {
	t.Helper()

	dir := t.TempDir()
	text, err := json.Marshal(map[string]any{
		"disks": []map[string]any{{"device": "/dev/sda", "path": filepath.Join(dir, "disks", "scsi0"), "sizeBytes": 1 << 34}},
		"cdrom": map[string]any{"device": "/dev/sr0", "image": map[string]any{"version": "v1.13.0", "platform": "metal"}},
		"nics": []map[string]any{{
			"name": "eth0", "mac": "bc:24:11:00:00:01", "dhcp": map[string]any{"address": "10.5.0.11/16", "gateway": "10.5.0.1"},
		}},
		"bootOrder": []string{"/dev/sda", "/dev/sr0"},
	})
	if err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(filepath.Join(dir, "machine.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}

	machine, err := hardware.Load(dir)
	if err != nil {
		t.Fatal(err)
	}

	return machine
}

func TestTheBootOrder(t *testing.T) {
	machine := load(t)

	image, disk, err := machine.BootDevice(func(line string) { t.Errorf("the firmware says %s", line) })
	if err != nil || disk != nil || image.Version != "v1.13.0" {
		t.Errorf("a blank disk: %v, %v, %v", image, disk, err)
	}

	if err := machine.Disks[0].SetBoot(&hardware.Boot{Entry: hardware.Entry{Image: hardware.Image{Version: "v1.12.0"}}}); err != nil {
		t.Fatal(err)
	}

	image, disk, err = machine.BootDevice(func(line string) { t.Errorf("the firmware says %s", line) })
	if err != nil || disk == nil || image.Version != "v1.12.0" {
		t.Errorf("an installed disk: %v, %v, %v", image, disk, err)
	}

	if err := machine.Disks[0].WipeAll(); err != nil {
		t.Fatal(err)
	}

	machine.CDROM = nil

	if image, _, err := machine.BootDevice(func(line string) { t.Errorf("the firmware says %s", line) }); err != nil || image != nil {
		t.Errorf("nothing: %v, %v", image, err)
	}
}

func TestWhatFirmwareBoots(t *testing.T) {
	bios := hardware.Firmware{Kind: "seabios"}
	uefi := hardware.Firmware{Kind: hardware.OVMF}
	small := hardware.Firmware{Kind: hardware.OVMF, EFIDisk: true}
	setup := hardware.Firmware{Kind: hardware.OVMF, EFIDisk: true, SecureBoot: true, Keys: "none"}
	enrolled := hardware.Firmware{Kind: hardware.OVMF, EFIDisk: true, SecureBoot: true, Keys: hardware.MicrosoftKeys}

	for name, test := range map[string]struct {
		firmware   hardware.Firmware
		secureBoot bool
		refusal    string
	}{
		"plain, told nothing of a firmware": {hardware.Firmware{}, false, ""},
		"plain, BIOS":                       {bios, false, ""},
		"plain, UEFI":                       {uefi, false, ""},
		"plain, setup mode":                 {setup, false, ""},
		"plain, keys enrolled":              {enrolled, false, "Talos is not signed with them"},
		"signed, BIOS":                      {bios, true, "boots with UEFI only (bios=ovmf)"},
		"signed, no EFI disk":               {uefi, true, "needs an EFI disk (efidisk0)"},
		"signed, small EFI disk":            {small, true, "knows no Secure Boot (efitype=4m does)"},
		"signed, setup mode":                {setup, true, ""},
		"signed, other keys enrolled":       {enrolled, true, "has other keys than Talos' (pre-enrolled-keys=1)"},
	} {
		t.Run(name, func(t *testing.T) {
			machine := load(t)
			machine.Firmware = test.firmware

			if err := machine.Disks[0].SetBoot(&hardware.Boot{Entry: hardware.Entry{Image: hardware.Image{Version: "v1.13.0", SecureBoot: test.secureBoot}}}); err != nil {
				t.Fatal(err)
			}

			machine.CDROM = nil

			var said []string

			image, _, err := machine.BootDevice(func(line string) { said = append(said, line) })
			if err != nil || (image == nil) != (test.refusal != "") {
				t.Fatalf("%v, %v, %s", image, err, said)
			}

			if test.refusal != "" && (len(said) != 2 || !strings.Contains(said[1], test.refusal)) {
				t.Errorf("%q", said)
			}
		})
	}
}

func TestWhatIsRefusedIsPassedOver(t *testing.T) {
	machine := load(t)

	if err := machine.Disks[0].SetBoot(&hardware.Boot{Entry: hardware.Entry{Image: hardware.Image{Version: "v1.12.0", SecureBoot: true}}}); err != nil {
		t.Fatal(err)
	}

	var said []string

	image, disk, err := machine.BootDevice(func(line string) { said = append(said, line) })
	if err != nil || disk != nil || image.Version != "v1.13.0" {
		t.Errorf("%v, %v, %v", image, disk, err)
	}

	if said[0] != `BdsDxe: failed to load Boot0000 "/dev/sda": Access Denied` {
		t.Errorf("%q", said)
	}
}

func TestPartitions(t *testing.T) {
	disk := &load(t).Disks[0]

	if data, err := disk.Read("STATE", "config.yaml"); err != nil || data != nil {
		t.Errorf("%s, %v", data, err)
	}

	if err := disk.Write("STATE", "config.yaml", []byte("x")); err != nil {
		t.Fatal(err)
	}

	if data, err := disk.Read("STATE", "config.yaml"); err != nil || string(data) != "x" {
		t.Errorf("%s, %v", data, err)
	}

	if err := disk.Wipe("STATE"); err != nil {
		t.Fatal(err)
	}

	if data, err := disk.Read("STATE", "config.yaml"); err != nil || data != nil {
		t.Errorf("%s, %v", data, err)
	}
}

func TestLeasesMayChange(t *testing.T) {
	machine := load(t)

	const mac = "BC:24:11:00:00:01"

	if lease := machine.Leases()[mac]; lease == nil || lease.Address.String() != "10.5.0.11/16" {
		t.Errorf("at power-on: %v", lease)
	}

	for text, expected := range map[string]string{
		`{"bc:24:11:00:00:01": {"address": "10.5.0.99/16"}}`: "10.5.0.99/16",
		`{"BC:24:11:00:00:01": null}`:                        "",
		`{"BC:`:                                              "10.5.0.11/16",
	} {
		if err := os.WriteFile(filepath.Join(machine.Dir, "dhcp.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}

		lease, address := machine.Leases()[mac], ""
		if lease != nil {
			address = lease.Address.String()
		}

		if address != expected {
			t.Errorf("%s: %s", text, address)
		}
	}
}

func TestOneProcessRunsAMachine(t *testing.T) {
	dir := t.TempDir()

	first, err := hardware.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}

	if _, err := hardware.Lock(dir); !errors.Is(err, hardware.ErrRunning) {
		t.Error(err)
	}

	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	second, err := hardware.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}

	second.Close() //nolint:errcheck
}
