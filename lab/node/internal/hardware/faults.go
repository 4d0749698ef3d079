package hardware

import (
	"path/filepath"
	"slices"
	"time"
)

// Faults are what is wrong with a machine, as the hypervisor says it.
type Faults struct {
	ClockOffsetSeconds float64 `json:"clockOffsetSeconds"`
	CertificateExpired bool    `json:"certificateExpired"`
	DiskDelaySeconds   float64 `json:"diskDelaySeconds"`
	// BrokenImages are the versions and schematics of images that boot and die.
	BrokenImages []string `json:"brokenImages"`
}

// Faults are those that hold now: none where nobody has written any.
func (m *Machine) Faults() Faults {
	faults, _ := m.faults.read(filepath.Join(m.Dir, "faults.json"))

	return faults
}

// ClockOffset is how far the machine's clock is ahead.
func (f Faults) ClockOffset() time.Duration { return seconds(f.ClockOffsetSeconds) }

// DiskDelay is how long the machine's disk takes to write.
func (f Faults) DiskDelay() time.Duration { return seconds(f.DiskDelaySeconds) }

// Breaks tells whether an image boots and dies.
func (f Faults) Breaks(image *Image) bool {
	return slices.Contains(f.BrokenImages, image.Version) || slices.Contains(f.BrokenImages, image.Schematic)
}
