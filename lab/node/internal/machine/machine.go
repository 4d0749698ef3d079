// Package machine is the life of one machine, from power-on to power-off:
// firmware, boot, maintenance, installation, services, and the sequences that
// end it. Each boot is one call of Run; what survives is on the disks.
package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	machineapi "github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"
	"google.golang.org/grpc"

	"cluster-stack/lab/node/internal/agent"
	"cluster-stack/lab/node/internal/api"
	"cluster-stack/lab/node/internal/apid"
	"cluster-stack/lab/node/internal/clock"
	"cluster-stack/lab/node/internal/hardware"
	"cluster-stack/lab/node/internal/network"
	"cluster-stack/lab/node/internal/node"
	"cluster-stack/lab/node/internal/report"
	"cluster-stack/lab/node/internal/services"
	"cluster-stack/lab/node/internal/staticpods"
)

// The exit codes that the hypervisor understands.
const (
	ExitPoweredOff = 0
	ExitCrash      = 1
	ExitReboot     = 64
)

const (
	runDirectory = "run"
	agentChannel = "agent.sock"
)

// Run runs the machine in dir until it powers off or reboots.
func Run(dir string, console io.Writer) int {
	dir, err := filepath.Abs(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)

		return ExitCrash
	}

	lock, err := hardware.Lock(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)

		return ExitCrash
	}

	defer lock.Close() //nolint:errcheck // held to the end

	hw, err := hardware.Load(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)

		return ExitCrash
	}

	power := make(chan os.Signal, 1)
	signal.Notify(power, syscall.SIGTERM, syscall.SIGINT)

	defer signal.Stop(power)

	// the firmware has no power button handling: it just goes off
	select {
	case <-power:
		return ExitPoweredOff
	case <-time.After(hw.Delays.Boot()):
	}

	image, disk, err := hw.BootDevice(func(line string) { fmt.Fprintln(console, line) }) //nolint:errcheck
	if err != nil {
		fmt.Fprintln(console, err) //nolint:errcheck

		return ExitCrash
	}

	if image == nil {
		fmt.Fprintln(console, "No bootable device.") //nolint:errcheck

		<-power

		return ExitPoweredOff
	}

	clock.Set(hw.Faults().ClockOffset())

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	system, err := node.New(ctx, hw, image, disk, console)
	if err != nil {
		fmt.Fprintln(console, err) //nolint:errcheck

		return ExitCrash
	}

	// the name of a socket is short: the channel is opened from where it is
	if err := os.Chdir(filepath.Join(dir, runDirectory)); err != nil {
		fmt.Fprintln(console, err) //nolint:errcheck

		return ExitCrash
	}

	defer os.Remove(agentChannel) //nolint:errcheck // there only while the guest runs

	life := &life{
		node: system, hw: hw, exit: make(chan int, 1), configured: make(chan struct{}),
		reconciler: reconciler{setup: network.NewSetup()}, virtual: virtual{held: map[netip.Addr]bool{}},
	}
	life.kubernetes.pods = staticpods.New(staticpods.Machine{
		Program: life.program, Log: life.containerLog, Say: system.Logs.Printf, Changed: life.tellStaticPods,
	})

	life.newPods()

	return life.live(ctx, power)
}

// life is one boot of a machine.
type life struct {
	node *node.Node
	hw   *hardware.Machine

	exit       chan int      // ends the process
	configured chan struct{} // closed when there is a complete configuration

	reconciler reconciler
	kubernetes kubernetes
	pods       pods
	virtual    virtual
}

// live boots and then waits for whatever ends this boot.
func (l *life) live(ctx context.Context, power <-chan os.Signal) int {
	boot, stopBoot := context.WithCancel(ctx)
	defer stopBoot()

	go l.boot(boot)
	go report.Keep(ctx, l.node)

	for {
		select {
		case code := <-l.exit:
			return code
		case <-power:
			l.node.Logs.Printf("shutdown via ACPI received")

			// when another sequence runs already, that one ends the machine
			if err := l.node.Start(node.Sequence{Name: shutdownSequence, Force: true}); err != nil {
				l.node.Logs.Printf("shutdown: %s", err)
			}
		case sequence := <-l.node.Sequences:
			return l.end(ctx, stopBoot, sequence)
		}
	}
}

