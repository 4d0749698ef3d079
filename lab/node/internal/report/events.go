package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"google.golang.org/protobuf/proto"

	"cluster-stack/lab/node/internal/events"
)

// Event is one of the machine's events, in words.
type Event struct {
	ID   string    `json:"id"`
	Time time.Time `json:"time"`
	Text string    `json:"text"`
}

// latestEvents are those of the stream that say something, oldest first, and
// a channel that closes with the next one.
func latestEvents(stream *events.Stream) ([]Event, <-chan struct{}) {
	list := []Event{}
	found, changed := stream.Latest(shownEvents)

	previous := ""

	for _, event := range found {
		// two in a row that read the same differ in what the words leave out
		if text := inWords(event.Payload); text != "" && text != previous {
			list = append(list, Event{ID: event.ID.String(), Time: event.ID.Time().UTC(), Text: text})
			previous = text
		}
	}

	return list, changed
}

func inWords(payload proto.Message) string {
	switch event := payload.(type) {
	case *machine.SequenceEvent:
		if event.Error != nil {
			return event.Error.Message
		}

		return fmt.Sprintf("sequence %s %s", event.Sequence, ended(event.Action == machine.SequenceEvent_STOP))
	case *machine.PhaseEvent:
		return "" // its tasks say more
	case *machine.TaskEvent:
		return fmt.Sprintf("task %s %s", event.Task, ended(event.Action == machine.TaskEvent_STOP))
	case *machine.MachineStatusEvent:
		return status(event)
	case *machine.ServiceStateEvent:
		return service(event)
	default:
		return string(payload.ProtoReflect().Descriptor().Name())
	}
}

func ended(yes bool) string {
	if yes {
		return "ended"
	}

	return "started"
}

func status(event *machine.MachineStatusEvent) string {
	text := "stage " + strings.ToLower(strings.ReplaceAll(event.Stage.String(), "_", " "))

	var unmet []string
	for _, condition := range event.Status.UnmetConditions {
		unmet = append(unmet, condition.Name+": "+condition.Reason)
	}

	switch {
	case unmet != nil:
		return text + ", waits for " + strings.Join(unmet, "; ")
	case event.Stage == machine.MachineStatusEvent_RUNNING:
		return text + ", ready"
	default:
		return text
	}
}

func service(event *machine.ServiceStateEvent) string {
	switch {
	case event.Action != machine.ServiceStateEvent_RUNNING || event.Health.Unknown:
		return fmt.Sprintf("%s %s: %s", event.Service, strings.ToLower(event.Action.String()), event.Message)
	case event.Health.Healthy:
		return event.Service + " is healthy"
	default:
		return fmt.Sprintf("%s is not healthy: %s", event.Service, event.Health.LastMessage)
	}
}
