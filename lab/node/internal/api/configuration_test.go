package api

import (
	"errors"
	"testing"

	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestWhatBecomesOfAMode(t *testing.T) {
	const (
		auto, reboot = machine.ApplyConfigurationRequest_AUTO, machine.ApplyConfigurationRequest_REBOOT
		noReboot     = machine.ApplyConfigurationRequest_NO_REBOOT
		staged, try  = machine.ApplyConfigurationRequest_STAGED, machine.ApplyConfigurationRequest_TRY
	)

	change := errors.New("needs a reboot")

	for _, test := range []struct {
		mode        machine.ApplyConfigurationRequest_Mode
		maintenance bool
		change      error
		expected    machine.ApplyConfigurationRequest_Mode
		refused     bool
	}{
		{auto, false, nil, noReboot, false},
		{auto, false, change, reboot, false},
		{auto, true, nil, noReboot, false},
		{noReboot, false, nil, noReboot, false},
		{noReboot, false, change, 0, true},
		{try, false, change, 0, true},
		{try, false, nil, try, false},
		{staged, false, change, staged, false},
		{reboot, false, nil, reboot, false},
		{reboot, true, nil, noReboot, false},
	} {
		decided, err := decide(test.mode, test.maintenance, test.change)

		switch {
		case test.refused && status.Code(err) != codes.InvalidArgument:
			t.Errorf("%v: %v", test, err)
		case !test.refused && (err != nil || decided.mode != test.expected):
			t.Errorf("%v: %v, %v", test, decided, err)
		}
	}
}