func (l *life) fail(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}

	l.node.Logs.Printf("%s", err)
	l.revertUpgrade()
	l.node.Logs.Printf("rebooting in %s", failureDelay)

	time.Sleep(failureDelay)

	l.leave(ExitReboot)
}

// failureDelay stands for the countdown of a real machine after a fatal error.
const failureDelay = 2 * time.Second

func (l *life) leave(code int) {
	select {
	case l.exit <- code:
	default:
	}
}

// boot brings the machine up to running.
func (l *life) boot(ctx context.Context) {
	l.node.Logs.Printf("Talos %s booting on %s (schematic %s)", l.node.Version.Tag(), l.node.Image.Platform, l.node.Image.Schematic)

	l.publish("", &machineapi.SequenceEvent{Sequence: "initialize", Action: machineapi.SequenceEvent_START})
	l.node.SetStage(runtime.MachineStageBooting)
	l.node.Services.Set("machined", services.Running, "Service started as goroutine")
	l.node.Services.Health("machined", true, "")

	if l.node.Disk() == nil {
		if installed, err := l.hw.InstalledDisk(); err != nil || installed != nil {
			l.haltIfInstalled(ctx)

			return
		}
	}

	staged, err := l.takeStaged()
	if err != nil {
		l.fail(err)

		return
	}

	for _, step := range []func() error{
		l.checkImage, l.node.LoadConfig, l.node.PublishHardware, l.node.PublishMeta, l.publishBootedEntry,
	} {
		if err := step(); err != nil {
			l.fail(err)

			return
		}
	}

	if err := network.ReservePorts(constants.ApidPort, constants.TrustdPort); err != nil {
		l.node.Logs.Printf("ports are not reserved: %s", err)
	}

	go l.watchNetwork(ctx)
	go l.reconcile(ctx)
	go l.guestAgent(ctx)

	if l.node.InMaintenance() {
		if err := l.maintain(ctx); err != nil {
			l.fail(err)

			return
		}
	}

	l.publish("", &machineapi.SequenceEvent{Sequence: "initialize", Action: machineapi.SequenceEvent_STOP})

	if problem := l.node.SystemVolumeProblem(l.node.Config()); problem != nil {
		l.haltOn(ctx, problem)

		return
	}

	// On every platform, as the sequencer of Talos 1.13 decides it: what is
	// booted from an ISO is not installed yet.
	if l.node.Disk() == nil {
		if err := l.install(ctx); err != nil {
			l.fail(fmt.Errorf("install sequence: failed: %w", err))
		}

		return
	}

	if staged != "" {
		if err := l.installStaged(ctx, staged); err != nil {
			l.fail(fmt.Errorf("install sequence: failed: %w", err))
		}

		return
	}

	go l.keepUpgrade(ctx)

	// the image is the installed system: the configuration goes to its disk
	if err := l.node.Persist(); err != nil {
		l.fail(err)

		return
	}

	if err := l.startServices(ctx); err != nil {
		l.fail(fmt.Errorf("boot sequence: failed: %w", err))
	}
}

// haltIfInstalled is what the installation media do on an installed machine.
func (l *life) haltIfInstalled(ctx context.Context) {
	for {
		l.node.Logs.Printf("Talos is already installed to disk but booted from another media and %s kernel parameter is set. "+
			"Please reboot from the disk.", constants.KernelParamHaltIfInstalled)

		select {
		case <-ctx.Done():
			return
		case <-time.After(30 * time.Second):
		}
	}
}

