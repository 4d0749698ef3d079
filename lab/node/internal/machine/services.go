package machine

import (
	"context"
	"crypto/tls"
	"fmt"
	"runtime/debug"
	"time"

	machineapi "github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"

	"cluster-stack/lab/node/internal/api"
	"cluster-stack/lab/node/internal/apid"
	"cluster-stack/lab/node/internal/services"
	"cluster-stack/lab/node/internal/trustd"
)

// startServices starts what a configured machine runs and returns when all of
// it is up: on a control plane that is after etcd has been bootstrapped.
// containerd, cri, udevd and the kubelet are names only.
func (l *life) startServices(ctx context.Context) error {
	l.publish("", &machineapi.SequenceEvent{Sequence: "boot", Action: machineapi.SequenceEvent_START})
	l.publish("", &machineapi.PhaseEvent{Phase: "startEverything", Action: machineapi.PhaseEvent_START})

	required := []string{"machined", "containerd", "udevd", "cri", "apid", "kubelet"}

	l.node.Services.Set("kubelet", services.Waiting, "Waiting for service \"cri\" to be \"up\"")
	l.node.Services.Set("apid", services.Waiting, "Waiting for api certificates")

	go l.runAPI(ctx)

	if l.node.IsControlPlane() {
		required = append(required, "trustd", "etcd")

		l.node.Services.Set("trustd", services.Waiting, "Waiting for service \"containerd\" to be \"up\"")
		l.node.Services.Set("etcd", services.Waiting, "Waiting for service \"cri\" to be \"up\"")

		go l.runTrustd(ctx)
		go l.runEtcd(ctx)
		go l.runVirtualAddresses(ctx)
	}

	if l.hw.RunsKubernetes() {
		go l.runKubePrism(ctx)
		go l.runStaticPods(ctx)
		go l.runPods(ctx)

		if l.node.IsControlPlane() {
			go l.runManifests(ctx)
			go l.runTalosAccess(ctx)
		}
	}

	for _, step := range [][]string{{"containerd", "udevd"}, {"cri"}, {"kubelet"}} {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(l.hw.Delays.Service()):
		}

		for _, id := range step {
			if id == kubeletService && l.node.RegistersNode() {
				go l.runKubelet(ctx)

				continue
			}

			l.node.Services.Set(id, services.Running, "Process %s started", id)

			if id == kubeletService && !l.hw.RunsKubernetes() {
				l.node.Services.Health(id, true, "simulated: this site runs no Kubernetes, the kubelet registers no node")
				// The list of services shows the last event only, so the last one says it.
				l.node.Services.Set(id, services.Running, "Simulated: this site runs no Kubernetes")

				continue
			}

			l.node.Services.Health(id, true, "")
		}
	}

	for !l.node.Services.Up(required) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(waitStep):
		}
	}

	l.publish("", &machineapi.PhaseEvent{Phase: "startEverything", Action: machineapi.PhaseEvent_STOP})
	l.publish("", &machineapi.SequenceEvent{Sequence: "boot", Action: machineapi.SequenceEvent_STOP})
	l.node.SetStage(runtime.MachineStageRunning)

	// what only the boot needed goes back to the host
	debug.FreeOSMemory()

	return nil
}

// runAPI serves the API with the cluster's certificates, as soon as there are any.
func (l *life) runAPI(ctx context.Context) {
	for l.node.Identity.Load() == nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(waitStep):
		}
	}

	l.runContainer(ctx, "apid", func(serving context.Context) <-chan error {
		return l.serveAPI(serving, api.New(serving, l.node), false)
	})
}

// runContainer runs the program of a service. When it is told to end, it starts
// again, as Talos' service runner has it.
func (l *life) runContainer(ctx context.Context, id string, serve func(ctx context.Context) <-chan error) {
	for ctx.Err() == nil {
		serving, stop := context.WithCancelCause(ctx)
		ended := serve(serving)

		l.node.Services.Set(id, services.Running, "Started task %s", id)
		l.node.Services.Health(id, true, "")

		select {
		case err := <-ended:
			stop(nil)

			if ctx.Err() == nil {
				l.node.Services.Set(id, services.Failed, "%v", err)
			}

			return
		case <-l.node.Terminations[id]:
			stop(apid.ErrTerminated)
			<-ended
		}

		if ctx.Err() == nil {
			l.node.Services.Set(id, services.Waiting, "Runner Containerd(%s) exited without error, going to restart it", id)
			pause(ctx, restartInterval)
		}
	}
}

// runTrustd serves the signing of workers' certificates.
func (l *life) runTrustd(ctx context.Context) {
	for l.node.TrustdCertificate.Load() == nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(waitStep):
		}
	}

	server := &trustd.Server{
		Machine:  func() config.MachineConfig { return l.node.Config().Machine() },
		Identity: func() *tls.Certificate { return l.node.TrustdCertificate.Load() },
		Logf: func(format string, args ...any) {
			l.node.Logs.Service("trustd").Append(fmt.Sprintf(format, args...))
		},
	}

	l.runContainer(ctx, "trustd", func(serving context.Context) <-chan error {
		served := make(chan error, 1)

		listener, err := listen(serving, constants.TrustdPort)
		if err != nil {
			served <- err

			return served
		}

		go func() { served <- server.Serve(serving, listener) }()

		return served
	})
}
