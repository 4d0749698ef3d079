package node

import (
	"errors"
	"testing"

	"github.com/siderolabs/talos/pkg/machinery/api/common"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"

	"cluster-stack/lab/node/internal/events"
)

func TestASecondSequenceIsAnsweredAsTalosDoes(t *testing.T) {
	for _, one := range []struct {
		running, asked   string
		refused, tellsOf bool
	}{
		{"reboot", "reboot", false, false}, // talosctl may ask twice
		{"reboot", "reset", false, true},
		{"upgrade", "reboot", false, true},
		{"reset", "reboot", true, false}, // Talos would break the reset off, and the lab cannot
		{"reboot", "shutdown", true, false},
	} {
		node := &Node{Events: events.NewStream(), Sequences: make(chan Sequence, 1)}

		if err := node.Start(Sequence{Name: one.running}); err != nil || !node.Busy() {
			t.Fatalf("%s does not start: %v", one.running, err)
		}

		err := node.Start(Sequence{Name: one.asked})
		if errors.Is(err, ErrLocked) != one.refused {
			t.Errorf("%s while %s: %v", one.asked, one.running, err)
		}

		told, _ := node.Events.Latest(1)
		if (len(told) == 1) != one.tellsOf {
			t.Errorf("%s while %s: %d events", one.asked, one.running, len(told))
		}

		if len(told) == 1 && told[0].Payload.(*machine.SequenceEvent).GetError().GetCode() != common.Code_LOCKED {
			t.Errorf("%s while %s tells %v", one.asked, one.running, told[0].Payload)
		}

		if len(node.Sequences) != 1 {
			t.Errorf("%s while %s: %d sequences are to run", one.asked, one.running, len(node.Sequences))
		}
	}
}
