package hardware

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// imageFile is what there is to boot on a disk. Who writes a disk image writes
// the image alone; Talos' installer adds the names of its boot entries.
const imageFile = "image.json"

// Entry is an image that the boot loader can start, and its name there.
type Entry struct {
	Image

	Label string `json:"label,omitempty"`
}

// Boot is what the boot loader of a disk knows: the entry that it starts, and
// the other one, nil where there is none.
type Boot struct {
	Entry

	Other *Entry `json:"other,omitempty"`
}

// Boot is what the disk's boot loader knows; nil when nothing is installed.
func (d *Disk) Boot() (*Boot, error) {
	path := filepath.Join(d.Path, imageFile)

	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}

	if err != nil {
		return nil, err
	}

	boot := &Boot{}
	if err := json.Unmarshal(data, boot); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}

	return boot, nil
}

// SetBoot replaces what the boot loader knows, in one step.
func (d *Disk) SetBoot(boot *Boot) error {
	data, err := json.MarshalIndent(boot, "", "  ")
	if err != nil {
		return err
	}

	return d.write(imageFile, data)
}

// Image is what the disk boots, or nil.
func (d *Disk) Image() (*Image, error) {
	boot, err := d.Boot()
	if boot == nil {
		return nil, err
	}

	return &boot.Image, nil
}
