// Package hardware reads the virtual hardware of one machine: what the
// hypervisor wrote to machine.json and dhcp.json, and the disks below
// <dir>/disks. It owns what a disk holds (boot image and partitions); it does
// not know what the operating system does with it.
package hardware

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Image is a bootable Talos image, on a disk or in the CD drive.
type Image struct {
	Version    string   `json:"version"`
	Platform   string   `json:"platform"`
	Arch       string   `json:"arch"`
	Schematic  string   `json:"schematic"`
	Extensions []string `json:"extensions"`
	SecureBoot bool     `json:"secureBoot,omitempty"`
}

// HasExtension reports whether the image carries the named system extension.
func (image *Image) HasExtension(name string) bool {
	for _, extension := range image.Extensions {
		if extension == name {
			return true
		}
	}

	return false
}

// CDROM is the CD drive with the image in it.
type CDROM struct {
	Device string `json:"device"`
	Image  *Image `json:"image"`
}

// DHCP is the lease that the network offers to one NIC.
type DHCP struct {
	Address      netip.Prefix `json:"address"`
	Gateway      netip.Addr   `json:"gateway"`
	Nameservers  []netip.Addr `json:"nameservers"`
	LeaseSeconds int          `json:"leaseSeconds"`
}

// NIC is one network card.
type NIC struct {
	Name   string `json:"name"`
	MAC    string `json:"mac"`
	Bridge string `json:"bridge"`
	DHCP   *DHCP  `json:"dhcp"`
}

// CloudInitNIC is the network configuration of one NIC on the cloud-init drive.
// An empty address, or "dhcp", asks for DHCP.
type CloudInitNIC struct {
	MAC     string `json:"mac"`
	Address string `json:"address"`
	Gateway string `json:"gateway"`
}

// CloudInit is the content of the cloud-init drive.
type CloudInit struct {
	Hostname    string         `json:"hostname"`
	Nameservers []netip.Addr   `json:"nameservers"`
	NICs        []CloudInitNIC `json:"nics"`
}

// Delays are the times that things take on this machine.
type Delays struct {
	BootSeconds    float64 `json:"bootSeconds"`
	InstallSeconds float64 `json:"installSeconds"`
	ServiceSeconds float64 `json:"serviceSeconds"`
}

// Boot is the time from power-on to the boot device.
func (d Delays) Boot() time.Duration { return seconds(d.BootSeconds) }

// Install is the time that the installer takes.
func (d Delays) Install() time.Duration { return seconds(d.InstallSeconds) }

// Service is the time that one service takes to start.
func (d Delays) Service() time.Duration { return seconds(d.ServiceSeconds) }

func seconds(value float64) time.Duration { return time.Duration(value * float64(time.Second)) }

// Machine is the virtual hardware, as machine.json describes it.
type Machine struct {
	Dir string `json:"-"`

	VMID         int        `json:"vmid"`
	UUID         string     `json:"uuid"`
	Hypervisor   string     `json:"hypervisor"`
	Cores        int        `json:"cores"`
	MemoryMiB    uint64     `json:"memoryMiB"`
	Disks        []Disk     `json:"disks"`
	CDROM        *CDROM     `json:"cdrom"`
	BootOrder    []string   `json:"bootOrder"`
	NICs         []NIC      `json:"nics"`
	CloudInit    *CloudInit `json:"cidata"`
	AgentChannel bool       `json:"agentChannel"`
	Delays       Delays     `json:"delays"`
}

// Load reads <dir>/machine.json.
func Load(dir string) (*Machine, error) {
	path := filepath.Join(dir, "machine.json")

	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the machine's hardware cannot be read: %w", err)
	}

	machine := &Machine{Dir: dir}

	if err := json.Unmarshal(data, machine); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}

	for i := range machine.Disks {
		disk := &machine.Disks[i]

		if disk.Path, err = filepath.Abs(disk.Path); err != nil {
			return nil, fmt.Errorf("disk %s: %w", disk.Device, err)
		}

		if err := os.MkdirAll(disk.Path, 0o700); err != nil {
			return nil, fmt.Errorf("disk %s: %w", disk.Device, err)
		}
	}

	return machine, nil
}

// ErrRunning means that another process already runs this machine.
var ErrRunning = errors.New("another process already runs this machine")

