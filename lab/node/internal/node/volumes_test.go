package node_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/resources/block"

	"cluster-stack/lab/node/internal/hardware"
	"cluster-stack/lab/node/internal/node"
)

const (
	gib    = 1 << 30
	worker = "machine: {type: worker}"
)

// boot boots a machine with an installed system disk and two more, with or
// without a TPM and Secure Boot.
func boot(t *testing.T, tpm string, secureBoot bool) *node.Node {
	t.Helper()

	dir := t.TempDir()
	machine := &hardware.Machine{Dir: dir, TPM: tpm, Disks: []hardware.Disk{
		{Device: "/dev/sda", SizeBytes: 20 * gib, Transport: "virtio-scsi"},
		{Device: "/dev/sdb", SizeBytes: 100 * gib, Transport: "virtio-scsi", Serial: "data-1"},
		{Device: "/dev/sdc", SizeBytes: 200 * gib, Transport: "virtio-scsi", Serial: "data-2"},
	}}

	for i := range machine.Disks {
		machine.Disks[i].Path = filepath.Join(dir, machine.Disks[i].Name())
	}

	image := &hardware.Image{Version: "v1.13.0", Platform: "nocloud", SecureBoot: secureBoot}

	booted, err := node.New(context.Background(), machine, image, &machine.Disks[0], io.Discard)
	if err != nil {
		t.Fatal(err)
	}

	return booted
}

func configure(t *testing.T, booted *node.Node, documents ...string) error {
	t.Helper()

	settings, err := configloader.NewFromBytes([]byte(strings.Join(documents, "\n---\n")))
	if err != nil {
		t.Fatal(err)
	}

	if err := booted.SetPersistent(settings); err != nil {
		t.Fatal(err)
	}

	if err := booted.SetActive(settings); err != nil {
		t.Fatal(err)
	}

	return booted.SystemVolumeProblem(settings)
}

func volume(kind, name, rest string) string {
	return fmt.Sprintf("apiVersion: v1alpha1\nkind: %s\nname: %s\n%s", kind, name, rest)
}

func user(name, match, sizes string) string {
	return volume("UserVolumeConfig", name, fmt.Sprintf("provisioning: {diskSelector: {match: '%s'}%s}", match, sizes))
}

func TestWhereVolumesGo(t *testing.T) {
	for name, test := range map[string]struct {
		documents []string
		expected  map[string]string
	}{
		"by serial number": {
			[]string{user("a", `disk.serial == "data-2"`, "")},
			map[string]string{"u-a": "ready /dev/sdc1 214746267648 xfs"},
		},
		"by size": {
			[]string{user("a", `disk.size > 150u * GiB`, ", maxSize: 50GiB")},
			map[string]string{"u-a": "ready /dev/sdc1 53687091200 xfs"},
		},
		"several on one disk, then the next": {
			[]string{
				user("a", "!system_disk", ", maxSize: 60GiB"), user("b", "!system_disk", ", minSize: 30GiB, maxSize: 30GiB"),
				user("c", "!system_disk", ", minSize: 30GiB, maxSize: 30GiB"),
			},
			map[string]string{
				"u-a": "ready /dev/sdb1 64424509440 xfs", "u-b": "ready /dev/sdb2 32212254720 xfs", "u-c": "ready /dev/sdc1 32212254720 xfs",
			},
		},
		"no such disk": {
			[]string{user("a", `disk.serial == "data-9"`, "")},
			map[string]string{"u-a": "failed: no disks matched selector for volume"},
		},
		"as large as the disk": {
			[]string{user("a", `disk.serial == "data-1"`, ", minSize: 100GiB")},
			map[string]string{
				"u-a": "failed: no disks matched for volume (1 matched selector): 1 have not enough space, 0 have wrong format, 0 have other issues",
			},
		},
		"on a full system disk": {
			[]string{user("a", "system_disk", "")},
			map[string]string{
				"u-a": "failed: no disks matched for volume (1 matched selector): 1 have not enough space, 0 have wrong format, 0 have other issues",
			},
		},
		"beside a smaller EPHEMERAL": {
			[]string{volume("VolumeConfig", "EPHEMERAL", "provisioning: {maxSize: 10GiB}"), user("a", "system_disk", ", maxSize: 5GiB")},
			map[string]string{"EPHEMERAL": "ready /dev/sda6 10737418240 xfs", "u-a": "ready /dev/sda7 5368709120 xfs"},
		},
		"a whole disk": {
			[]string{user("a", `disk.serial == "data-1"`, "") + "\nvolumeType: disk"},
			map[string]string{"u-a": "ready /dev/sdb 107372085248 xfs"},
		},
		"a whole disk, of two": {
			[]string{user("a", "!system_disk", "") + "\nvolumeType: disk"},
			map[string]string{"u-a": "failed: multiple disks matched locator for disk volume; matched disks: [/dev/sdb /dev/sdc]"},
		},
		"by a path, which one disk has": {
			[]string{user("a", `"/dev/disk/by-path/pci-0000:00:1e.0-scsi-0:0:2:0" in disk.symlinks`, ", maxSize: 50GiB")},
			map[string]string{"u-a": "ready /dev/sdc1 53687091200 xfs"},
		},
		"a folder": {
			[]string{volume("UserVolumeConfig", "a", "volumeType: directory")},
			map[string]string{"u-a": "ready  0 none"},
		},
		"raw and swap": {
			[]string{
				volume("RawVolumeConfig", "a", "provisioning: {diskSelector: {match: '!system_disk'}, minSize: 1GiB, maxSize: 2GiB}"),
				volume("SwapVolumeConfig", "a", "provisioning: {diskSelector: {match: '!system_disk'}, minSize: 1GiB, maxSize: 1GiB}"),
			},
			map[string]string{"r-a": "ready /dev/sdb1 2147483648 none", "s-a": "ready /dev/sdb2 1073741824 " + block.FilesystemTypeSwap.String()},
		},
	} {
		t.Run(name, func(t *testing.T) {
			booted := boot(t, "", false)
			if err := configure(t, booted, append(test.documents, worker)...); err != nil {
				t.Fatal(err)
			}

			seen := statuses(t, booted)
			for id, expected := range test.expected {
				if seen[id] != expected {
					t.Errorf("%s: %q", id, seen[id])
				}
			}

			if seen["STATE"] != "ready /dev/sda5 104857600 xfs" {
				t.Errorf("STATE: %q", seen["STATE"])
			}
		})
	}
}

