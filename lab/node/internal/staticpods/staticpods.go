// Package staticpods runs the pods that a machine has by itself, as its kubelet
// and its container runtime would: a container is a process, restarted with
// back-off, and probed as its manifest says. What to run, and what becomes of it
// in Kubernetes, is decided elsewhere.
package staticpods

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"cluster-stack/lab/node/internal/controlplane"
	"cluster-stack/lab/node/internal/kubeletapi"
)

// Manifest is a static pod, and what of it has to be known to run it.
type Manifest struct {
	Pod controlplane.Pod
	// Raw is the pod as it was given; a change of it starts the pod anew.
	Raw json.RawMessage
}

// Machine is what the pods run on.
type Machine struct {
	// Program is the process of a container, or nothing for an image that the lab does not have: such a container is
	// only said to run.
	Program func(pod *controlplane.Pod, container *controlplane.Container) (*Program, error)
	// Log is where a container's output goes.
	Log func(pod *controlplane.Pod, container *controlplane.Container) func(line string)
	// Say takes what happens to containers.
	Say func(format string, args ...any)
	// Changed is called after every change of a state.
	Changed func()
}

// Runner runs static pods.
type Runner struct {
	machine Machine
	setting sync.Mutex // one change at a time

	mu      sync.Mutex
	pods    map[string]*running
	order   []string
	stopped bool
}

type running struct {
	manifest   Manifest
	stop       context.CancelFunc
	containers []*container
	ended      sync.WaitGroup
}

// New makes a runner that runs nothing yet.
func New(machine Machine) *Runner {
	return &Runner{machine: machine, pods: map[string]*running{}}
}

// Set makes the pods be exactly those given. It returns when those that are
// gone or changed have ended.
func (r *Runner) Set(manifests []Manifest) {
	r.setting.Lock()
	defer r.setting.Unlock()

	if !r.stopped {
		r.set(manifests)
	}
}

func (r *Runner) set(manifests []Manifest) {
	wanted := map[string]Manifest{}
	order := make([]string, 0, len(manifests))

	for _, manifest := range manifests {
		key := manifest.Pod.Metadata.Namespace + "/" + manifest.Pod.Metadata.Name
		wanted[key] = manifest
		order = append(order, key)
	}

	r.mu.Lock()

	var gone []*running

	for key, pod := range r.pods {
		if manifest, kept := wanted[key]; !kept || string(manifest.Raw) != string(pod.manifest.Raw) {
			delete(r.pods, key)

			gone = append(gone, pod)
		}
	}

	r.mu.Unlock()

	for _, pod := range gone {
		pod.stop()
	}

	for _, pod := range gone {
		pod.ended.Wait()
	}

	r.mu.Lock()

	started := false

	for _, key := range order {
		if r.pods[key] == nil {
			r.pods[key] = r.start(wanted[key])
			started = true
		}
	}

	r.order = order
	r.mu.Unlock()

	if len(gone) > 0 || started {
		r.machine.Changed()
	}
}

func (r *Runner) start(manifest Manifest) *running {
	ctx, stop := context.WithCancel(context.Background())
	pod := &running{manifest: manifest, stop: stop}

	for i := range manifest.Pod.Spec.Containers {
		one := &container{machine: &r.machine, pod: &manifest.Pod, spec: &manifest.Pod.Spec.Containers[i]}
		pod.containers = append(pod.containers, one)

		pod.ended.Go(func() { one.run(ctx) })
	}

	return pod
}

// Stop ends all pods, for good.
func (r *Runner) Stop() {
	r.setting.Lock()
	defer r.setting.Unlock()

	r.stopped = true
	r.set(nil)
}

// States are the pods and how they fare.
func (r *Runner) States() []kubeletapi.StaticPod {
	r.mu.Lock()
	defer r.mu.Unlock()

	states := make([]kubeletapi.StaticPod, 0, len(r.order))

	for _, key := range r.order {
		pod := r.pods[key]
		if pod == nil {
			continue // on its way out
		}

		state := kubeletapi.StaticPod{Manifest: pod.manifest.Raw, Source: source}

		for _, container := range pod.containers {
			state.Containers = append(state.Containers, container.current())
		}

		states = append(states, state)
	}

	return states
}

// source is where the kubelet of a Talos machine gets its static pods from.
const source = "http"

// Program is how a container becomes a process.
type Program struct {
	Name      string
	Arguments []string
	Env       []string
	// Network is the pod's own network namespace, nil for the machine's.
	Network *os.File
	// OwnMounts gives the process a mount namespace of its own.
	OwnMounts bool
	// Grace is how long it may take to end; 0 for what Kubernetes takes where a pod does not say.
	Grace time.Duration
}

func (p *Program) grace() time.Duration {
	if p.Grace == 0 {
		return terminationTime
	}

	return p.Grace
}

// The kubelet's times, but for the first back-off (10 s there): a lab need not
// be as slow as a site.
const (
	firstBackoff    = 2 * time.Second
	longestBackoff  = 5 * time.Minute
	calmAfter       = 10 * time.Minute // a container that has run for so long starts again at once
	terminationTime = 30 * time.Second
	refusedAgain    = 10 * time.Second
)

func nextBackoff(last time.Duration) time.Duration {
	if last == 0 {
		return firstBackoff
	}

	return min(2*last, longestBackoff)
}

func why(code int) string {
	if code == 0 {
		return "Completed"
	}

	return "Error"
}

func crashLoop(pod *controlplane.Pod, container string, wait time.Duration) string {
	return fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", wait, container, pod.Metadata.Name)
}
