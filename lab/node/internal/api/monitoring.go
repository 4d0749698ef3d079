package api

import (
	"context"
	"fmt"

	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"google.golang.org/protobuf/types/known/emptypb"

	"cluster-stack/lab/node/internal/services"
)

// CPUInfo answers the processors of the virtual hardware.
func (s *Server) CPUInfo(context.Context, *emptypb.Empty) (*machine.CPUInfoResponse, error) {
	info := &machine.CPUsInfo{}

	for number := range s.node.Hardware.Cores {
		info.CpuInfo = append(info.CpuInfo, &machine.CPUInfo{
			Processor: uint32(number), VendorId: "GenuineIntel", ModelName: "QEMU Virtual CPU version 2.5+", //nolint:gosec // a few
			CoreId: fmt.Sprint(number), CpuCores: uint32(s.node.Hardware.Cores), //nolint:gosec // as above
		})
	}

	return &machine.CPUInfoResponse{Messages: []*machine.CPUsInfo{info}}, nil
}

// CPUFreqStats answers for each processor that its frequency is the host's business.
func (s *Server) CPUFreqStats(context.Context, *emptypb.Empty) (*machine.CPUFreqStatsResponse, error) {
	stats := &machine.CPUsFreqStats{}

	for range s.node.Hardware.Cores {
		stats.CpuFreqStats = append(stats.CpuFreqStats, &machine.CPUFreqStats{})
	}

	return &machine.CPUFreqStatsResponse{Messages: []*machine.CPUsFreqStats{stats}}, nil
}

// DiskStats answers the disks, of which nobody counts what they read and write.
func (s *Server) DiskStats(context.Context, *emptypb.Empty) (*machine.DiskStatsResponse, error) {
	stats := &machine.DiskStats{Total: &machine.DiskStat{}}

	for i := range s.node.Hardware.Disks {
		stats.Devices = append(stats.Devices, &machine.DiskStat{Name: s.node.Hardware.Disks[i].Name()})
	}

	return &machine.DiskStatsResponse{Messages: []*machine.DiskStats{stats}}, nil
}

// NetworkDeviceStats answers what has gone through the network cards.
func (s *Server) NetworkDeviceStats(context.Context, *emptypb.Empty) (*machine.NetworkDeviceStatsResponse, error) {
	stats := &machine.NetworkDeviceStats{Total: &machine.NetDev{}}

	for _, link := range s.node.KernelNetwork().Links {
		device := &machine.NetDev{Name: link.Attributes.Name}

		if counted := link.Attributes.Stats64; counted != nil {
			device.RxBytes, device.RxPackets, device.RxErrors = counted.RXBytes, counted.RXPackets, counted.RXErrors
			device.TxBytes, device.TxPackets, device.TxErrors = counted.TXBytes, counted.TXPackets, counted.TXErrors
		}

		stats.Total.RxBytes += device.RxBytes
		stats.Total.TxBytes += device.TxBytes
		stats.Devices = append(stats.Devices, device)
	}

	return &machine.NetworkDeviceStatsResponse{Messages: []*machine.NetworkDeviceStats{stats}}, nil
}

// Stats answers the containers of the system, by the services that run; what
// they use is not measured.
func (s *Server) Stats(_ context.Context, in *machine.StatsRequest) (*machine.StatsResponse, error) {
	stats := &machine.Stats{}

	if in.Namespace == constants.SystemContainerdNamespace {
		for _, id := range []string{"apid", "trustd", "etcd", "kubelet"} {
			if s.node.Services.Is(id, services.Running) {
				stats.Stats = append(stats.Stats, &machine.Stat{Namespace: in.Namespace, Id: id, Name: id})
			}
		}
	}

	return &machine.StatsResponse{Messages: []*machine.Stats{stats}}, nil
}
