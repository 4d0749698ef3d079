// Package logs keeps what the machine and its services have said: the kernel
// log (also the serial console) and one log per service, each bounded.
package logs

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"cluster-stack/lab/node/internal/clock"
)

const maxLines = 500

// Buffer is a bounded list of lines that can be followed.
type Buffer struct {
	mu      sync.Mutex
	lines   []string
	dropped int
	changed chan struct{}
}

// NewBuffer makes an empty buffer.
func NewBuffer() *Buffer { return &Buffer{changed: make(chan struct{})} }

// Append adds one line.
func (b *Buffer) Append(line string) {
	b.mu.Lock()
	defer b.mu.Unlock()

	b.lines = append(b.lines, line)

	if over := len(b.lines) - maxLines; over > 0 {
		b.lines = append([]string(nil), b.lines[over:]...)
		b.dropped += over
	}

	close(b.changed)
	b.changed = make(chan struct{})
}

// Read sends lines: the last tail of those that are there (all when negative),
// and with follow every new one until the context ends.
func (b *Buffer) Read(ctx context.Context, tail int, follow bool, send func(line string) error) error {
	b.mu.Lock()

	next := b.dropped
	if tail >= 0 && tail < len(b.lines) {
		next = b.dropped + len(b.lines) - tail
	}

	b.mu.Unlock()

	for {
		b.mu.Lock()

		if next < b.dropped {
			next = b.dropped
		}

		batch := append([]string(nil), b.lines[next-b.dropped:]...)
		changed := b.changed

		b.mu.Unlock()

		for _, line := range batch {
			if err := send(line); err != nil {
				return err
			}
		}

		next += len(batch)

		if !follow {
			return nil
		}

		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// Text is all that is there.
func (b *Buffer) Text() string {
	b.mu.Lock()
	defer b.mu.Unlock()

	if len(b.lines) == 0 {
		return ""
	}

	return strings.Join(b.lines, "\n") + "\n"
}

// Logs are the logs of one machine.
type Logs struct {
	Kernel *Buffer

	console io.Writer
	mu      sync.Mutex
	service map[string]*Buffer
}

// New makes the machine's logs; the kernel log also goes to the console.
func New(console io.Writer) *Logs {
	return &Logs{Kernel: NewBuffer(), console: console, service: map[string]*Buffer{}}
}

// Printf writes a line of the init system to the kernel log and the console.
func (l *Logs) Printf(format string, args ...any) {
	line := fmt.Sprintf("user: warning: [%s]: [talos] %s", clock.Now().UTC().Format(time.RFC3339Nano), fmt.Sprintf(format, args...))

	l.Kernel.Append(line)

	l.mu.Lock()
	defer l.mu.Unlock()

	fmt.Fprintln(l.console, line) //nolint:errcheck
}

// controllers is the log that Talos' controllers have together.
const controllers = "controller-runtime"

// Controllers writes a line to the log of the controllers.
func (l *Logs) Controllers(level, text string) {
	l.Service(controllers).Append(clock.Now().UTC().Format(time.RFC3339Nano) + " " + level + " " + text)
}

// ControllerFailed tells of a controller's failure in both logs, as Talos does.
func (l *Logs) ControllerFailed(text string) {
	l.Controllers("ERROR", "controller failed: "+text)
	l.Printf("controller failed: %s", text)
}

// Service is the log of one service.
func (l *Logs) Service(id string) *Buffer {
	l.mu.Lock()
	defer l.mu.Unlock()

	buffer, ok := l.service[id]
	if !ok {
		buffer = NewBuffer()
		l.service[id] = buffer
	}

	return buffer
}

// IDs are the services that have ever logged, in order.
func (l *Logs) IDs() []string {
	l.mu.Lock()
	defer l.mu.Unlock()

	return slices.Sorted(maps.Keys(l.service))
}

// Has reports whether the service has ever logged.
func (l *Logs) Has(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()

	_, ok := l.service[id]

	return ok
}
