package events_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/api/machine"

	"cluster-stack/lab/node/internal/events"
)

var errEnough = errors.New("enough")

// collect reads count events, or gives up.
func collect(t *testing.T, stream *events.Stream, watch events.Watch, count int) []events.Event {
	t.Helper()

	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()

	var seen []events.Event

	err := stream.Send(ctx, watch, func(event events.Event) error {
		seen = append(seen, event)
		if len(seen) == count {
			return errEnough
		}

		return nil
	})
	if !errors.Is(err, errEnough) && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}

	return seen
}

func tasks(seen []events.Event) string {
	text := ""

	for _, event := range seen {
		task, _ := event.Payload.(*machine.TaskEvent)
		text += task.GetTask() + " "
	}

	return text
}

func TestPastEvents(t *testing.T) {
	stream := events.NewStream()

	for i, actor := range []string{"", "a", "b", "a"} {
		stream.Publish(actor, &machine.TaskEvent{Task: fmt.Sprint(i)})
	}

	all := collect(t, stream, events.Watch{TailEvents: -1}, 9)

	for name, test := range map[string]struct {
		watch    events.Watch
		expected string
	}{
		"none":          {events.Watch{}, ""},
		"all":           {events.Watch{TailEvents: -1}, "0 1 2 3 "},
		"two":           {events.Watch{TailEvents: 2}, "2 3 "},
		"more than are": {events.Watch{TailEvents: 20}, "0 1 2 3 "},
		"of an actor":   {events.Watch{TailEvents: -1, Actor: "a"}, "1 3 "},
		"after an id":   {events.Watch{TailID: all[1].ID.String()}, "2 3 "},
		"of a time":     {events.Watch{TailDuration: time.Minute}, "0 1 2 3 "},
	} {
		if seen := tasks(collect(t, stream, test.watch, 9)); seen != test.expected {
			t.Errorf("%s: %s", name, seen)
		}
	}

	if err := stream.Send(context.Background(), events.Watch{TailID: "x"}, nil); err == nil {
		t.Error("an id that is none is accepted")
	}
}

func TestNewEventsAreSentAsTheyCome(t *testing.T) {
	stream := events.NewStream()

	go func() {
		for now, _ := stream.Watchers(); now == 0; now, _ = stream.Watchers() {
			time.Sleep(time.Millisecond)
		}

		stream.Publish("a", &machine.TaskEvent{Task: "new"})
	}()

	seen := collect(t, stream, events.Watch{}, 1)
	if tasks(seen) != "new " {
		t.Fatal(seen)
	}

	message, err := seen[0].Proto()
	if err != nil || message.Data.TypeUrl != "talos/runtime/machine.TaskEvent" || message.ActorId != "a" {
		t.Errorf("%v, %v", message, err)
	}

	if now, ever := stream.Watchers(); now != 0 || ever != 1 {
		t.Errorf("%d watch, %d did", now, ever)
	}
}

func TestOldEventsAreForgotten(t *testing.T) {
	stream := events.NewStream()

	for i := range 1500 {
		stream.Publish("", &machine.TaskEvent{Task: fmt.Sprint(i)})
	}

	seen := collect(t, stream, events.Watch{TailEvents: -1}, 5000)
	if len(seen) != 1000 || tasks(seen[:1]) != "500 " {
		t.Errorf("%d events, the first is %s", len(seen), tasks(seen[:1]))
	}
}
