// Package events is the machine's event stream: what `talosctl events` shows
// and what clients wait for after a reboot or a reset.
package events

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rs/xid"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

const capacity = 1000

// Event is one event with its id and the actor that caused it.
type Event struct {
	ID      xid.ID
	Actor   string
	Payload proto.Message
}

// Proto is the event as the API sends it.
func (e Event) Proto() (*machine.Event, error) {
	reply := &machine.Event{Data: &anypb.Any{TypeUrl: "talos/runtime/"}, Id: e.ID.String(), ActorId: e.Actor}

	if e.Payload != nil {
		value, err := proto.Marshal(e.Payload)
		if err != nil {
			return nil, err
		}

		reply.Data.TypeUrl = fmt.Sprintf("talos/runtime/%s", e.Payload.ProtoReflect().Descriptor().FullName())
		reply.Data.Value = value
	}

	return reply, nil
}

// Stream keeps the latest events and hands new ones to watchers.
type Stream struct {
	mu       sync.Mutex
	events   []Event
	dropped  int
	changed  chan struct{}
	watching int
	attached int
}

// NewStream makes an empty stream.
func NewStream() *Stream { return &Stream{changed: make(chan struct{})} }

// Publish adds an event.
func (s *Stream) Publish(actor string, payload proto.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.events = append(s.events, Event{ID: xid.New(), Actor: actor, Payload: payload})

	if over := len(s.events) - capacity; over > 0 {
		s.events = append([]Event(nil), s.events[over:]...)
		s.dropped += over
	}

	close(s.changed)
	s.changed = make(chan struct{})
}

// Latest are the latest events, oldest first, and a channel that closes with
// the next one. Whoever looks like this counts as no watcher.
func (s *Stream) Latest(most int) ([]Event, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()

	first := max(len(s.events)-most, 0)

	return append([]Event(nil), s.events[first:]...), s.changed
}

// Watch describes which events a watcher wants.
type Watch struct {
	TailEvents   int // how many past events; all of them when negative
	TailID       string
	TailDuration time.Duration
	Actor        string
}

// Watchers are how many watch now, and how many ever did.
func (s *Stream) Watchers() (now, ever int) {
	s.mu.Lock()
	defer s.mu.Unlock()

	return s.watching, s.attached
}

func (s *Stream) attach(by int) {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.watching += by
	s.attached += max(by, 0)
}

// Send sends the wanted past events, then every new one until the context ends.
func (s *Stream) Send(ctx context.Context, watch Watch, send func(Event) error) error {
	next, err := s.start(watch)
	if err != nil {
		return err
	}

	s.attach(1)
	defer s.attach(-1)

	for {
		s.mu.Lock()

		if next < s.dropped {
			next = s.dropped
		}

		batch := append([]Event(nil), s.events[next-s.dropped:]...)
		changed := s.changed

		s.mu.Unlock()

		for _, event := range batch {
			if watch.Actor != "" && event.Actor != watch.Actor {
				continue
			}

			if err := send(event); err != nil {
				return err
			}
		}

		next += len(batch)

		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

func (s *Stream) start(watch Watch) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	end := s.dropped + len(s.events)

	switch {
	case watch.TailID != "":
		id, err := xid.FromString(watch.TailID)
		if err != nil {
			return 0, fmt.Errorf("error parsing tail_id: %w", err)
		}

		for i, event := range s.events {
			if event.ID.Compare(id) > 0 {
				return s.dropped + i, nil
			}
		}

		return end, nil
	case watch.TailDuration > 0:
		since := time.Now().Add(-watch.TailDuration)

		for i, event := range s.events {
			if !event.ID.Time().Before(since.Truncate(time.Second)) {
				return s.dropped + i, nil
			}
		}

		return end, nil
	case watch.TailEvents < 0 || watch.TailEvents > len(s.events):
		return s.dropped, nil
	default:
		return end - watch.TailEvents, nil
	}
}
