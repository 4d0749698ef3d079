// Package kubelet plays one kubelet of Kubernetes 1.36, without a container
// runtime. Towards the API server it is a real one: it asks for its certificate,
// registers its Node, renews its lease, reports the Node's status and the pods',
// all with its own identity and through its machine's network. Most pods run without
// a process behind them; what becomes of them is in package kubeletstages. Those with
// an image that is a program here the machine runs. How they and the machine's static
// pods fare, the machine says.
//
// It has no API of its own: nobody can read a container's log or run a command in it.
package kubelet

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"

	"cluster-stack/lab/node/internal/kubeletapi"
	"cluster-stack/lab/node/internal/kubeletstages"
)

const checkEvery = 100 * time.Millisecond

// Kubelet is the kubelet of one machine.
type Kubelet struct {
	settings kubeletapi.Settings
	report   func(kubeletapi.Event)
	log      logr.Logger

	identity   *identity
	network    *podNetwork
	node       *node
	pods       *pods
	staticPods *staticPods
	containers *containers
	services   *services
}

// New prepares a kubelet. It reports what it does and sees, and must not be kept waiting by that.
func New(
	settings kubeletapi.Settings, dial DialFunc, stages *kubeletstages.Stages, images Images, report func(kubeletapi.Event),
) (*Kubelet, error) {
	if err := settings.Check(); err != nil {
		return nil, err
	}

	k := &Kubelet{settings: settings, report: report, log: logger(report)}

	var err error

	if k.identity, err = newIdentity(settings, dial, k.log, report); err != nil {
		return nil, err
	}

	if k.network, err = newPodNetwork(settings); err != nil {
		return nil, err
	}

	k.node = &node{settings: settings, identity: k.identity, network: k.network, report: report, touched: make(chan struct{}, 1)}
	k.pods = &pods{
		settings: settings, identity: k.identity, network: k.network, stages: stages, log: k.log, work: map[podID]*work{},
	}
	k.staticPods = &staticPods{
		settings: settings, identity: k.identity, report: report, touched: make(chan struct{}, 1), statuses: map[string]status{},
	}

	k.containers = &containers{
		settings: settings, identity: k.identity, network: k.network, images: images, report: report, pods: k.pods,
		touched: make(chan struct{}, 1), prepared: map[podID]*preparedPod{},
	}
	k.pods.containers = k.containers
	k.services = &services{
		identity: k.identity, pods: k.pods, report: report, needed: k.containers.any, touched: make(chan struct{}, 1),
		becomeKnown: k.containers.touch, nodeName: settings.NodeName,
	}
	k.containers.services = k.services

	k.node.changed = func() {
		k.pods.considerAll()
		k.staticPods.touch()
	}
	k.pods.networkCame = k.node.touch
	k.pods.mirrorChanged = k.staticPods.touch
	k.staticPods.node = k.node
	k.staticPods.pods = k.pods

	return k, nil
}

// Run plays the kubelet until the context ends. Then it stops at once and says goodbye to nobody.
func (k *Kubelet) Run(ctx context.Context) {
	ctx = klog.NewContext(ctx, k.log)

	defer k.identity.close()

	k.log.Info("Starting kubelet", "version", k.settings.Version, "server", k.settings.Server)

	go k.identity.keep(ctx)

	if _, err := k.identity.wait(ctx); err != nil {
		return
	}

	go k.pods.run(ctx)
	go k.staticPods.run(ctx)
	go k.containers.run(ctx)
	go k.services.run(ctx)

	k.node.run(ctx)
}

// SetStaticPods takes the machine's static pods.
func (k *Kubelet) SetStaticPods(pods []kubeletapi.StaticPod) error {
	return k.staticPods.set(pods)
}

// SetPodStates takes how the pods fare that the machine runs.
func (k *Kubelet) SetPodStates(states []kubeletapi.PodState) error {
	k.containers.setStates(states)

	return nil
}

// Shutdown ends the pods and reports the node as not ready. It returns when the pods have ended, or after that time.
func (k *Kubelet) Shutdown(ctx context.Context, timeout time.Duration) error {
	k.log.Info("Shutdown manager detected new shutdown event, the node is going down", "gracePeriod", timeout)

	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	k.node.shutDown()
	k.pods.shutDown()

	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()

	for !k.pods.haveEnded() {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}

	return nil
}

// logger writes the kubelet's log lines as events.
func logger(report func(kubeletapi.Event)) logr.Logger {
	return logr.FromSlogHandler(slog.NewTextHandler(lines(func(line string) {
		report(kubeletapi.Event{Log: &line})
	}), nil))
}

type lines func(string)

func (l lines) Write(line []byte) (int, error) {
	l(strings.TrimSuffix(string(line), "\n"))

	return len(line), nil
}

func userAgent(settings kubeletapi.Settings) string {
	return fmt.Sprintf("kubelet/%s (linux/%s)", settings.Version, settings.Architecture)
}
