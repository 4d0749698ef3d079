package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"cluster-stack/lab/node/internal/controlplane"
	"cluster-stack/lab/node/internal/kubeletapi"
	"cluster-stack/lab/node/internal/podsandbox"
	"cluster-stack/lab/node/internal/servicerules"
	"cluster-stack/lab/node/internal/staticpods"
)

const (
	podsFolder = "pods"
	// certificatesFile is where programs look for the authorities that they trust.
	certificatesFile = "ssl/certs/ca-certificates.crt"
)

// pods are those that the kubelet has the machine run as processes.
type pods struct {
	runner *staticpods.Runner
	wake   chan struct{}

	mu       sync.Mutex
	wanted   *kubeletapi.PodList
	services []kubeletapi.Service
	alive    map[string]*alivePod // by UID, until the last process has ended
}

type alivePod struct {
	pod        kubeletapi.Pod
	network    *podsandbox.Network
	containers []kubeletapi.ContainerState
}

func (l *life) newPods() {
	l.pods.wake = make(chan struct{}, 1)
	l.pods.alive = map[string]*alivePod{}
	l.pods.runner = staticpods.New(staticpods.Machine{
		Program: l.podProgram, Log: l.podLog, Say: l.node.Logs.Printf, Changed: l.tellPodStates,
	})
}

// runPods makes the pods be those that the kubelet wants, one list after the other.
func (l *life) runPods(ctx context.Context) {
	if err := os.RemoveAll(podsFolder); err != nil { // what is left from before a reboot
		l.node.Logs.Printf("pods: %s", err)
	}

	for {
		select {
		case <-ctx.Done():
			return
		case <-l.pods.wake:
		}

		l.pods.mu.Lock()
		wanted := l.pods.wanted
		l.pods.mu.Unlock()

		if err := l.setPods(wanted.Pods); err != nil {
			l.node.Logs.Printf("pods: %s", err)
		}
	}
}

func (l *life) setPods(wanted []kubeletapi.Pod) error {
	manifests := make([]staticpods.Manifest, 0, len(wanted))
	staying := map[string]bool{}

	var failures []error

	for _, pod := range wanted {
		staying[pod.UID] = true

		l.pods.mu.Lock()

		if known := l.pods.alive[pod.UID]; known == nil {
			l.pods.alive[pod.UID] = &alivePod{pod: pod}
		} else {
			known.pod = pod
		}

		l.pods.mu.Unlock()

		manifest, err := podManifest(pod)
		failures = append(failures, err, writeVolumes(pod), l.writeEtc(pod))

		manifests = append(manifests, manifest)
	}

	l.pods.runner.Set(manifests)

	l.pods.mu.Lock()

	for uid, gone := range l.pods.alive {
		if staying[uid] {
			continue
		}

		if gone.network != nil {
			gone.network.Close()
		}

		failures = append(failures, os.RemoveAll(podFolder(uid)))

		delete(l.pods.alive, uid)
	}

	l.pods.mu.Unlock()
	l.tellPodStates()

	return errors.Join(failures...)
}

// podManifest is the pod as the runner knows pods. Its volumes change without a restart.
func podManifest(pod kubeletapi.Pod) (staticpods.Manifest, error) {
	pod.Volumes = nil

	raw, err := json.Marshal(pod)
	if err != nil {
		return staticpods.Manifest{}, err
	}

	manifest := staticpods.Manifest{Raw: raw, Pod: controlplane.Pod{
		Metadata: controlplane.Metadata{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID},
		Spec:     controlplane.PodSpec{RestartPolicy: pod.RestartPolicy},
	}}

	for _, given := range pod.Containers {
		container := controlplane.Container{Name: given.Name}

		for _, probe := range []struct {
			given json.RawMessage
			place **controlplane.Probe
		}{
			{given.Startup, &container.StartupProbe},
			{given.Readiness, &container.ReadinessProbe},
			{given.Liveness, &container.LivenessProbe},
		} {
			if probe.given == nil {
				continue
			}

			if err := json.Unmarshal(probe.given, probe.place); err != nil {
				return manifest, fmt.Errorf("a probe of pod %s: %w", pod.Name, err)
			}
		}

		manifest.Pod.Spec.Containers = append(manifest.Pod.Spec.Containers, container)
	}

	return manifest, nil
}

