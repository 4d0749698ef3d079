package api

import (
	"context"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/api/common"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/api/storage"
	timeapi "github.com/siderolabs/talos/pkg/machinery/api/time"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"cluster-stack/lab/node/internal/clock"
	"cluster-stack/lab/node/internal/events"
)

// Version answers the version of the booted image.
func (s *Server) Version(context.Context, *emptypb.Empty) (*machine.VersionResponse, error) {
	version := &machine.Version{
		Version:  s.node.Version.Info(s.node.Image.Arch),
		Platform: &machine.PlatformInfo{Name: s.node.Image.Platform, Mode: s.node.Mode().String()},
	}

	if !s.node.InMaintenance() {
		version.Features = &machine.FeaturesInfo{Rbac: true}
	}

	return &machine.VersionResponse{Messages: []*machine.Version{version}}, nil
}

// Hostname answers the machine's name.
func (s *Server) Hostname(context.Context, *emptypb.Empty) (*machine.HostnameResponse, error) {
	return &machine.HostnameResponse{Messages: []*machine.Hostname{{Hostname: s.node.FQDN()}}}, nil
}

// ServiceList answers the system services.
func (s *Server) ServiceList(context.Context, *emptypb.Empty) (*machine.ServiceListResponse, error) {
	return &machine.ServiceListResponse{Messages: []*machine.ServiceList{{Services: s.node.Services.List()}}}, nil
}

// ServiceStart refuses: services live and die with the machine.
func (s *Server) ServiceStart(context.Context, *machine.ServiceStartRequest) (*machine.ServiceStartResponse, error) {
	return nil, s.unsupported("starting a service")
}

// ServiceStop refuses: services live and die with the machine.
func (s *Server) ServiceStop(context.Context, *machine.ServiceStopRequest) (*machine.ServiceStopResponse, error) {
	return nil, s.unsupported("stopping a service")
}

// ServiceRestart refuses: services live and die with the machine.
func (s *Server) ServiceRestart(context.Context, *machine.ServiceRestartRequest) (*machine.ServiceRestartResponse, error) {
	return nil, s.unsupported("restarting a service")
}

// What a small idle Talos machine leaves of its memory, in kB.
const (
	kernelReserve = 96 << 10
	systemUse     = 400 << 10
)

// Memory answers the memory of the virtual hardware; how much of it is in use
// is made up.
func (s *Server) Memory(context.Context, *emptypb.Empty) (*machine.MemoryResponse, error) {
	total := s.node.Hardware.MemoryMiB << 10
	total -= min(total, kernelReserve)
	free := total - min(total, systemUse)

	return &machine.MemoryResponse{Messages: []*machine.Memory{{
		Meminfo: &machine.MemInfo{Memtotal: total, Memfree: free, Memavailable: free},
	}}}, nil
}

// SystemStat answers the boot time; the counters of an idle machine.
func (s *Server) SystemStat(context.Context, *emptypb.Empty) (*machine.SystemStatResponse, error) {
	uptime := time.Since(s.node.BootTime).Seconds()
	stat := &machine.SystemStat{
		BootTime:       uint64(s.node.BootTime.Unix()), //nolint:gosec // after 1970
		CpuTotal:       &machine.CPUStat{Idle: uptime * float64(s.node.Hardware.Cores)},
		ProcessRunning: 1,
	}

	for range s.node.Hardware.Cores {
		stat.Cpu = append(stat.Cpu, &machine.CPUStat{Idle: uptime})
	}

	return &machine.SystemStatResponse{Messages: []*machine.SystemStat{stat}}, nil
}

// LoadAvg answers an idle machine.
func (s *Server) LoadAvg(context.Context, *emptypb.Empty) (*machine.LoadAvgResponse, error) {
	return &machine.LoadAvgResponse{Messages: []*machine.LoadAvg{{}}}, nil
}