// Lock makes this process the only one that runs the machine in dir, until it
// ends: the kernel drops the lock with the process, kill -9 included.
func Lock(dir string) (*os.File, error) {
	run := filepath.Join(dir, "run")

	if err := os.MkdirAll(run, 0o700); err != nil {
		return nil, err
	}

	file, err := os.OpenFile(filepath.Join(run, "lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}

	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close() //nolint:errcheck

		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", dir, ErrRunning)
		}

		return nil, err
	}

	return file, nil
}

// BootDevice is the first device of the boot order with an image on it: the
// image, and the disk it is on (nil for the CD drive).
func (m *Machine) BootDevice() (*Image, *Disk, error) {
	for _, device := range m.BootOrder {
		if m.CDROM != nil && m.CDROM.Device == device && m.CDROM.Image != nil {
			return m.CDROM.Image, nil, nil
		}

		for i := range m.Disks {
			if m.Disks[i].Device != device {
				continue
			}

			image, err := m.Disks[i].Image()
			if err != nil {
				return nil, nil, err
			}

			if image != nil {
				return image, &m.Disks[i], nil
			}
		}
	}

	return nil, nil, nil
}

// InstalledDisk is the disk that holds an installed system, or nil.
func (m *Machine) InstalledDisk() (*Disk, error) {
	for i := range m.Disks {
		image, err := m.Disks[i].Image()
		if err != nil {
			return nil, err
		}

		if image != nil {
			return &m.Disks[i], nil
		}
	}

	return nil, nil
}

// Leases are the DHCP leases by MAC, upper case: from dhcp.json where the
// hypervisor has written it, else as they were at power-on.
func (m *Machine) Leases() map[string]*DHCP {
	leases := map[string]*DHCP{}

	for _, nic := range m.NICs {
		leases[strings.ToUpper(nic.MAC)] = nic.DHCP
	}

	data, err := os.ReadFile(filepath.Join(m.Dir, "dhcp.json"))
	if err != nil {
		return leases
	}

	current := map[string]*DHCP{}
	if err := json.Unmarshal(data, &current); err != nil {
		return leases
	}

	for mac, lease := range current {
		leases[strings.ToUpper(mac)] = lease
	}

	return leases
}

// Disk is one virtual disk: a folder.
type Disk struct {
	Device    string `json:"device"`
	Path      string `json:"path"`
	SizeBytes uint64 `json:"sizeBytes"`
	Transport string `json:"transport"`
}

const imageFile = "image.json"

// Partitions are the labels of a Talos system disk that hold data in the lab.
var Partitions = []string{"STATE", "EPHEMERAL"}

// Name is the device's name below /dev.
func (d *Disk) Name() string { return strings.TrimPrefix(d.Device, "/dev/") }

// Image is what is installed on the disk, or nil.
func (d *Disk) Image() (*Image, error) {
	path := filepath.Join(d.Path, imageFile)

	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}

	if err != nil {
		return nil, err
	}

	image := &Image{}
	if err := json.Unmarshal(data, image); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}

	return image, nil
}

// Install writes the image to the disk.
func (d *Disk) Install(image *Image) error {
	data, err := json.MarshalIndent(image, "", "  ")
	if err != nil {
		return err
	}

	return d.write(imageFile, data)
}

// Partition is the folder of the named partition.
func (d *Disk) Partition(label string) string { return filepath.Join(d.Path, label) }

// Read reads a file of a partition; nil when it is not there.
func (d *Disk) Read(label, name string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(d.Partition(label), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}

	return data, err
}

// Write writes a file of a partition.
func (d *Disk) Write(label, name string, data []byte) error {
	return d.write(filepath.Join(label, name), data)
}

// Wipe empties the named partition.
func (d *Disk) Wipe(label string) error { return os.RemoveAll(d.Partition(label)) }

// WipeAll empties the whole disk: nothing to boot is left.
func (d *Disk) WipeAll() error {
	entries, err := os.ReadDir(d.Path)
	if err != nil {
		return err
	}

	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(d.Path, entry.Name())); err != nil {
			return err
		}
	}

	return nil
}

// write replaces a file in one step, so that a killed machine never finds half
// of it.
func (d *Disk) write(name string, data []byte) error {
	path := filepath.Join(d.Path, name)

	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}

	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}

	defer os.Remove(temporary.Name()) //nolint:errcheck

	if _, err := temporary.Write(data); err != nil {
		temporary.Close() //nolint:errcheck

		return err
	}

	if err := temporary.Close(); err != nil {
		return err
	}

	return os.Rename(temporary.Name(), path)
}
