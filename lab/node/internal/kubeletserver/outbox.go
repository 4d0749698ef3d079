package kubeletserver

import (
	"slices"
	"sync"

	"cluster-stack/lab/node/internal/kubeletapi"
)

const maxLogLines = 200

// outbox holds what a machine has not taken yet. A machine that stands still keeps
// no kubelet waiting: of a state only the latest is kept, and of log lines only so many.
type outbox struct {
	ready chan struct{}

	mu       sync.Mutex
	messages []kubeletapi.Message
	lines    int
}

func (o *outbox) event(event kubeletapi.Event) { o.add(kubeletapi.Message{Event: &event}) }

func (o *outbox) add(message kubeletapi.Message) {
	o.mu.Lock()

	switch event := message.Event; {
	case event == nil: // an answer
	case event.Node != nil:
		o.drop(func(earlier kubeletapi.Event) bool { return earlier.Node != nil })
	case event.StaticPods != nil:
		o.drop(func(earlier kubeletapi.Event) bool { return earlier.StaticPods != nil })
	case event.Pods != nil:
		o.drop(func(earlier kubeletapi.Event) bool { return earlier.Pods != nil })
	case event.Services != nil:
		o.drop(func(earlier kubeletapi.Event) bool { return earlier.Services != nil })
	case event.Log != nil && o.lines >= maxLogLines:
		o.dropFirstLine()

		o.lines++
	case event.Log != nil:
		o.lines++
	}

	o.messages = append(o.messages, message)
	o.mu.Unlock()

	select {
	case o.ready <- struct{}{}:
	default:
	}
}

func (o *outbox) take() []kubeletapi.Message {
	o.mu.Lock()
	defer o.mu.Unlock()

	taken := o.messages
	o.messages, o.lines = nil, 0

	return taken
}

func (o *outbox) drop(obsolete func(kubeletapi.Event) bool) {
	o.messages = slices.DeleteFunc(o.messages, func(message kubeletapi.Message) bool {
		return message.Event != nil && obsolete(*message.Event)
	})
}

func (o *outbox) dropFirstLine() {
	place := slices.IndexFunc(o.messages, func(message kubeletapi.Message) bool {
		return message.Event != nil && message.Event.Log != nil
	})
	o.messages = slices.Delete(o.messages, place, place+1)
	o.lines--
}
