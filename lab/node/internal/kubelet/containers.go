package kubelet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"cluster-stack/lab/node/internal/kubeletapi"
)

const (
	containersStep  = 10 * time.Second
	containersRetry = 2 * time.Second
)

// Images are the images of containers that are programs here, by their name with the tag.
type Images map[string]kubeletapi.Image

// of is the program of an image; nil where there is none, or one of another version.
func (i Images) of(name string) *kubeletapi.Image {
	name, _, _ = strings.Cut(name, "@")

	if image, known := i[name]; known {
		return &image
	}

	return nil
}

// containers are the pods of the node with a container that is a program: the
// machine runs them, as its container runtime would, and says how they fare.
// What only the API server knows is resolved here: environment, volumes, tokens.
type containers struct {
	settings kubeletapi.Settings
	identity *identity
	network  *podNetwork
	images   Images
	report   func(kubeletapi.Event)
	pods     *pods
	services *services
	touched  chan struct{}

	mu       sync.Mutex
	told     bool // the machine has said how the pods fare that it runs
	states   map[podID][]kubeletapi.ContainerState
	prepared map[podID]*preparedPod
	reported []byte
}

// preparedPod is a pod that the machine runs, or is about to.
type preparedPod struct {
	pod     kubeletapi.Pod
	renewAt time.Time // when its tokens are asked for again
	// restarts are those of containers from before this kubelet's machine ran them.
	restarts map[string]int
}

func (c *containers) touch() {
	select {
	case c.touched <- struct{}{}:
	default:
	}
}

// runs says whether the machine runs a pod. One that is over has nothing more to run, and of one that is to end all
// containers are programs: a container that is only said to run does not end.
func (c *containers) runs(pod *corev1.Pod) bool {
	over := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	if over || len(pod.Spec.InitContainers)+len(pod.Spec.ReadinessGates) > 0 {
		return false
	}

	isPlayed := func(container corev1.Container) bool { return c.images.of(container.Image) == nil }
	if pod.Spec.RestartPolicy == corev1.RestartPolicyAlways {
		return !allOf(pod.Spec.Containers, isPlayed)
	}

	return !slices.ContainsFunc(pod.Spec.Containers, isPlayed)
}

func allOf[T any](items []T, is func(T) bool) bool {
	return !slices.ContainsFunc(items, func(item T) bool { return !is(item) })
}

// any says whether the machine runs any pod.
func (c *containers) any() bool {
	return slices.ContainsFunc(c.pods.list(), c.runs)
}

// setStates takes how the machine's pods fare.
func (c *containers) setStates(states []kubeletapi.PodState) {
	c.mu.Lock()
	defer c.mu.Unlock()

	c.told, c.states = true, map[podID][]kubeletapi.ContainerState{}

	for _, state := range states {
		c.states[types.UID(state.UID)] = state.Containers
	}

	c.touch()
}

func (c *containers) run(ctx context.Context) {
	if len(c.images) == 0 {
		return
	}

	for {
		wait := containersStep

		if err := c.reconcile(ctx); err != nil {
			klog.FromContext(ctx).Error(err, "The pods that are programs are not what they should be")

			wait = containersRetry
		}

		select {
		case <-ctx.Done():
			return
		case <-c.touched:
		case <-time.After(wait):
		}
	}
}

// reconcile has the machine run what the cluster wants run, and tells the cluster how it fares.
func (c *containers) reconcile(ctx context.Context) error {
	if !c.pods.areKnown() {
		return nil
	}

	if c.pods.isShuttingDown() {
		return c.tell(nil)
	}

	var (
		failures []error
		wanted   []*corev1.Pod
	)

	for _, pod := range c.pods.list() {
		if !isMirror(pod) && c.runs(pod) {
			wanted = append(wanted, pod)
		}
	}

	slices.SortFunc(wanted, func(one, other *corev1.Pod) int { return strings.Compare(string(one.UID), string(other.UID)) })

	reasons := map[podID]error{}

	for _, pod := range wanted {
		if pod.DeletionTimestamp == nil {
			reasons[pod.UID] = c.prepare(ctx, pod)
			failures = append(failures, reasons[pod.UID])
		}
	}

	failures = append(failures, c.tell(wanted))

	for _, pod := range wanted {
		failures = append(failures, c.conclude(ctx, pod, reasons[pod.UID]))
	}

	return errors.Join(failures...)
}

// tell has the machine run the pods that are prepared and not to end. What it runs since before this kubelet it goes
// on with, until all of that is prepared.
func (c *containers) tell(wanted []*corev1.Pod) error {
	c.mu.Lock()
	defer c.mu.Unlock()

	if !c.told {
		return nil
	}

	known := map[podID]*preparedPod{}
	list := kubeletapi.PodList{Pods: []kubeletapi.Pod{}}

	for _, pod := range wanted {
		prepared := c.prepared[pod.UID]
		if prepared == nil {
			if _, runs := c.states[pod.UID]; runs && pod.DeletionTimestamp == nil {
				return nil
			}

			continue
		}

		known[pod.UID] = prepared

		if pod.DeletionTimestamp == nil {
			list.Pods = append(list.Pods, prepared.pod)
		}
	}

	c.prepared = known

	encoded, err := json.Marshal(list)
	if err != nil || bytes.Equal(encoded, c.reported) {
		return err
	}

	c.reported = encoded
	c.report(kubeletapi.Event{Pods: &list})

	return nil
}