func podFolder(uid string) string { return filepath.Join(podsFolder, uid) }

func volumeFolder(uid, name string) string { return filepath.Join(podFolder(uid), "volumes", name) }

// writeVolumes writes the files of a pod's volumes, each in one step: the pod may be reading them.
func writeVolumes(pod kubeletapi.Pod) error {
	for name, files := range pod.Volumes {
		folder := volumeFolder(pod.UID, name)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}

		for path, content := range files {
			if err := replace(filepath.Join(folder, path), content); err != nil {
				return err
			}
		}
	}

	return nil
}

func replace(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}

	draft := path + ".new"
	if err := os.WriteFile(draft, content, 0o600); err != nil {
		return err
	}

	return os.Rename(draft, path)
}

// writeEtc writes the pod's /etc: the names of the lab, its own, and those of all services, because there is no name
// server; the authorities that the lab trusts; what its image says of itself.
func (l *life) writeEtc(pod kubeletapi.Pod) error {
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil {
		return err
	}

	authorities, err := os.ReadFile(os.Getenv("SSL_CERT_FILE"))
	if err != nil {
		return err
	}

	text := strings.Builder{}
	text.Write(hosts)

	for _, address := range pod.Addresses {
		fmt.Fprintf(&text, "\n%s %s", address, pod.Name)
	}

	domain := l.node.Config().Cluster().Network().DNSDomain()

	l.pods.mu.Lock()
	defer l.pods.mu.Unlock()

	for _, service := range l.pods.services {
		for _, address := range service.Addresses {
			short := service.Name + "." + service.Namespace
			fmt.Fprintf(&text, "\n%s %s.svc.%s %s.svc %s", address, short, domain, short, short)
		}
	}

	text.WriteString("\n")

	etc := filepath.Join(podFolder(pod.UID), "etc")

	for _, container := range pod.Containers {
		if container.Image != nil && container.Image.OSRelease != "" {
			if err := replace(filepath.Join(etc, "os-release"), []byte(container.Image.OSRelease)); err != nil {
				return err
			}
		}
	}

	return errors.Join(
		replace(filepath.Join(etc, "hosts"), []byte(text.String())),
		replace(filepath.Join(etc, certificatesFile), authorities),
	)
}

// podProgram is the process that a container of a pod is.
func (l *life) podProgram(pod *controlplane.Pod, container *controlplane.Container) (*staticpods.Program, error) {
	l.pods.mu.Lock()
	defer l.pods.mu.Unlock()

	known := l.pods.alive[pod.Metadata.UID]
	if known == nil {
		return nil, errors.New("the pod is gone")
	}

	var given kubeletapi.Container

	for _, one := range known.pod.Containers {
		if one.Name == container.Name {
			given = one
		}
	}

	if given.Image == nil {
		return nil, nil
	}

	if known.network == nil && !known.pod.HostNetwork {
		network, err := podsandbox.NewNetwork(known.pod.UID, known.pod.Addresses)
		if err != nil {
			return nil, err
		}

		known.network = network
	}

	description, err := describeContainer(known.pod, given)
	if err != nil {
		return nil, err
	}

	program := &staticpods.Program{
		Name: os.Args[0], Arguments: []string{podsandbox.Command, description}, OwnMounts: true,
		Grace: time.Duration(known.pod.GraceSeconds) * time.Second,
	}

	if known.network != nil {
		program.Network = known.network.Namespace()
	}

	return program, nil
}