// haltOn tells again and again what the boot waits for. Talos tries for ever to
// get the volumes that the system needs; the hardware that is missing here comes
// with another power-on only.
func (l *life) haltOn(ctx context.Context, problem error) {
	for {
		l.node.Logs.Printf("%s", problem)

		select {
		case <-ctx.Done():
			return
		case <-time.After(30 * time.Second):
		}
	}
}

// maintain serves the API to everybody until a configuration comes.
func (l *life) maintain(ctx context.Context) error {
	if err := l.waitForAddress(ctx); err != nil {
		return err
	}

	l.publish("", &machineapi.TaskEvent{Task: "runningMaintenance", Action: machineapi.TaskEvent_START})
	l.node.SetStage(runtime.MachineStageMaintenance)

	serving, stop := context.WithCancel(ctx)
	defer stop()

	newMachined := api.New
	if !l.node.Version.UnifiedAPI() {
		newMachined = api.NewMaintenance
	}

	served := l.serveAPI(serving, newMachined(serving, l.node), true)

	for _, address := range l.node.IPs() {
		l.node.Logs.Printf("this machine is reachable at: %s", address)
		l.node.Logs.Printf("upload configuration using talosctl: talosctl apply-config --insecure --nodes %s --file <config.yaml>", address)
	}

	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-served:
		return err
	case <-l.configured:
	}

	// the answer to the client that brought the configuration is on its way
	time.Sleep(answerTime)
	stop()
	<-served

	l.publish("", &machineapi.TaskEvent{Task: "runningMaintenance", Action: machineapi.TaskEvent_STOP})
	l.node.SetStage(runtime.MachineStageBooting)
	l.node.Kick()

	return nil
}

// answerTime is how long a server that goes down still sends answers.
const answerTime = 250 * time.Millisecond

// serveAPI serves apid.
func (l *life) serveAPI(ctx context.Context, machined *grpc.Server, maintenance bool) <-chan error {
	served := make(chan error, 1)

	listener, err := listen(ctx, constants.ApidPort)
	if err != nil {
		served <- err

		return served
	}

	identity := l.node.Identity.Load
	if maintenance {
		identity = l.reconciler.maintenance.Load
	}

	server := &apid.Server{
		Identity: identity, Machined: machined, Maintenance: maintenance, Log: l.node.Logs.Service("apid").Append,
		Local: func(target string) bool {
			for _, address := range l.node.AllIPs() {
				if address.String() == target {
					return true
				}
			}

			return target == l.node.Hostname() || target == l.node.FQDN()
		},
	}

	go func() { served <- server.Serve(ctx, listener) }()

	return served
}

// listen opens a port on all of the machine's addresses.
func listen(ctx context.Context, port int) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("", strconv.Itoa(port)))
}

func (l *life) waitForAddress(ctx context.Context) error {
	for len(l.node.IPs()) == 0 || l.reconciler.maintenance.Load() == nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(waitStep):
		}
	}

	return nil
}

const waitStep = 50 * time.Millisecond

// guestAgent answers the hypervisor where the image brings the agent and the
// virtual machine has its channel.
func (l *life) guestAgent(ctx context.Context) {
	if !l.hw.AgentChannel || !l.node.Image.HasExtension(agent.Extension) {
		return
	}

	guest := &agent.Agent{
		Interfaces: func() []network.Interface { return l.node.KernelNetwork().Interfaces() }, Hostname: l.node.FQDN,
		Shutdown: func(mode string) error {
			switch mode {
			case "powerdown", "halt":
				return l.node.Start(node.Sequence{Name: shutdownSequence})
			case "reboot":
				return l.node.Start(node.Sequence{Name: rebootSequence, Reboot: &machineapi.RebootRequest{}})
			default:
				return fmt.Errorf("mode is invalid (valid values are: halt|powerdown|reboot)")
			}
		},
	}

	const id = "ext-qemu-guest-agent"

	l.node.Services.Set(id, services.Running, "Started task %s", id)

	if err := guest.Serve(ctx, agentChannel); err != nil {
		l.node.Services.Set(id, services.Failed, "%s", err)
	}
}
