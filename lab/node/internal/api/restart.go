package api

import (
	"context"
	"fmt"

	"github.com/siderolabs/talos/pkg/machinery/api/common"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/constants"

	"cluster-stack/lab/node/internal/services"
)

// Restart ends a container; whoever runs it starts it again. The lab does so
// with the daemons of Talos' own API.
func (s *Server) Restart(_ context.Context, in *machine.RestartRequest) (*machine.RestartResponse, error) {
	terminate, known := s.node.Terminations[in.Id]
	if !known || in.Namespace != constants.SystemContainerdNamespace || in.Driver != common.ContainerDriver_CONTAINERD {
		return nil, s.unsupported(fmt.Sprintf("restarting of the container %q", in.Id))
	}

	if !s.node.Services.Is(in.Id, services.Running) {
		return nil, fmt.Errorf("container %q not found", in.Id)
	}

	select {
	case terminate <- struct{}{}:
	default: // it is on its way out
	}

	return &machine.RestartResponse{Messages: []*machine.Restart{{}}}, nil
}