// Disks answers the disks of the virtual hardware.
func (s *Server) Disks(context.Context, *emptypb.Empty) (*storage.DisksResponse, error) {
	disks := &storage.Disks{}
	system := s.node.Disk()

	for _, disk := range s.node.Hardware.Disks {
		kind := storage.Disk_SSD
		if disk.Transport == "nvme" {
			kind = storage.Disk_NVME
		}

		disks.Disks = append(disks.Disks, &storage.Disk{
			DeviceName: disk.Device, Size: disk.SizeBytes, Model: "QEMU HARDDISK", Type: kind,
			SystemDisk: system != nil && system.Device == disk.Device, Subsystem: "/sys/class/block",
		})
	}

	if cdrom := s.node.Hardware.CDROM; cdrom != nil {
		disks.Disks = append(disks.Disks, &storage.Disk{
			DeviceName: cdrom.Device, Model: "QEMU DVD-ROM", Type: storage.Disk_CD, Readonly: true, Subsystem: "/sys/class/block",
		})
	}

	return &storage.DisksResponse{Messages: []*storage.Disks{disks}}, nil
}

// Time answers the machine's clock; a time server would have the host's.
func (s *Server) Time(context.Context, *emptypb.Empty) (*timeapi.TimeResponse, error) {
	return s.clock(""), nil
}

// TimeCheck answers as Time: the lab has no time servers.
func (s *Server) TimeCheck(_ context.Context, in *timeapi.TimeRequest) (*timeapi.TimeResponse, error) {
	return s.clock(in.Server), nil
}

func (s *Server) clock(server string) *timeapi.TimeResponse {
	if server == "" {
		server = constants.DefaultNTPServer

		if current := s.node.Config(); current != nil && current.NetworkTimeSyncConfig() != nil {
			if servers := current.NetworkTimeSyncConfig().Servers(); len(servers) > 0 {
				server = servers[0]
			}
		}
	}

	return &timeapi.TimeResponse{Messages: []*timeapi.Time{{
		Server: server, Localtime: timestamppb.New(clock.Now()), Remotetime: timestamppb.Now(),
	}}}
}

// Events streams the machine's events; the first, empty one says hello.
func (s *Server) Events(in *machine.EventsRequest, stream grpc.ServerStreamingServer[machine.Event]) error {
	send := func(event events.Event) error {
		message, err := event.Proto()
		if err != nil {
			return err
		}

		return stream.Send(message)
	}

	if err := send(events.Event{Actor: in.WithActorId}); err != nil {
		return err
	}

	ctx, cancel := s.until(stream.Context())
	defer cancel()

	err := s.node.Events.Send(ctx, events.Watch{
		TailEvents: int(in.TailEvents), TailID: in.TailId, TailDuration: time.Duration(in.TailSeconds) * time.Second,
		Actor: in.WithActorId,
	}, send)
	if stream.Context().Err() == nil && ctx.Err() != nil {
		// the machine goes down: a clean end of the stream
		return nil
	}

	return err
}

// Dmesg streams the kernel log.
func (s *Server) Dmesg(in *machine.DmesgRequest, stream grpc.ServerStreamingServer[common.Data]) error {
	ctx, cancel := s.until(stream.Context())
	defer cancel()

	tail := -1
	if in.Tail {
		tail = 0
	}

	return s.node.Logs.Kernel.Read(ctx, tail, in.Follow, func(line string) error {
		return stream.Send(&common.Data{Bytes: []byte(line + "\n")})
	})
}

// Logs streams the log of a service, or of a container of a static pod; the
// other pods' containers are played and say nothing.
func (s *Server) Logs(in *machine.LogsRequest, stream grpc.ServerStreamingServer[common.Data]) error {
	if in.Namespace != constants.SystemContainerdNamespace && in.Id != "kubelet" && !s.node.Logs.Has(in.Id) {
		return status.Errorf(codes.NotFound, "container %q not found", in.Id)
	}

	if !s.node.Logs.Has(in.Id) {
		return status.Errorf(codes.NotFound, "log %q was not registered", in.Id)
	}

	ctx, cancel := s.until(stream.Context())
	defer cancel()

	return s.node.Logs.Service(in.Id).Read(ctx, int(in.TailLines), in.Follow, func(line string) error {
		return stream.Send(&common.Data{Bytes: []byte(line + "\n")})
	})
}

// LogsContainers answers the names that have logs.
func (s *Server) LogsContainers(context.Context, *emptypb.Empty) (*machine.LogsContainersResponse, error) {
	return &machine.LogsContainersResponse{Messages: []*machine.LogsContainer{{Ids: s.node.Services.IDs()}}}, nil
}
