package machine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/api/common"
	machineapi "github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"
	"google.golang.org/protobuf/proto"

	"cluster-stack/lab/node/internal/api"
	"cluster-stack/lab/node/internal/etcd"
	"cluster-stack/lab/node/internal/node"
	"cluster-stack/lab/node/internal/services"
)

const (
	rebootSequence   = "reboot"
	resetSequence    = "reset"
	shutdownSequence = "shutdown"

	upgradeSequence      = "upgrade"
	stageUpgradeSequence = "stageUpgrade"

	// the task that clients wait for: from then on the API is going down
	stopAllServices = "stopAllServices"
)

var sequenceStages = map[string]runtime.MachineStage{
	rebootSequence: runtime.MachineStageRebooting, resetSequence: runtime.MachineStageResetting,
	shutdownSequence: runtime.MachineStageShuttingDown, upgradeSequence: runtime.MachineStageUpgrading,
	stageUpgradeSequence: runtime.MachineStageUpgrading,
}

// phase is a step of a sequence, with the one task that clients see in it.
type phase struct {
	name string
	task string
	run  func(ctx context.Context) error
}

func (l *life) publish(actor string, payload proto.Message) { l.node.Events.Publish(actor, payload) }

// end runs a sequence that ends this boot and returns the exit code.
func (l *life) end(ctx context.Context, stopBoot context.CancelFunc, sequence node.Sequence) int {
	phases, code := l.phases(stopBoot, sequence)
	watching, attached := l.node.Events.Watchers()
	watched := watching > 0

	l.node.SetStage(sequenceStages[sequence.Name])
	l.publish(sequence.Actor, &machineapi.SequenceEvent{Sequence: sequence.Name, Action: machineapi.SequenceEvent_START})
	l.node.Logs.Printf("%s sequence: %d phase(s)", sequence.Name, len(phases))

	switch {
	case watched && sequence.Name == rebootSequence:
		l.awaitWatcher(attached, returnTime)
	case !comesBack(sequence.Name) && sequence.Actor != "":
		watched = l.awaitWatcher(attached, arrivalTime) || watched
	}

	for number, step := range phases {
		if watched && step.task == stopAllServices {
			step = l.patient(step, comesBack(sequence.Name))
		}

		if err := l.runPhase(ctx, sequence, step); err != nil {
			err = fmt.Errorf("error running phase %d in %s sequence: task 1/1: failed, %w", number+1, sequence.Name, err)

			l.publish(sequence.Actor, &machineapi.SequenceEvent{Sequence: sequence.Name, Action: machineapi.SequenceEvent_STOP})
			l.publish(sequence.Actor, &machineapi.SequenceEvent{
				Sequence: sequence.Name, Action: machineapi.SequenceEvent_NOOP,
				Error: &common.Error{Code: common.Code_FATAL, Message: "sequence failed: " + err.Error()},
			})

			// a sequence that fails is fatal: the machine reboots
			l.node.Logs.Printf("%s failed: %s", sequence.Name, err)
			l.revertUpgrade()
			l.node.Logs.Printf("rebooting in %s", failureDelay)
			time.Sleep(failureDelay)
			stopBoot()
			l.stopEtcd()

			return ExitReboot
		}
	}

	return code
}

// comesBack tells of which sequences clients wait for the next boot.
func comesBack(sequence string) bool {
	return sequence == rebootSequence || sequence == upgradeSequence || sequence == stageUpgradeSequence
}

// patient makes the phase that takes the API down wait for a watcher: for one
// that lets go when the phase starts and comes back, or, at the end of a machine
// that does not come back, for any at all.
func (l *life) patient(step phase, letsGo bool) phase {
	stop := step.run
	watching, attached := l.node.Events.Watchers()

	step.run = func(ctx context.Context) error {
		if letsGo || watching == 0 {
			l.awaitWatcher(attached, returnTime)
		}

		return stop(ctx)
	}

	return step
}

const (
	// returnTime is how long a client may take to watch again.
	returnTime = 3 * time.Second

	// arrivalTime is how long a client may take to watch at all that asks for a
	// shutdown or a reset: talosctl does both at once, and a real machine has
	// pods to stop first.
	arrivalTime = time.Second
)

