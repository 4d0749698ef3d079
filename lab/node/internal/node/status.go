package node

import (
	"context"
	"fmt"
	"strings"

	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"

	"cluster-stack/lab/node/internal/cosi"
)

type stage = runtime.MachineStage

var stageEvents = map[stage]machine.MachineStatusEvent_MachineStage{
	runtime.MachineStageUnknown:      machine.MachineStatusEvent_UNKNOWN,
	runtime.MachineStageBooting:      machine.MachineStatusEvent_BOOTING,
	runtime.MachineStageInstalling:   machine.MachineStatusEvent_INSTALLING,
	runtime.MachineStageMaintenance:  machine.MachineStatusEvent_MAINTENANCE,
	runtime.MachineStageRunning:      machine.MachineStatusEvent_RUNNING,
	runtime.MachineStageRebooting:    machine.MachineStatusEvent_REBOOTING,
	runtime.MachineStageShuttingDown: machine.MachineStatusEvent_SHUTTING_DOWN,
	runtime.MachineStageResetting:    machine.MachineStatusEvent_RESETTING,
	runtime.MachineStageUpgrading:    machine.MachineStatusEvent_UPGRADING,
}

// SetStage moves the machine to a stage of its life.
func (n *Node) SetStage(to stage) {
	n.mu.Lock()
	n.stage = to
	n.mu.Unlock()

	n.reportStatus()
}

// Stage is the stage of the machine's life.
func (n *Node) Stage() runtime.MachineStage {
	n.mu.Lock()
	defer n.mu.Unlock()

	return n.stage
}

// reportStatus publishes the machine status, as a resource and as an event,
// when it has changed.
func (n *Node) reportStatus() {
	n.mu.Lock()
	current := n.stage
	n.mu.Unlock()

	var unmet []runtime.UnmetCondition

	if current == runtime.MachineStageBooting || current == runtime.MachineStageRunning {
		unmet = n.unmetConditions()
	}

	report := fmt.Sprint(current, unmet)

	n.mu.Lock()

	if report == n.lastReported {
		n.mu.Unlock()

		return
	}

	n.lastReported = report
	n.mu.Unlock()

	resource := runtime.NewMachineStatus()
	resource.TypedSpec().Stage = current
	resource.TypedSpec().Status = runtime.MachineStatusStatus{Ready: len(unmet) == 0, UnmetConditions: unmet}

	cosi.Put(context.Background(), n.Resources, resource) //nolint:errcheck // an in-memory state does not fail

	event := &machine.MachineStatusEvent{
		Stage:  stageEvents[current],
		Status: &machine.MachineStatusEvent_MachineStatus{Ready: len(unmet) == 0},
	}

	for _, condition := range unmet {
		event.Status.UnmetConditions = append(event.Status.UnmetConditions,
			&machine.MachineStatusEvent_MachineStatus_UnmetCondition{Name: condition.Name, Reason: condition.Reason})
	}

	n.Events.Publish("", event)
}

// unmetConditions are the readiness checks of Talos that fail. Time is always
// in sync here.
func (n *Node) unmetConditions() []runtime.UnmetCondition {
	var unmet []runtime.UnmetCondition

	var waiting []string

	if len(n.IPs()) == 0 {
		waiting = append(waiting, "address")
	}

	if n.Hostname() == "" {
		waiting = append(waiting, "hostname")
	}

	if len(waiting) > 0 {
		unmet = append(unmet, runtime.UnmetCondition{Name: "network", Reason: "waiting on: " + strings.Join(waiting, ", ")})
	}

	required := []string{"apid", "machined", "kubelet"}
	if n.IsControlPlane() {
		required = append(required, "etcd", "trustd")
	}

	if problem := n.Services.Problem(required); problem != "" {
		unmet = append(unmet, runtime.UnmetCondition{Name: "services", Reason: problem})
	}

	if problem := n.staticPodsProblem(); problem != "" {
		unmet = append(unmet, runtime.UnmetCondition{Name: "staticPods", Reason: problem})
	}

	if problem := n.nodeProblem(); problem != "" {
		unmet = append(unmet, runtime.UnmetCondition{Name: "nodeReady", Reason: problem})
	}

	return unmet
}
