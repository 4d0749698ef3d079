package hardware_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
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

	image, disk, err := machine.BootDevice()
	if err != nil || disk != nil || image.Version != "v1.13.0" {
		t.Errorf("a blank disk: %v, %v, %v", image, disk, err)
	}

	if err := machine.Disks[0].Install(&hardware.Image{Version: "v1.12.0"}); err != nil {
		t.Fatal(err)
	}

	image, disk, err = machine.BootDevice()
	if err != nil || disk == nil || image.Version != "v1.12.0" {
		t.Errorf("an installed disk: %v, %v, %v", image, disk, err)
	}

	if err := machine.Disks[0].WipeAll(); err != nil {
		t.Fatal(err)
	}

	machine.CDROM = nil

	if image, _, err := machine.BootDevice(); err != nil || image != nil {
		t.Errorf("nothing: %v, %v", image, err)
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