// awaitWatcher keeps the API up until a client watches the events again.
// talosctl lets go of them when a reboot starts, and again when the services
// stop, and comes back a second later each time, when a real machine is still
// stopping; a machine that is up again by then would have nothing to tell it.
// It tells whether one came.
func (l *life) awaitWatcher(attached int, within time.Duration) bool {
	deadline := time.Now().Add(within)

	for time.Now().Before(deadline) {
		if _, ever := l.node.Events.Watchers(); ever > attached {
			return true
		}

		time.Sleep(waitStep)
	}

	return false
}

func (l *life) runPhase(ctx context.Context, sequence node.Sequence, step phase) error {
	l.publish(sequence.Actor, &machineapi.PhaseEvent{Phase: step.name, Action: machineapi.PhaseEvent_START})
	l.publish(sequence.Actor, &machineapi.TaskEvent{Task: step.task, Action: machineapi.TaskEvent_START})
	l.node.Logs.Printf("task %s (1/1): starting", step.task)

	if step.run != nil {
		if err := step.run(ctx); err != nil {
			l.node.Logs.Printf("task %s (1/1): failed: %s", step.task, err)

			return err
		}
	}

	l.publish(sequence.Actor, &machineapi.TaskEvent{Task: step.task, Action: machineapi.TaskEvent_STOP})
	l.publish(sequence.Actor, &machineapi.PhaseEvent{Phase: step.name, Action: machineapi.PhaseEvent_STOP})

	return nil
}

// restartSteps are the phases that the sequences share.
type restartSteps struct {
	cleanup, stopServices, unmountSystem, kexec, stopEverything, reboot phase
}

// phases are the steps of a sequence and the exit code after them. Pods and
// mounts have no counterpart here; their steps are left out, but for the one
// that clients wait for.
func (l *life) phases(stopBoot context.CancelFunc, sequence node.Sequence) ([]phase, int) {
	steps := restartSteps{
		cleanup:        phase{"cleanup", "stopAllPods", func(ctx context.Context) error { l.shutDownKubelet(ctx); return nil }},
		stopServices:   phase{"stopServices", "stopServicesEphemeral", func(context.Context) error { l.stopWorkloads(); return nil }},
		unmountSystem:  phase{name: "unmountSystem", task: "unmountEphemeralPartition"},
		kexec:          phase{"kexec", "kexecPrepare", func(context.Context) error { l.prepareKexec(sequence); return nil }},
		stopEverything: phase{"stopEverything", stopAllServices, func(context.Context) error { l.stopAll(stopBoot); return nil }},
		reboot:         phase{name: "reboot", task: "reboot"},
	}
	shutdown := phase{name: "shutdown", task: "shutdown"}

	switch sequence.Name {
	case rebootSequence:
		if sequence.Reboot.GetMode() == machineapi.RebootRequest_FORCE {
			return []phase{{"reboot", "reboot", steps.stopEverything.run}}, ExitReboot
		}

		return []phase{steps.cleanup, steps.stopServices, steps.unmountSystem, steps.kexec, steps.stopEverything, steps.reboot}, ExitReboot
	case upgradeSequence:
		return l.upgradePhases(sequence.Upgrade, steps), ExitReboot
	case stageUpgradeSequence:
		phases := []phase{steps.cleanup, steps.stopServices, steps.unmountSystem}
		if sequence.Upgrade.RebootMode == machineapi.UpgradeRequest_DEFAULT {
			phases = append(phases, steps.kexec)
		}

		return append(phases, steps.stopEverything, steps.reboot), ExitReboot
	case resetSequence:
		return l.resetPhases(sequence.Reset, []phase{steps.stopServices, steps.unmountSystem, steps.stopEverything}, steps.reboot, shutdown)
	default:
		phases := []phase{steps.cleanup, steps.stopServices, steps.unmountSystem, steps.stopEverything, shutdown}
		if !sequence.Force && l.node.RegistersNode() {
			phases = append([]phase{l.drain()}, phases...)
		}

		return phases, ExitPoweredOff
	}
}

// drain is the phase that empties the node before the machine goes down.
func (l *life) drain() phase { return phase{"drain", "cordonAndDrainNode", l.cordonAndDrain} }

// logged is a step whose failure does not end the sequence.
func (l *life) logged(step func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := step(ctx); err != nil {
			l.node.Logs.Printf("ignored: %s", err)
		}

		return nil
	}
}

