package node

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	hardwareres "github.com/siderolabs/talos/pkg/machinery/resources/hardware"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"
)

// KernelCommandLine is what the image boots its kernel with.
func (n *Node) KernelCommandLine() string {
	return fmt.Sprintf("talos.platform=%s console=tty1 console=ttyS0 net.ifnames=0 init_on_alloc=1 slab_nomerge pti=on "+
		"consoleblank=0 printk.devkmsg=on selinux=1 module.sig_enforce=1", n.Image.Platform)
}

// hostBridge is the device that each machine of this kind has at its first address.
const (
	hostBridge       = "0000:00:00.0"
	hostBridgeNumber = "8086:29c0"
)

// virtualHardware is what QEMU shows of a machine.
func (n *Node) virtualHardware() []resource.Resource {
	system := hardwareres.NewSystemInformation(hardwareres.SystemInformationID)
	*system.TypedSpec() = hardwareres.SystemInformationSpec{
		Manufacturer: "QEMU", ProductName: "Standard PC (Q35 + ICH9, 2009)", Version: "pc-q35-9.2", UUID: n.Hardware.UUID,
		WakeUpType: "Power Switch",
	}

	memory := hardwareres.NewMemoryModuleInfo("DIMM-0")
	*memory.TypedSpec() = hardwareres.MemoryModuleSpec{
		DeviceLocator: "DIMM 0", Manufacturer: "QEMU", Size: uint32(n.Hardware.MemoryMiB), //nolint:gosec // less than 4 PiB
	}

	cores := uint32(n.Hardware.Cores) //nolint:gosec // a few
	processor := hardwareres.NewProcessorInfo("CPU-0")
	*processor.TypedSpec() = hardwareres.ProcessorSpec{
		Socket: "CPU 0", Manufacturer: "QEMU", ProductName: "pc-q35-9.2", CoreCount: cores, CoreEnabled: cores, ThreadCount: cores,
	}

	found := []resource.Resource{system, memory, processor, pciDevice(hostBridge, hostBridgeNumber)}

	for _, device := range n.Hardware.PCIDevices {
		found = append(found, pciDevice(device.Address, device.ID))
	}

	return found
}

func pciDevice(address, id string) *hardwareres.PCIDevice {
	info := hardwareres.NewPCIDeviceInfo(address)
	info.TypedSpec().VendorID, info.TypedSpec().ProductID = pciNumbers(id)

	return info
}

// pciNumbers are the vendor's and the product's number of "10de:2204".
func pciNumbers(id string) (vendor, product string) {
	vendor, product, _ = strings.Cut(id, ":")

	return "0x" + vendor, "0x" + product
}

// bootedSoftware is what the image tells of what is in it: the components that
// clients ask for, of the release that the lab is built from.
func (n *Node) bootedSoftware() []resource.Resource {
	cmdline := runtime.NewKernelCmdline()
	cmdline.TypedSpec().Cmdline = n.KernelCommandLine()

	found := []resource.Resource{cmdline}

	kernel, _, _ := strings.Cut(strings.Replace(constants.DefaultKernelVersion, ".0-", "-", 1), "-")

	for name, version := range map[string]string{
		"Talos": n.Version.Tag(), "containerd": "v" + constants.DefaultContainerdVersion, "runc": "v" + constants.RuncVersion,
		"golang": strings.TrimPrefix(constants.GoVersion, "go"), "kernel": kernel,
	} {
		item := runtime.NewSBOMItemSpec(runtime.NamespaceName, name)
		item.TypedSpec().Name, item.TypedSpec().Version = name, version
		found = append(found, item)
	}

	const library = "github.com/siderolabs/go-kubernetes"

	if build, known := debug.ReadBuildInfo(); known {
		for _, module := range build.Deps {
			if module.Path == library {
				item := runtime.NewSBOMItemSpec(runtime.NamespaceName, library)
				item.TypedSpec().Name, item.TypedSpec().Version = library, module.Version
				found = append(found, item)
			}
		}
	}

	return found
}
