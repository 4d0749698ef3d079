package kubeletnetwork_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"cluster-stack/lab/node/internal/kubeletnetwork"
)

const patience = 30 * time.Second

// listener is a server in this process's own network.
func listener(t *testing.T) string {
	t.Helper()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { listener.Close() }) //nolint:errcheck

	return listener.Addr().String()
}

func TestAMachineInTheSameNetwork(t *testing.T) {
	network, err := kubeletnetwork.OfProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}

	connection, err := network.DialContext(context.Background(), "tcp", listener(t))
	if err != nil {
		t.Fatal(err)
	}

	connection.Close() //nolint:errcheck
	network.Close()

	if _, err := network.DialContext(context.Background(), "tcp", listener(t)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

func TestAMachineInAnotherNetwork(t *testing.T) {
	machine := exec.Command("unshare", "--net", "sleep", "60")
	if os.Geteuid() != 0 {
		machine = exec.Command("unshare", "--user", "--map-root-user", "--net", "sleep", "60")
	}

	if err := machine.Start(); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		machine.Process.Kill() //nolint:errcheck
		machine.Wait()         //nolint:errcheck
	})

	namespace := fmt.Sprintf("/proc/%d/ns/net", machine.Process.Pid)

	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		own, _ := os.Readlink("/proc/self/ns/net")
		if theirs, err := os.Readlink(namespace); err == nil && theirs != own {
			break
		}

		if time.Now().After(deadline) {
			t.Fatal("the machine has no network of its own")
		}
	}

	network, err := kubeletnetwork.OfProcess(machine.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}

	defer network.Close()

	// There, even the loopback is down: what answers in our network does not in theirs.
	server := listener(t)
	if _, err := network.DialContext(context.Background(), "tcp", server); !errors.Is(err, syscall.ENETUNREACH) && !errors.Is(err, os.ErrPermission) {
		t.Errorf("from the other network: %v", err)
	}

	connection, err := net.Dial("tcp", server)
	if err != nil {
		t.Fatalf("the way back from the other network: %v", err)
	}

	connection.Close() //nolint:errcheck
}