// prepareKexec says which way the machine restarts. The lab's machines start
// their firmware again either way: it looks for the same disk.
func (l *life) prepareKexec(sequence node.Sequence) {
	l.node.SetStage(runtime.MachineStageRebooting)

	switch {
	case sequence.Reboot.GetMode() == machineapi.RebootRequest_POWERCYCLE:
		l.node.Logs.Printf("kexec skipped as reboot with power cycle was requested")
	case l.node.Image.SecureBoot:
		l.node.Logs.Printf("kexec skipped as secure boot is enabled")
	default:
		l.node.Logs.Printf("prepared kexec environment")
	}
}

func (l *life) resetPhases(in *machineapi.ResetRequest, stop []phase, reboot, shutdown phase) ([]phase, int) {
	stopPods := func(ctx context.Context) error { l.shutDownKubelet(ctx); return nil }
	phases := []phase{{"cleanup", "stopAllPods", stopPods}}

	if in.Graceful {
		phases = []phase{{"drain", "cordonAndDrainNode", l.logged(l.cordonAndDrain)}, {"cleanup", "removeAllPods", stopPods}}

		if !l.node.RegistersNode() {
			phases = phases[1:]
		}

		if l.node.IsControlPlane() {
			phases = append(phases, phase{"leave", "leaveEtcd", l.leaveEtcd})
		}
	}

	phases = append(phases, phase{"preReset", "sendResetSignal", l.withdraw})
	phases = append(phases, stop...)

	if in.Mode != machineapi.ResetRequest_USER_DISKS {
		phases = append(phases, phase{"reset", "resetSystemDisk", func(context.Context) error { return l.wipeSystem(in) }})
	}

	if in.Mode != machineapi.ResetRequest_SYSTEM_DISK && len(in.UserDisksToWipe) > 0 {
		phases = append(phases, phase{"resetUserDisks", "resetUserDisks", func(context.Context) error { return l.wipeUserDisks(in) }})
	}

	if in.Reboot {
		return append(phases, reboot), ExitReboot
	}

	return append(phases, shutdown), ExitPoweredOff
}

// leaveEtcd takes a member that has data out of its cluster; etcd itself
// refuses to let the last one go.
func (l *life) leaveEtcd(ctx context.Context) error {
	member := l.node.Etcd.Load()
	if member == nil || member.Process() == nil || !etcd.HasData(l.etcdData()) {
		return nil
	}

	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()

	return member.Leave(ctx, l.node.ControlPlanes())
}

const leaveTimeout = 5 * time.Minute

// withdraw takes the node out of discovery.
func (l *life) withdraw(context.Context) error {
	if running := l.reconciler.discovery.Load(); running != nil {
		running.Withdraw()
	}

	return nil
}

// stopWorkloads stops what needs the disk.
func (l *life) stopWorkloads() {
	for _, id := range []string{"kubelet", "etcd", "cri"} {
		if !l.node.Services.Has(id) {
			continue
		}

		l.node.Services.Set(id, services.Stopping, "Stopping %s", id)

		if id == "etcd" {
			l.stopEtcd()
		}

		l.node.Services.Set(id, services.Finished, "Service finished successfully")
	}
}

func (l *life) stopEtcd() {
	if member := l.node.Etcd.Load(); member != nil {
		member.Stop()
	}
}

// stopAll takes the API down. Clients wait for the news that this happens, so
// that the events already published get the time to reach them.
func (l *life) stopAll(stopBoot context.CancelFunc) {
	time.Sleep(answerTime)
	stopBoot()
	l.stopEtcd()
	time.Sleep(answerTime / 5)
}

func (l *life) wipeSystem(in *machineapi.ResetRequest) error {
	disk := l.node.Disk()
	if disk == nil {
		return nil
	}

	var labels []string

	for _, partition := range in.SystemPartitionsToWipe {
		if partition.Wipe {
			labels = append(labels, partition.Label)
		}
	}

	if len(in.SystemPartitionsToWipe) == 0 {
		l.node.Logs.Printf("wiping system disk %s", disk.Device)

		return disk.WipeAll()
	}

	slices.Sort(labels)
	l.node.Logs.Printf("wiping %s of %s", strings.Join(labels, ", "), disk.Device)

	for _, label := range labels {
		if err := disk.Wipe(label); err != nil {
			return err
		}
	}

	return nil
}

func (l *life) wipeUserDisks(in *machineapi.ResetRequest) error {
	for _, device := range in.UserDisksToWipe {
		l.node.Logs.Printf("wiping user disk %s", device)

		if err := api.FindDisk(l.hw, device).WipeAll(); err != nil {
			return err
		}
	}

	return nil
}