// prepare resolves what a pod needs, once; its tokens again before they are over.
func (c *containers) prepare(ctx context.Context, pod *corev1.Pod) error {
	c.mu.Lock()
	prepared := c.prepared[pod.UID]
	c.mu.Unlock()

	if prepared != nil && time.Now().Before(prepared.renewAt) {
		return nil
	}

	addresses := c.network.addresses(pod)
	if addresses == nil || (!pod.Spec.HostNetwork && !c.services.known.Load()) {
		// The pod network has not come, or not the services, without which no program reaches the API server.
		// Who is on the machine's network may be what brings both.
		return nil
	}

	ctx, cancel := context.WithTimeout(ctx, playTimeout)
	defer cancel()

	resolver := &resolver{ctx: ctx, client: c.identity.client, settings: c.settings, pod: pod, podIPs: addresses, hostIPs: c.network.hostIPs}

	if prepared != nil {
		volumes, err := resolver.volumes()
		if err != nil {
			return err
		}

		c.mu.Lock()
		defer c.mu.Unlock()

		renewed := *prepared
		renewed.pod.Volumes, renewed.renewAt = volumes, resolver.renewAt()
		c.prepared[pod.UID] = &renewed

		return nil
	}

	resolved, err := resolver.resolve(c.images)
	if err != nil {
		record(ctx, c.identity.client, c.settings.NodeName, about(pod), corev1.EventTypeWarning, "Failed", "Error: "+err.Error())

		return fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}

	c.mu.Lock()
	defer c.mu.Unlock()

	c.prepared[pod.UID] = &preparedPod{pod: *resolved, renewAt: resolver.renewAt(), restarts: c.earlierRestarts(pod)}

	return nil
}

// earlierRestarts are those that the cluster knows of and the machine does not. The caller holds the lock.
func (c *containers) earlierRestarts(pod *corev1.Pod) map[string]int {
	earlier := map[string]int{}

	for _, status := range pod.Status.ContainerStatuses {
		if status.ContainerID != "" {
			earlier[status.Name] = int(status.RestartCount) + 1
		}
	}

	for _, state := range c.states[pod.UID] {
		earlier[state.Name] = max(0, earlier[state.Name]-1-state.Restarts)
	}

	return earlier
}

// conclude tells the cluster how a pod fares, and when it has ended.
func (c *containers) conclude(ctx context.Context, pod *corev1.Pod, refused error) error {
	c.mu.Lock()
	told, prepared := c.told, c.prepared[pod.UID]
	reported, running := c.states[pod.UID]
	states := slices.Clone(reported)
	c.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, playTimeout)
	defer cancel()

	if pod.DeletionTimestamp != nil && told && !running {
		return (&podActions{ctx: ctx, identity: c.identity, nodeName: c.settings.NodeName, pod: pod}).Delete()
	}

	if prepared != nil {
		for index := range states {
			states[index].Restarts += prepared.restarts[states[index].Name]
		}
	}

	if refused != nil && prepared == nil {
		for _, container := range pod.Spec.Containers {
			states = append(states, kubeletapi.ContainerState{
				Name: container.Name, Reason: "CreateContainerConfigError", Message: refused.Error(),
			})
		}
	}

	if len(states) == 0 && len(pod.Status.ContainerStatuses) > 0 {
		return nil // it has not been started again yet
	}

	now := metav1.Now().Rfc3339Copy()
	wanted := podStatus(pod, states, c.network.hostIPs, c.network.addresses(pod), pod.Status, now)

	c.recordStarts(ctx, pod, wanted)

	return reportStatus(ctx, c.identity, pod, wanted)
}

// recordStarts writes the events of containers that have started, or will only after a while.
func (c *containers) recordStarts(ctx context.Context, pod *corev1.Pod, wanted corev1.PodStatus) {
	before := map[string]corev1.ContainerState{}
	for _, status := range pod.Status.ContainerStatuses {
		before[status.Name] = status.State
	}

	for _, status := range wanted.ContainerStatuses {
		earlier := before[status.Name]

		switch {
		case status.State.Running != nil && (earlier.Running == nil || !earlier.Running.StartedAt.Equal(&status.State.Running.StartedAt)):
			record(ctx, c.identity.client, c.settings.NodeName, about(pod), corev1.EventTypeNormal, "Started", "Container started")
		case status.State.Waiting != nil && status.State.Waiting.Reason == "CrashLoopBackOff" &&
			(earlier.Waiting == nil || earlier.Waiting.Message != status.State.Waiting.Message):
			record(ctx, c.identity.client, c.settings.NodeName, about(pod), corev1.EventTypeWarning, "BackOff", status.State.Waiting.Message)
		}
	}
}

func about(pod *corev1.Pod) corev1.ObjectReference {
	return corev1.ObjectReference{
		Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
	}
}
