// Package kubeletnetwork makes connections from the network namespace of another
// process: the machine whose kubelet is played. So the API server sees the
// machine's address, and a machine whose network is cut has no kubelet that gets
// through.
package kubeletnetwork

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	dialTimeout = 30 * time.Second // as the kubelet's
	keepAlive   = 30 * time.Second
)

// Network is the network namespace of one machine. It exists until Close, even
// if the machine does not.
type Network struct {
	dialer net.Dialer
	theirs *os.File // nil if it is our own
	ours   *os.File

	mu      sync.Mutex
	closed  bool
	dialing int
}

// OfPeer is the network that the process at the other end of a unix socket has
// sent (kubeletapi.SendNetwork).
func OfPeer(connection *net.UnixConn) (*Network, error) {
	data, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(sizeOfDescriptor))

	_, length, _, _, err := connection.ReadMsgUnix(data, rights)
	if err != nil {
		return nil, err
	}

	messages, err := unix.ParseSocketControlMessage(rights[:length])
	if err != nil {
		return nil, err
	}

	for _, message := range messages {
		if descriptors, err := unix.ParseUnixRights(&message); err == nil && len(descriptors) == 1 {
			return of(os.NewFile(uintptr(descriptors[0]), "network namespace"))
		}
	}

	return nil, errors.New("the machine has not sent its network namespace")
}

const sizeOfDescriptor = 4

// OfProcess is the network of a process.
func OfProcess(pid int) (*Network, error) {
	theirs, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, fmt.Errorf("the network namespace of process %d: %w", pid, err)
	}

	return of(theirs)
}

func of(theirs *os.File) (*Network, error) {
	ours, err := os.Open("/proc/self/ns/net")
	if err != nil {
		theirs.Close() //nolint:errcheck

		return nil, err
	}

	network := &Network{
		dialer: net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive},
		theirs: theirs,
		ours:   ours,
	}

	same, err := sameFile(theirs, ours)
	if err != nil || same {
		network.release()
	}

	return network, err
}

func sameFile(one, other *os.File) (bool, error) {
	first, err := one.Stat()
	if err != nil {
		return false, err
	}

	second, err := other.Stat()
	if err != nil {
		return false, err
	}

	return os.SameFile(first, second), nil
}

// Close gives the namespace back, as soon as nobody dials from it. From now on nobody gets a connection.
func (n *Network) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()

	n.closed = true

	if n.dialing == 0 {
		n.release()
	}
}

func (n *Network) release() {
	for _, file := range []*os.File{n.theirs, n.ours} {
		if file != nil {
			file.Close() //nolint:errcheck
		}
	}

	n.theirs, n.ours = nil, nil
}

func (n *Network) begin() bool {
	n.mu.Lock()
	defer n.mu.Unlock()

	if n.closed {
		return false
	}

	n.dialing++

	return true
}

// end says whether the network was closed in the meantime.
func (n *Network) end() bool {
	n.mu.Lock()
	defer n.mu.Unlock()

	n.dialing--

	if n.closed && n.dialing == 0 {
		n.release()
	}

	return n.closed
}

// DialContext connects from that network. Names are looked up in our own: the
// lab's names are in a file that all its processes share.
func (n *Network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if !n.begin() {
		return nil, net.ErrClosed
	}

	connection, err := n.connect(ctx, network, address)

	if n.end() && err == nil {
		connection.Close() //nolint:errcheck

		return nil, net.ErrClosed
	}

	return connection, err
}

func (n *Network) connect(ctx context.Context, network, address string) (net.Conn, error) {
	if n.theirs == nil {
		return n.dialer.DialContext(ctx, network, address)
	}

	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}

	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}

	var failures []error

	for _, ip := range addresses {
		connection, err := n.dial(ctx, network, net.JoinHostPort(ip.Unmap().String(), port))
		if err == nil {
			return connection, nil
		}

		failures = append(failures, err)
	}

	return nil, errors.Join(failures...)
}

// A namespace belongs to a thread, and a socket to the namespace of the thread
// that made it. With an address for a host, Go makes the socket in the goroutine
// that dials.
func (n *Network) dial(ctx context.Context, network, address string) (net.Conn, error) {
	type outcome struct {
		connection net.Conn
		err        error
	}

	done := make(chan outcome, 1)

	go func() {
		runtime.LockOSThread()

		if err := unix.Setns(int(n.theirs.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()

			done <- outcome{err: fmt.Errorf("entering the machine's network: %w", err)}

			return
		}

		connection, err := n.dialer.DialContext(ctx, network, address)

		// A thread that cannot come back is not unlocked: it ends with this goroutine, and nobody else gets it.
		if unix.Setns(int(n.ours.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}

		done <- outcome{connection, err}
	}()

	result := <-done

	return result.connection, result.err
}
