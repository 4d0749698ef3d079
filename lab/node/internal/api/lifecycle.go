package api

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"

	"cluster-stack/lab/node/internal/hardware"
	"cluster-stack/lab/node/internal/node"
)

// Reboot reboots the machine.
func (s *Server) Reboot(_ context.Context, in *machine.RebootRequest) (*machine.RebootResponse, error) {
	actor := uuid.NewString()

	s.node.Logs.Printf("reboot via API received. actor id: %s", actor)

	if err := s.node.Start(node.Sequence{Name: "reboot", Actor: actor, Reboot: in}); err != nil {
		return nil, sequenceError(err)
	}

	return &machine.RebootResponse{Messages: []*machine.Reboot{{ActorId: actor}}}, nil
}

// Shutdown powers the machine off.
func (s *Server) Shutdown(_ context.Context, in *machine.ShutdownRequest) (*machine.ShutdownResponse, error) {
	actor := uuid.NewString()

	s.node.Logs.Printf("shutdown via API received. actor id: %s", actor)

	if err := s.node.Start(node.Sequence{Name: "shutdown", Actor: actor, Force: in.Force}); err != nil {
		return nil, sequenceError(err)
	}

	return &machine.ShutdownResponse{Messages: []*machine.Shutdown{{ActorId: actor}}}, nil
}

// Reset wipes what is asked for, then reboots or powers off.
func (s *Server) Reset(_ context.Context, in *machine.ResetRequest) (*machine.ResetResponse, error) {
	actor := uuid.NewString()

	s.node.Logs.Printf("reset request received. actorID: %s", actor)

	if err := s.checkReset(in); err != nil {
		return nil, err
	}

	if err := s.node.Start(node.Sequence{Name: "reset", Actor: actor, Reset: in}); err != nil {
		return nil, sequenceError(err)
	}

	return &machine.ResetResponse{Messages: []*machine.Reset{{ActorId: actor}}}, nil
}

func (s *Server) checkReset(in *machine.ResetRequest) error {
	system := s.node.Disk()

	if len(in.UserDisksToWipe) > 0 && in.Mode == machine.ResetRequest_SYSTEM_DISK {
		return fmt.Errorf("reset failed: invalid input, wipe mode SYSTEM_DISK doesn't support UserDisksToWipe parameter")
	}

	for _, device := range in.UserDisksToWipe {
		if s.node.Hardware.CDROM != nil && s.node.Hardware.CDROM.Device == device {
			return fmt.Errorf("reset user disk failed: device %s is readonly", device)
		}

		if FindDisk(s.node.Hardware, device) == nil {
			return fmt.Errorf("reset user disk failed: device %s wasn't found", device)
		}

		if system != nil && system.Device == device {
			return fmt.Errorf("reset user disk failed: device %s is the system disk", device)
		}
	}

	if len(in.SystemPartitionsToWipe) == 0 {
		return nil
	}

	if in.Mode == machine.ResetRequest_USER_DISKS {
		return fmt.Errorf("reset failed: invalid input, wipe mode USER_DISKS doesn't support SystemPartitionsToWipe parameter")
	}

	for _, partition := range in.SystemPartitionsToWipe {
		known := partition.Label == hardware.MetaLabel
		for _, label := range hardware.Partitions {
			known = known || label == partition.Label
		}

		if !known || system == nil {
			return fmt.Errorf("failed to get volume status with label %q: resource doesn't exist", partition.Label)
		}
	}

	return nil
}

// FindDisk finds a disk by its device, or nil.
func FindDisk(machine *hardware.Machine, device string) *hardware.Disk {
	for i := range machine.Disks {
		if machine.Disks[i].Device == device {
			return &machine.Disks[i]
		}
	}

	return nil
}