// describeContainer writes what a process needs to know to become the container, and returns where.
func describeContainer(pod kubeletapi.Pod, given kubeletapi.Container) (string, error) {
	folder, err := filepath.Abs(filepath.Join(podFolder(pod.UID), given.Name))
	if err != nil {
		return "", err
	}

	container := podsandbox.Container{
		Root: filepath.Join(folder, "root"), Program: "/" + filepath.Base(given.Image.Program),
		Arguments: given.Arguments, Env: given.Env,
	}

	if err := os.MkdirAll(container.Root, 0o700); err != nil {
		return "", err
	}

	container.Bind(given.Image.Program, container.Program, true)
	container.Bind(filepath.Join(filepath.Dir(folder), "etc"), "/etc", true)

	for target, source := range given.Image.Folders {
		container.Bind(source, target, true)
	}

	for _, mount := range given.Mounts {
		source, err := filepath.Abs(volumeFolder(pod.UID, mount.Volume))
		if err != nil {
			return "", err
		}

		container.Bind(source, mount.Path, mount.ReadOnly)
	}

	content, err := json.Marshal(container)
	if err != nil {
		return "", err
	}

	description := filepath.Join(folder, "container.json")

	return description, os.WriteFile(description, content, 0o600)
}

// podLog keeps what a container says, for `talosctl logs -k` and as a file in the machine's folder.
func (l *life) podLog(pod *controlplane.Pod, container *controlplane.Container) func(string) {
	name := fmt.Sprintf("%s/%s:%s", pod.Metadata.Namespace, pod.Metadata.Name, container.Name)
	service := l.node.Logs.Service(name)
	path := filepath.Join(l.hw.Dir, "logs", pod.Metadata.Namespace, pod.Metadata.Name, container.Name+".log")

	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		l.node.Logs.Printf("the log of %s: %s", name, err)
	}

	return func(line string) {
		service.Append(line)

		if file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
			fmt.Fprintln(file, line) //nolint:errcheck // a full disk loses lines
			file.Close()             //nolint:errcheck
		}
	}
}

// tellPodStates tells the kubelet how the pods fare that it wants run.
func (l *life) tellPodStates() {
	client := l.kubernetes.kubelet.Load()
	if client == nil {
		return
	}

	l.kubernetes.telling.Lock()
	defer l.kubernetes.telling.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), applyTimeout)
	defer cancel()

	err := client.SetPodStates(ctx, l.podStates())
	if err != nil && !errors.Is(err, kubeletapi.ErrClosed) {
		l.node.Logs.Printf("the kubelet does not take how its pods fare: %s", err)
	}
}

// podStates are those of all pods that have a process, or are about to.
func (l *life) podStates() []kubeletapi.PodState {
	running := l.pods.runner.States()

	l.pods.mu.Lock()
	defer l.pods.mu.Unlock()

	for _, state := range running {
		var pod kubeletapi.Pod
		if err := json.Unmarshal(state.Manifest, &pod); err != nil {
			continue
		}

		if known := l.pods.alive[pod.UID]; known != nil {
			known.containers = state.Containers
		}
	}

	var states []kubeletapi.PodState

	for uid, known := range l.pods.alive {
		states = append(states, kubeletapi.PodState{UID: uid, Containers: known.containers})
	}

	return states
}

// wantPods takes the kubelet's list.
func (l *life) wantPods(list kubeletapi.PodList) {
	l.pods.mu.Lock()
	l.pods.wanted = &list
	l.pods.mu.Unlock()

	select {
	case l.pods.wake <- struct{}{}:
	default:
	}
}

// setServices makes services and pods reachable, for pods and for the machine itself.
func (l *life) setServices(list kubeletapi.ServiceList) error {
	var subnets []netip.Prefix

	for _, cidr := range l.node.Config().Cluster().Network().PodCIDRs() {
		if subnet, err := netip.ParsePrefix(cidr); err == nil {
			subnets = append(subnets, subnet)
		}
	}

	failures := []error{servicerules.Apply(subnets, list.Services), podsandbox.SetRoutes(list.Pods)}

	l.pods.mu.Lock()
	l.pods.services = list.Services

	var alive []kubeletapi.Pod
	for _, known := range l.pods.alive {
		alive = append(alive, known.pod)
	}

	l.pods.mu.Unlock()

	for _, pod := range alive {
		failures = append(failures, l.writeEtc(pod))
	}

	return errors.Join(failures...)
}
