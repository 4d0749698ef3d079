package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	machineapi "github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/client"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	trackInterval = time.Second
	bootIDPath    = "/proc/sys/kernel/random/boot_id"
)

// errUnreadableBootID is what a machine answers whose boot id these credentials may not read.
var errUnreadableBootID = errors.New("not allowed to read the boot id")

// reset wipes a machine and follows its events until it stops all its services; with reboot, until it is back, in
// maintenance mode or with a new boot id.
func (m machine) reset(ctx context.Context, c *client.Client, graceful, reboot bool, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	var bootID string

	if reboot {
		var err error
		if bootID, err = readBootID(ctx, c); err != nil && !errors.Is(err, errUnreadableBootID) {
			return err
		}
	}

	if err := m.resetAndTrack(ctx, c, &machineapi.ResetRequest{
		Graceful: graceful,
		Reboot:   reboot,
		SystemPartitionsToWipe: []*machineapi.ResetPartitionSpec{
			{Label: constants.StatePartitionLabel, Wipe: true},
			{Label: constants.EphemeralPartitionLabel, Wipe: true},
		},
	}); err != nil {
		return err
	}

	if !reboot {
		return nil
	}

	return repeat(ctx, func() error { return m.rebooted(ctx, c, bootID) })
}

// errAgain is a state of the machine that will pass.
var errAgain = errors.New("still waiting")

func (m machine) resetAndTrack(ctx context.Context, c *client.Client, request *machineapi.ResetRequest) error {
	var (
		asked bool
		actor string
		tail  int32
	)

	return repeat(ctx, func() error {
		watch, stop := context.WithCancel(ctx)
		defer stop()

		events := make(chan client.EventResult)
		if err := c.EventsWatchV2(watch, events, client.WithTailEvents(tail)); err != nil {
			return err
		}

		// The watch comes first, so that no event of the reset is missed.
		if !asked {
			answer, err := c.ResetGenericWithResponse(ctx, request)
			if err != nil {
				return &finalError{err}
			}

			if len(answer.GetMessages()) == 0 {
				return &finalError{errors.New("the machine did not answer the reset")}
			}

			asked, actor = true, answer.GetMessages()[0].GetActorId()
		}

		// A watch that has to be renewed starts with all the events that the machine remembers.
		tail = -1

		return follow(watch, events, actor)
	})
}

// follow reads events until the machine stops all its services.
func follow(ctx context.Context, events <-chan client.EventResult, actor string) error {
	for {
		var result client.EventResult

		select {
		case result = <-events:
		case <-ctx.Done():
			return ctx.Err()
		}

		if result.Error != nil {
			return result.Error
		}

		switch event := result.Event.Payload.(type) {
		case *machineapi.TaskEvent:
			if event.GetTask() == "stopAllServices" {
				return nil
			}
		case *machineapi.SequenceEvent:
			if message := event.GetError().GetMessage(); message != "" && result.Event.ActorID == actor {
				return &finalError{fmt.Errorf("sequence %s: %s", event.GetSequence(), message)}
			}
		}
	}
}

// rebooted succeeds when the machine is in maintenance mode or has another boot id than before.
func (m machine) rebooted(ctx context.Context, c *client.Client, before string) error {
	insecure, err := m.insecureClient(ctx)
	if err != nil {
		return err
	}
	defer insecure.Close() //nolint:errcheck

	if _, err = insecure.Disks(ctx); err == nil || before == "" {
		return nil
	}

	current, err := readBootID(ctx, c)
	if err != nil {
		return err
	}

	if current == before {
		return errAgain
	}

	return nil
}

func readBootID(ctx context.Context, c *client.Client) (string, error) {
	reader, err := c.Read(ctx, bootIDPath)
	if err != nil {
		return "", err
	}
	defer reader.Close() //nolint:errcheck

	content, err := io.ReadAll(reader)
	if status.Code(err) == codes.PermissionDenied {
		return "", errUnreadableBootID
	}

	return strings.TrimSpace(string(content)), err
}

// finalError is an error after which repeat does not try again.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

// repeat tries once a second while the machine is out of reach or not there yet.
func repeat(ctx context.Context, try func() error) error {
	for {
		err := try()

		var final *finalError

		switch {
		case err == nil:
			return nil
		case errors.As(err, &final):
			return final.error
		case ctx.Err() != nil:
			return fmt.Errorf("%w; last answer: %w", ctx.Err(), err)
		}

		code := client.StatusCode(err)
		if !errors.Is(err, errAgain) && !errors.Is(err, io.EOF) && code != codes.Unavailable && code != codes.Canceled {
			return err
		}

		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last answer: %w", ctx.Err(), err)
		case <-time.After(trackInterval):
		}
	}
}
