package kubeletserver

import (
	"fmt"
	"testing"

	"cluster-stack/lab/node/internal/kubeletapi"
)

func TestOfAStateOnlyTheLatestWaits(t *testing.T) {
	box := outbox{ready: make(chan struct{}, 1)}

	for _, reason := range []string{"first", "second"} {
		box.event(kubeletapi.Event{Node: &kubeletapi.NodeStatus{Reason: reason}})
		box.event(kubeletapi.Event{Certificate: &kubeletapi.Certificate{CommonName: reason}})
		box.add(kubeletapi.Message{Answer: &kubeletapi.Answer{}})
	}

	messages := box.take()
	if len(messages) != 5 {
		t.Fatalf("%d messages", len(messages))
	}

	for _, message := range messages {
		if message.Event != nil && message.Event.Node != nil && message.Event.Node.Reason != "second" {
			t.Errorf("%+v", message.Event.Node)
		}
	}
}

func TestLogLinesAreDroppedFromTheFront(t *testing.T) {
	box := outbox{ready: make(chan struct{}, 1)}
	box.add(kubeletapi.Message{Answer: &kubeletapi.Answer{ID: 7}})

	for number := range maxLogLines + 10 {
		line := fmt.Sprint(number)
		box.event(kubeletapi.Event{Log: &line})
	}

	messages := box.take()
	if len(messages) != maxLogLines+1 || messages[0].Answer == nil || *messages[1].Event.Log != "10" {
		t.Errorf("%d messages, beginning with %+v and %s", len(messages), messages[0], *messages[1].Event.Log)
	}
}
