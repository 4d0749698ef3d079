// talos-node is one Talos Linux machine of the lab, and the discovery service
// that the machines meet at.
//
//	talos-node machine <dir>
//	talos-node discovery --listen ADDR:PORT --cert FILE --key FILE
//
// What is real. The machine configuration is decoded, validated and compared
// by Talos' own library (machinery v1.13), for the version of the booted image:
// documents and keys that this version does not know are refused. The API is
// Talos' own gRPC API behind mutual TLS with the keys of that configuration,
// roles read from the client's certificate, calls sent on to other nodes by
// apid. Workers get their certificate from trustd on a control plane. Resources
// are a COSI state with Talos' types and access rules. The process is started in
// a network namespace of its own, whose links it sets up as Talos does:
// addresses, routes and MTU are the kernel's, and so is what is told of them.
// Control planes run the real etcd as a child process, with the arguments and
// certificates that Talos gives it; it is bootstrapped, joined as a learner,
// promoted, left and started again as Talos does it. They run the real servers of
// Kubernetes as well, as the static pods that Talos renders, with KubePrism before
// them; a virtual address is won through etcd. Nodes find each other through the
// real discovery protocol. The guest agent speaks QEMU's protocol. Everything that
// a machine keeps lies below its disks' folders and survives kill -9. Programs
// such as etcd are found on PATH.
//
// What is simulated. The hardware is <dir>/machine.json, a disk is a folder, an
// installation writes the name of the image that the factory was asked for.
// There is no kernel, no file system, no container: containerd, cri and udevd are
// names in the list of services, memory and load are made up, name servers are
// only reported. The kubelet is played by another process, and so are its
// containers (lab/node/kubelets), but for those with an image that is a program in
// the lab: these the machine runs, each pod in a network and each container in a
// root of its own (package podsandbox). Whatever else is not simulated answers
// Unimplemented and says so.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"go.uber.org/zap"

	"cluster-stack/lab/node/internal/discovery"
	"cluster-stack/lab/node/internal/machine"
	"cluster-stack/lab/node/internal/podsandbox"
)

const usage = `usage:
  talos-node machine <dir>
  talos-node discovery --listen ADDR:PORT --cert FILE --key FILE
`

const exitUsage = 2

// What keeps a node small: many of them share one host. One thread at a time runs
// a machine's Go code, whatever the host has: each further one would keep memory
// of its own at hand. What is free goes back to the host: by itself the runtime
// keeps up to a tenth, and collects next when a quarter more is in use.
const (
	memoryLimit = 30 << 20
	gcPercent   = 25
	processors  = 1
	giveBack    = 30 * time.Second
)

// The first thread is the process to whoever looks at it from outside. It stays in
// the machine's network: a thread that starts a pod's container enters the pod's.
func init() { runtime.LockOSThread() }

func main() {
	debug.SetMemoryLimit(memoryLimit)
	debug.SetGCPercent(gcPercent)

	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(exitUsage)
	}

	switch command, arguments := os.Args[1], os.Args[2:]; {
	case command == podsandbox.Command && len(arguments) == 1:
		fmt.Fprintln(os.Stderr, "container:", podsandbox.Become(arguments[0]))
		os.Exit(1)
	case command == "machine" && len(arguments) == 1:
		runtime.GOMAXPROCS(processors)
		go freeMemory()
		os.Exit(machine.Run(arguments[0], os.Stdout))
	case command == "discovery":
		if err := serveDiscovery(arguments); err != nil {
			fmt.Fprintln(os.Stderr, "discovery service:", err)
			os.Exit(1)
		}
	default:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(exitUsage)
	}
}

func freeMemory() {
	for range time.Tick(giveBack) {
		debug.FreeOSMemory()
	}
}

func serveDiscovery(arguments []string) error {
	flags := flag.NewFlagSet("discovery", flag.ExitOnError)
	listen := flags.String("listen", "", "address and port to listen on")
	certificate := flags.String("cert", "", "file with the server certificate")
	key := flags.String("key", "", "file with the server's private key")

	if err := flags.Parse(arguments); err != nil {
		return err
	}

	if *listen == "" || *certificate == "" || *key == "" {
		return fmt.Errorf("--listen, --cert and --key are required")
	}

	logger, err := zap.NewProduction()
	if err != nil {
		return err
	}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	return discovery.Serve(ctx, *listen, *certificate, *key, logger)
}
