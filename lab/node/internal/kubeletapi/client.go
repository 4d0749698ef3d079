package kubeletapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrClosed says that the kubelet is gone: somebody closed the connection.
var ErrClosed = errors.New("the kubelet has ended")

// Client is a machine's end of the connection. Its methods may be called at the same time.
type Client struct {
	connection net.Conn

	writing sync.Mutex
	encoder *json.Encoder

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan Answer
	events  []Event
	changed chan struct{} // closed and made anew when there are events, or the end
	err     error         // why the connection ended
}

// Start opens a connection and starts a kubelet, which lives until Close.
func Start(ctx context.Context, socket string, settings Settings) (*Client, error) {
	var dialer net.Dialer

	connection, err := dialer.DialContext(ctx, "unix", socket)
	if err == nil {
		err = SendNetwork(connection)
	}

	if err != nil {
		return nil, fmt.Errorf("reaching the player of kubelets: %w", err)
	}

	client := &Client{
		connection: connection,
		encoder:    json.NewEncoder(connection),
		waiting:    map[uint64]chan Answer{},
		changed:    make(chan struct{}),
	}

	go client.read()

	if err := client.ask(ctx, Request{Start: &settings}); err != nil {
		client.Close()

		return nil, err
	}

	return client, nil
}

// SendNetwork gives the network namespace of this process to the other end of a
// new connection. It goes with a byte that JSON does not mind.
func SendNetwork(connection net.Conn) error {
	socket, ok := connection.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("%s is no unix socket", connection.RemoteAddr())
	}

	namespace, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return err
	}

	defer namespace.Close() //nolint:errcheck // it was only read

	_, _, err = socket.WriteMsgUnix([]byte{'\n'}, unix.UnixRights(int(namespace.Fd())), nil) //nolint:gosec // a descriptor is small

	return err
}

// Close ends the kubelet at once.
func (c *Client) Close() { c.connection.Close() } //nolint:errcheck

// Apply brings the Node's labels, annotations, taints and cordon to what is wanted.
func (c *Client) Apply(ctx context.Context, spec NodeSpec) error {
	return c.ask(ctx, Request{Apply: &spec})
}

// SetStaticPods tells which static pods there are, and how they fare.
func (c *Client) SetStaticPods(ctx context.Context, pods []StaticPod) error {
	if pods == nil {
		pods = []StaticPod{} // none, which is not the same as no word of them
	}

	return c.ask(ctx, Request{StaticPods: &pods})
}

// SetPodStates tells how the pods fare that the kubelet wants run.
func (c *Client) SetPodStates(ctx context.Context, states []PodState) error {
	if states == nil {
		states = []PodState{} // none, which is not the same as no word of them
	}

	return c.ask(ctx, Request{PodStates: &states})
}

// Drain evicts the node's pods. Pods that stay after that time are no failure.
func (c *Client) Drain(ctx context.Context, timeout time.Duration) error {
	return c.ask(ctx, Request{Drain: &timeout})
}

// Shutdown ends the node's pods, and returns when they have ended or after that time.
func (c *Client) Shutdown(ctx context.Context, timeout time.Duration) error {
	return c.ask(ctx, Request{Shutdown: &timeout})
}

// ApplyManifests brings what is missing of the objects to the API server.
func (c *Client) ApplyManifests(ctx context.Context, manifests Manifests) error {
	return c.ask(ctx, Request{Manifests: &manifests})
}

// Next waits for the next event. ErrClosed comes after the last one.
func (c *Client) Next(ctx context.Context) (Event, error) {
	for {
		c.mu.Lock()

		if len(c.events) > 0 {
			event := c.events[0]
			c.events = c.events[1:]

			c.mu.Unlock()

			return event, nil
		}

		err, changed := c.err, c.changed

		c.mu.Unlock()

		if err != nil {
			return Event{}, err
		}

		select {
		case <-ctx.Done():
			return Event{}, ctx.Err()
		case <-changed:
		}
	}
}

func (c *Client) ask(ctx context.Context, request Request) error {
	answer := make(chan Answer, 1)

	c.mu.Lock()

	if c.err != nil {
		defer c.mu.Unlock()

		return c.err
	}

	c.last++
	request.ID = c.last
	c.waiting[request.ID] = answer

	c.mu.Unlock()

	if err := c.send(request); err != nil {
		return err
	}

	select {
	case given, open := <-answer:
		switch {
		case !open:
			return ErrClosed
		case given.Error != nil:
			return given.Error
		default:
			return nil
		}
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, request.ID)
		c.mu.Unlock()

		if err := c.send(Request{Cancel: &request.ID}); err != nil {
			return err
		}

		return ctx.Err()
	}
}

func (c *Client) send(request Request) error {
	c.writing.Lock()
	defer c.writing.Unlock()

	if err := c.encoder.Encode(request); err != nil {
		return fmt.Errorf("%w (%w)", ErrClosed, err)
	}

	return nil
}

func (c *Client) read() {
	decoder := json.NewDecoder(c.connection)

	for {
		var message Message

		if err := decoder.Decode(&message); err != nil {
			c.end()

			return
		}

		c.mu.Lock()

		if answer := message.Answer; answer != nil {
			if waiting, known := c.waiting[answer.ID]; known {
				delete(c.waiting, answer.ID)
				waiting <- *answer
			}
		}

		if message.Event != nil {
			c.events = append(c.events, *message.Event)
			close(c.changed)
			c.changed = make(chan struct{})
		}

		c.mu.Unlock()
	}
}

func (c *Client) end() {
	c.mu.Lock()
	defer c.mu.Unlock()

	c.err = ErrClosed

	for _, waiting := range c.waiting {
		close(waiting)
	}

	c.waiting = nil
	close(c.changed)
	c.changed = make(chan struct{})
}
