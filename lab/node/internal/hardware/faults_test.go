package hardware_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"cluster-stack/lab/node/internal/hardware"
)

func TestFaultsAreThoseThatTheHypervisorWroteLast(t *testing.T) {
	machine := &hardware.Machine{Dir: t.TempDir()}

	image := &hardware.Image{Version: "v1.13.0", Schematic: "ce4c"}
	if faults := machine.Faults(); faults.ClockOffset() != 0 || faults.DiskDelay() != 0 || faults.CertificateExpired || faults.Breaks(image) {
		t.Errorf("a machine without faults has %+v", faults)
	}

	for text, broken := range map[string]bool{
		`{"clockOffsetSeconds": -1.5, "diskDelaySeconds": 0.2, "brokenImages": ["v1.13.0"]}`:         true,
		`{"clockOffsetSeconds": -1.5, "diskDelaySeconds": 0.2, "brokenImages": ["v1.12.0", "ce4c"]}`: true,
		`{"clockOffsetSeconds": -1.5, "diskDelaySeconds": 0.2, "brokenImages": ["v1.13"]}`:           false,
	} {
		if err := os.WriteFile(filepath.Join(machine.Dir, "faults.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}

		faults := machine.Faults()
		if offset := faults.ClockOffset(); offset != -1500*time.Millisecond {
			t.Errorf("%s: the clock is off by %s", text, offset)
		}

		if delay := faults.DiskDelay(); delay != 200*time.Millisecond {
			t.Errorf("%s: the disk takes %s", text, delay)
		}

		if faults.Breaks(image) != broken {
			t.Errorf("%s: the image breaks: %t", text, !broken)
		}
	}
}
