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
	MTU    uint32 `json:"mtu"`
	DHCP   *DHCP  `json:"dhcp"`
}

// CloudInitNIC is the network configuration of one NIC on the cloud-init drive.
// The address may be "dhcp"; a NIC that is there without one has no IPv4.
type CloudInitNIC struct {
	MAC      string `json:"mac"`
	Address  string `json:"address"`
	Gateway  string `json:"gateway"`
	Address6 string `json:"address6"`
	Gateway6 string `json:"gateway6"`
}

// PCIDevice is a device of the host that the machine has for itself.
type PCIDevice struct {
	Address string `json:"address"`
	ID      string `json:"id"` // vendor:product
}

// The firmwares, and the keys that the EFI disk has from the start.
const (
	OVMF          = "ovmf"
	MicrosoftKeys = "microsoft"
)

// Firmware is what looks for something to boot.
type Firmware struct {
	Kind       string `json:"kind"`
	SecureBoot bool   `json:"secureBoot"` // whether it knows Secure Boot
	EFIDisk    bool   `json:"efiDisk"`
	Keys       string `json:"keys"`
}

// TPM2 is the TPM that Talos can seal keys with.
const TPM2 = "v2.0"

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

	VMID         int         `json:"vmid"`
	UUID         string      `json:"uuid"`
	Hypervisor   string      `json:"hypervisor"`
	Cores        int         `json:"cores"`
	MemoryMiB    uint64      `json:"memoryMiB"`
	Disks        []Disk      `json:"disks"`
	CDROM        *CDROM      `json:"cdrom"`
	BootOrder    []string    `json:"bootOrder"`
	Firmware     Firmware    `json:"firmware"`
	TPM          string      `json:"tpm"` // its version, "" without one
	NICs         []NIC       `json:"nics"`
	PCIDevices   []PCIDevice `json:"pciDevices"`
	CloudInit    *CloudInit  `json:"cidata"`
	AgentChannel bool        `json:"agentChannel"`
	// Kubelets is the socket of the process that plays kubelets, "" on a site without Kubernetes.
	Kubelets string `json:"kubelets"`
	Delays   Delays `json:"delays"`

	offers notice[map[string]*DHCP]
	faults notice[Faults]
}

// RunsKubernetes reports whether the machine's site has Kubernetes.
func (m *Machine) RunsKubernetes() bool { return m.Kubelets != "" }

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

// BootDevice is the first device of the boot order with an image on it that the
// firmware boots: the image, and the disk it is on (nil for the CD drive). What
// the firmware says of the devices that it passes over goes to say.
func (m *Machine) BootDevice(say func(string)) (*Image, *Disk, error) {
	for number, device := range m.BootOrder {
		image, disk, err := m.imageOn(device)
		if err != nil {
			return nil, nil, err
		}

		if image == nil {
			continue
		}

		problem := m.Firmware.refuses(image)
		if problem == "" {
			return image, disk, nil
		}

		say(fmt.Sprintf("BdsDxe: failed to load Boot%04X %q: Access Denied", number, device))
		say(fmt.Sprintf("%s: %s", device, problem))
	}

	return nil, nil, nil
}

// imageOn is what is on a device, and the disk that the device is.
func (m *Machine) imageOn(device string) (*Image, *Disk, error) {
	if m.CDROM != nil && m.CDROM.Device == device {
		return m.CDROM.Image, nil, nil
	}

	for i := range m.Disks {
		if m.Disks[i].Device == device {
			image, err := m.Disks[i].Image()

			return image, &m.Disks[i], err
		}
	}

	return nil, nil, nil
}

// refuses tells why the firmware does not boot the image, or "".
func (f Firmware) refuses(image *Image) string {
	switch {
	case !image.SecureBoot && f.SecureBoot && f.Keys == MicrosoftKeys:
		return "Secure Boot is on with the keys of the EFI disk (pre-enrolled-keys=1), and Talos is not signed with them"
	case !image.SecureBoot:
		return ""
	case f.Kind != OVMF:
		return "a Secure Boot image boots with UEFI only (bios=ovmf)"
	case !f.EFIDisk:
		return "Secure Boot needs an EFI disk (efidisk0) to enroll Talos' keys in"
	case !f.SecureBoot:
		return "this EFI disk knows no Secure Boot (efitype=4m does)"
	case f.Keys == MicrosoftKeys:
		return "the EFI disk has other keys than Talos' (pre-enrolled-keys=1); Talos enrolls its own in setup mode (pre-enrolled-keys=0)"
	default:
		return ""
	}
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

	current, _ := m.offers.read(filepath.Join(m.Dir, "dhcp.json"))

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

	Serial     string `json:"serial"`
	Rotational bool   `json:"rotational"`
}

// MetaLabel is the partition of the few values that Talos keeps outside its
// configuration.
const MetaLabel = "META"

// Partitions are the labels of a Talos system disk that hold data in the lab,
// but META.
var Partitions = []string{"STATE", "EPHEMERAL"}

// Name is the device's name below /dev.
func (d *Disk) Name() string { return strings.TrimPrefix(d.Device, "/dev/") }

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