func statuses(t *testing.T, booted *node.Node) map[string]string {
	t.Helper()

	list, err := safe.StateListAll[*block.VolumeStatus](context.Background(), booted.Resources)
	if err != nil {
		t.Fatal(err)
	}

	seen := map[string]string{}

	for status := range list.All() {
		spec := status.TypedSpec()
		seen[status.Metadata().ID()] = fmt.Sprintf("%s %s %d %s", spec.Phase, spec.Location, spec.Size, spec.Filesystem)

		if spec.Phase == block.VolumePhaseFailed {
			seen[status.Metadata().ID()] = fmt.Sprintf("%s: %s", spec.Phase, spec.ErrorMessage)
		}
	}

	return seen
}

func TestSealedVolumesNeedATPM(t *testing.T) {
	const (
		document = "encryption: {provider: luks2, keys: [{slot: 0, tpm: {}}]}"
		signed   = "encryption: {provider: luks2, keys: [{slot: 0, tpm: {checkSecurebootStatusOnEnroll: true}}]}"
		older    = "machine: {type: worker, systemDiskEncryption: {ephemeral: {provider: luks2, keys: [{slot: 0, tpm: {}}]}}}"
		nodeID   = "encryption: {provider: luks2, keys: [{slot: 0, nodeID: {}}]}"
	)

	for name, test := range map[string]struct {
		tpm        string
		secureBoot bool
		document   string
		expected   string
	}{
		"no TPM":                       {"", false, volume("VolumeConfig", "STATE", document), "volume STATE (partition): failed"},
		"no TPM for EPHEMERAL":         {"", false, volume("VolumeConfig", "EPHEMERAL", document), "volume EPHEMERAL (partition): failed"},
		"the older TPM":                {"v1.2", false, volume("VolumeConfig", "STATE", document), "no TPM 2.0 device"},
		"the older document":           {"", false, older, "volume EPHEMERAL (partition): failed"},
		"a TPM":                        {"v2.0", false, volume("VolumeConfig", "STATE", document), ""},
		"Secure Boot asked for":        {"v2.0", false, volume("VolumeConfig", "STATE", signed), "with Secure Boot only"},
		"Secure Boot asked for and on": {"v2.0", true, volume("VolumeConfig", "STATE", signed), ""},
		"another key":                  {"", false, volume("VolumeConfig", "STATE", nodeID), ""},
	} {
		t.Run(name, func(t *testing.T) {
			booted := boot(t, test.tpm, test.secureBoot)

			documents := []string{test.document}
			if test.document != older {
				documents = append(documents, worker)
			}

			problem := configure(t, booted, documents...)
			if (problem != nil) != (test.expected != "") || (problem != nil && !strings.Contains(problem.Error(), test.expected)) {
				t.Errorf("%v", problem)
			}

			_, err := os.Stat(filepath.Join(booted.Hardware.Disks[0].Path, "STATE", "config.yaml"))
			if kept := err == nil; kept == (problem != nil) {
				t.Errorf("the configuration is on the disk: %v", kept)
			}
		})
	}
}

func TestASealedUserVolumeFailsAlone(t *testing.T) {
	document := volume("UserVolumeConfig", "a", strings.Join([]string{
		"provisioning: {diskSelector: {match: '!system_disk'}}", "encryption: {provider: luks2, keys: [{slot: 0, tpm: {}}]}",
	}, "\n"))

	booted := boot(t, "", false)
	if err := configure(t, booted, document, worker); err != nil {
		t.Error(err)
	}

	if seen := statuses(t, booted)["u-a"]; !strings.HasPrefix(seen, "failed: error encrypting volume: key slot 0: failed to open TPM") {
		t.Error(seen)
	}

	booted = boot(t, hardware.TPM2, false)
	if err := configure(t, booted, document, worker); err != nil {
		t.Error(err)
	}

	if seen := statuses(t, booted)["u-a"]; seen != "ready /dev/sdb1 107372085248 xfs" {
		t.Error(seen)
	}
}
