// Package services is the list of system services with their states, as
// `talosctl services` shows it. It starts nothing: whoever runs the thing
// behind a service reports it here.
package services

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"time"

	"github.com/cosi-project/runtime/pkg/state"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/resources/v1alpha1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"cluster-stack/lab/node/internal/cosi"
	"cluster-stack/lab/node/internal/events"
	"cluster-stack/lab/node/internal/logs"
)

// The states of a service.
const (
	Waiting   = "Waiting"
	Preparing = "Preparing"
	Running   = "Running"
	Stopping  = "Stopping"
	Finished  = "Finished"
	Failed    = "Failed"
)

var eventActions = map[string]machine.ServiceStateEvent_Action{
	Waiting: machine.ServiceStateEvent_WAITING, Preparing: machine.ServiceStateEvent_PREPARING,
	Running: machine.ServiceStateEvent_RUNNING, Stopping: machine.ServiceStateEvent_STOPPING,
	Finished: machine.ServiceStateEvent_FINISHED, Failed: machine.ServiceStateEvent_FAILED,
}

const maxEvents = 64

type service struct {
	id     string
	state  string
	events []*machine.ServiceEvent

	unknown, healthy bool
	healthMessage    string
	healthChanged    time.Time
}

// Services are the services of one machine.
type Services struct {
	resources state.State
	stream    *events.Stream
	logs      *logs.Logs
	changed   func()

	mu   sync.Mutex
	byID map[string]*service
}

// New makes an empty list; changed is called after every change.
func New(resources state.State, stream *events.Stream, logs *logs.Logs, changed func()) *Services {
	return &Services{resources: resources, stream: stream, logs: logs, changed: changed, byID: map[string]*service{}}
}

// Set moves a service to a state.
func (s *Services) Set(id, state, format string, args ...any) {
	message := fmt.Sprintf(format, args...)

	s.mu.Lock()

	entry, ok := s.byID[id]
	if !ok {
		entry = &service{id: id, unknown: true, healthChanged: time.Now()}
		s.byID[id] = entry
	}

	if entry.state == state && len(entry.events) > 0 && entry.events[len(entry.events)-1].Msg == message {
		s.mu.Unlock()

		return
	}

	entry.state = state
	entry.events = append(entry.events, &machine.ServiceEvent{Msg: message, State: state, Ts: timestamppb.Now()})

	if over := len(entry.events) - maxEvents; over > 0 {
		entry.events = entry.events[over:]
	}

	if state != Running {
		entry.unknown, entry.healthy, entry.healthMessage, entry.healthChanged = true, false, "", time.Now()
	}

	s.publish(entry, message)
	s.mu.Unlock()
	s.changed()

	s.logs.Printf("service[%s](%s): %s", id, state, message)
	s.logs.Service(id).Append(message)
}

// Health reports a service's health check.
func (s *Services) Health(id string, healthy bool, message string) {
	s.mu.Lock()

	entry, ok := s.byID[id]
	if !ok || entry.state != Running || (!entry.unknown && entry.healthy == healthy && entry.healthMessage == message) {
		s.mu.Unlock()

		return
	}

	if entry.unknown || entry.healthy != healthy {
		entry.healthChanged = time.Now()

		outcome := "Health check successful"
		if !healthy {
			outcome = "Health check failed: " + message
		}

		entry.events = append(entry.events, &machine.ServiceEvent{Msg: outcome, State: entry.state, Ts: timestamppb.Now()})
	}

	entry.unknown, entry.healthy, entry.healthMessage = false, healthy, message

	s.publish(entry, message)
	s.mu.Unlock()
	s.changed()
}

func (s *Services) publish(entry *service, message string) {
	s.stream.Publish("", &machine.ServiceStateEvent{
		Service: entry.id, Action: eventActions[entry.state], Message: message, Health: entry.health(),
	})

	ctx := context.Background()
	resource := v1alpha1.NewService(entry.id)

	if entry.state == Running || entry.state == Stopping {
		resource.TypedSpec().Running = true
		resource.TypedSpec().Unknown = entry.unknown
		resource.TypedSpec().Healthy = entry.healthy

		cosi.Put(ctx, s.resources, resource) //nolint:errcheck // an in-memory state does not fail

		return
	}

	cosi.Drop(ctx, s.resources, resource.Metadata()) //nolint:errcheck // as above
}

func (e *service) health() *machine.ServiceHealth {
	return &machine.ServiceHealth{
		Unknown: e.unknown, Healthy: e.healthy, LastMessage: e.healthMessage, LastChange: timestamppb.New(e.healthChanged),
	}
}

// Is reports whether the service is in the state.
func (s *Services) Is(id, state string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	entry, ok := s.byID[id]

	return ok && entry.state == state
}

// Has reports whether there is such a service.
func (s *Services) Has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	_, ok := s.byID[id]

	return ok
}

// IDs are the services' names, in order.
func (s *Services) IDs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()

	ids := make([]string, 0, len(s.byID))
	for id := range s.byID {
		ids = append(ids, id)
	}

	sort.Strings(ids)

	return ids
}

// List is the list as the API answers it.
func (s *Services) List() []*machine.ServiceInfo {
	ids := s.IDs()

	s.mu.Lock()
	defer s.mu.Unlock()

	list := make([]*machine.ServiceInfo, 0, len(ids))

	for _, id := range ids {
		entry := s.byID[id]
		list = append(list, &machine.ServiceInfo{
			Id: id, State: entry.state, Health: entry.health(),
			Events: &machine.ServiceEvents{Events: append([]*machine.ServiceEvent(nil), entry.events...)},
		})
	}

	return list
}

// Up reports whether all of the services run and are healthy.
func (s *Services) Up(ids []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	for _, id := range ids {
		if entry, ok := s.byID[id]; !ok || entry.state != Running || !entry.healthy {
			return false
		}
	}

	return true
}

// Problem tells what keeps the required services from being up, or "".
func (s *Services) Problem(required []string) string {
	s.mu.Lock()
	defer s.mu.Unlock()

	problem := ""
	add := func(id, what string) {
		if problem != "" {
			problem += ", "
		}

		problem += id + " " + what
	}

	for _, id := range required {
		entry, ok := s.byID[id]

		switch {
		case !ok || entry.state != Running:
			add(id, "not running")
		case !entry.unknown && !entry.healthy:
			add(id, "not healthy")
		}
	}

	return problem
}
