package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/role"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cluster-stack/lab/node/internal/authz"
	"cluster-stack/lab/node/internal/node"
	"cluster-stack/lab/node/internal/settings"
)

type (
	applyRequest  = machine.ApplyConfigurationRequest
	applyResponse = machine.ApplyConfigurationResponse
)

// ApplyConfiguration decodes, validates and applies a machine configuration.
func (s *Server) ApplyConfiguration(ctx context.Context, in *applyRequest) (*applyResponse, error) {
	inMaintenance := s.node.InMaintenance()

	if !inMaintenance && !authz.Roles(ctx).Includes(role.Admin) {
		return nil, authz.ErrNotAuthorized
	}

	if s.node.Busy() {
		return nil, status.Error(codes.FailedPrecondition, "the machine is going down")
	}

	if in.Mode != machine.ApplyConfigurationRequest_TRY {
		s.node.CancelRollback()
	}

	next, err := settings.Decode(in.Data, s.node.Version)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}

	if !inMaintenance && next.RawV1Alpha1() == nil {
		return nil, status.Error(codes.InvalidArgument,
			"the applied machine configuration doesn't contain v1alpha1 config, did you mean to patch the machine config instead?")
	}

	warnings, err := next.Validate(s.node.Mode())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}

	runtimeWarnings, err := next.RuntimeValidate(ctx, s.node.Resources, s.node.Mode())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}

	var needsReboot error
	if !inMaintenance {
		needsReboot = settings.CanApplyImmediate(s.node.Config(), next)
	}

	decision, err := decide(in.Mode, inMaintenance, needsReboot)
	if err != nil {
		return nil, err
	}

	if in.DryRun {
		diff, err := settings.Diff(s.node.Config(), next)
		if err != nil {
			return nil, fmt.Errorf("failed to generate diff: %w", err)
		}

		return reply(decision.mode, fmt.Sprintf("Dry run summary:\n%s (skipped in dry-run).\n%s", decision.details, diff), nil), nil
	}

	s.node.Logs.Printf("apply config request: mode %s", strings.ToLower(decision.mode.String()))

	details := decision.details + decision.reason

	switch decision.mode {
	case machine.ApplyConfigurationRequest_TRY:
		timeout := constants.ConfigTryTimeout
		if in.TryModeTimeout != nil {
			timeout = in.TryModeTimeout.AsDuration()
		}

		details += fmt.Sprintf("\nThe config is applied in 'try' mode and will be automatically reverted back in %s", timeout)

		s.node.RollbackAfter(timeout)

		err = s.node.SetActive(next)
	case machine.ApplyConfigurationRequest_NO_REBOOT:
		if err = s.node.SetPersistent(next); err == nil {
			err = s.node.SetActive(next)
		}
	case machine.ApplyConfigurationRequest_STAGED:
		err = s.node.SetPersistent(next)
	case machine.ApplyConfigurationRequest_REBOOT:
		if err = s.node.SetPersistent(next); err == nil {
			err = sequenceError(s.node.Start(node.Sequence{Name: "reboot", Actor: uuid.NewString(), Reboot: &machine.RebootRequest{}}))
		}
	default:
		err = status.Errorf(codes.InvalidArgument, "incorrect mode '%s' specified for the apply config call", decision.mode)
	}

	if err != nil {
		return nil, err
	}

	return reply(decision.mode, details, slices.Concat(warnings, runtimeWarnings)), nil
}

type decision struct {
	mode    machine.ApplyConfigurationRequest_Mode
	details string
	reason  string
}

// decide turns the wanted mode into what will be done.
func decide(mode machine.ApplyConfigurationRequest_Mode, inMaintenance bool, needsReboot error) (decision, error) {
	const (
		withReboot    = "Applied configuration with a reboot"
		withoutReboot = "Applied configuration without a reboot"
	)

	if inMaintenance && mode == machine.ApplyConfigurationRequest_REBOOT {
		mode = machine.ApplyConfigurationRequest_NO_REBOOT
	}

	switch mode {
	case machine.ApplyConfigurationRequest_TRY, machine.ApplyConfigurationRequest_NO_REBOOT:
		if needsReboot != nil {
			return decision{}, status.Error(codes.InvalidArgument, needsReboot.Error())
		}

		return decision{mode: mode, details: withoutReboot}, nil
	case machine.ApplyConfigurationRequest_STAGED:
		return decision{mode: mode, details: "Staged configuration to be applied after the next reboot"}, nil
	case machine.ApplyConfigurationRequest_AUTO:
		if needsReboot != nil {
			return decision{
				mode: machine.ApplyConfigurationRequest_REBOOT, details: withReboot, reason: ": " + needsReboot.Error(),
			}, nil
		}

		return decision{mode: machine.ApplyConfigurationRequest_NO_REBOOT, details: withoutReboot}, nil
	default:
		return decision{mode: mode, details: withReboot}, nil
	}
}

func reply(mode machine.ApplyConfigurationRequest_Mode, details string, warnings []string) *applyResponse {
	return &applyResponse{Messages: []*machine.ApplyConfiguration{{Mode: mode, ModeDetails: details, Warnings: warnings}}}
}

const bootstrapTimeout = 30 * time.Second

// Bootstrap makes this control plane the first member of a new etcd cluster.
func (s *Server) Bootstrap(ctx context.Context, in *machine.BootstrapRequest) (*machine.BootstrapResponse, error) {
	s.node.Logs.Printf("bootstrap request received")

	if !s.node.Services.Is("cri", "Running") {
		return nil, status.Error(codes.FailedPrecondition, "bootstrap is not available yet")
	}

	if err := s.node.CheckControlPlane("bootstrap"); err != nil {
		return nil, err
	}

	request := node.BootstrapRequest{Recover: in.RecoverEtcd, SkipHashCheck: in.RecoverSkipHashCheck, Done: make(chan error, 1)}

	ctx, cancel := context.WithTimeout(ctx, bootstrapTimeout)
	defer cancel()

	select {
	case s.node.Bootstraps <- request:
	case <-ctx.Done():
		return nil, ctx.Err()
	}

	select {
	case err := <-request.Done:
		if err != nil {
			return nil, err
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}

	return &machine.BootstrapResponse{Messages: []*machine.Bootstrap{{}}}, nil
}
