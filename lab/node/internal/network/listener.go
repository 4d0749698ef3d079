package network

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"sync"
)

// Listener accepts on one port of each of the machine's addresses, which may
// come and go: all machines share one loopback device, so that none may listen
// on the wildcard address.
type Listener struct {
	port     int
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once

	mu   sync.Mutex
	open map[netip.Addr]net.Listener
}

// NewListener makes a listener on no address yet.
func NewListener(port int) *Listener {
	return &Listener{
		port: port, accepted: make(chan net.Conn), closed: make(chan struct{}), open: map[netip.Addr]net.Listener{},
	}
}

// Sync makes the listener accept on exactly these addresses. It goes on after
// a failure and returns the last one.
func (l *Listener) Sync(addresses []netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()

	select {
	case <-l.closed:
		return net.ErrClosed
	default:
	}

	wanted := map[netip.Addr]bool{}

	var failed error

	for _, address := range addresses {
		wanted[address] = true

		if l.open[address] != nil {
			continue
		}

		listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", net.JoinHostPort(address.String(), strconv.Itoa(l.port)))
		if err != nil {
			failed = err

			continue
		}

		l.open[address] = listener

		go l.accept(listener)
	}

	for address, listener := range l.open {
		if !wanted[address] {
			listener.Close() //nolint:errcheck
			delete(l.open, address)
		}
	}

	return failed
}

func (l *Listener) accept(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}

		select {
		case l.accepted <- connection:
		case <-l.closed:
			connection.Close() //nolint:errcheck

			return
		}
	}
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case connection := <-l.accepted:
		return connection, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })

	l.mu.Lock()
	defer l.mu.Unlock()

	for address, listener := range l.open {
		listener.Close() //nolint:errcheck
		delete(l.open, address)
	}

	return nil
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return &net.TCPAddr{Port: l.port} }
