package machine

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/config"

	"cluster-stack/lab/node/internal/controlplane"
	"cluster-stack/lab/node/internal/kubeletapi"
	"cluster-stack/lab/node/internal/services"
	"cluster-stack/lab/node/internal/staticpods"
)

// kubernetes is what a machine has of Kubernetes while it runs.
type kubernetes struct {
	pods    *staticpods.Runner
	kubelet atomic.Pointer[kubeletapi.Client]
	stopped atomic.Bool // the kubelet is not started again
	telling sync.Mutex  // one list of static pods after the other

	mu               sync.Mutex
	administrator    *kubeletapi.Credentials
	administratorKey string

	secretsKey     string
	secretsVersion int
	subjectKey     string
	written        map[string][]byte
}

const controlPlaneStep = 250 * time.Millisecond

// runStaticPods runs the pods that the machine has by itself: those of a
// control plane, once etcd is healthy, and those of the machine configuration.
func (l *life) runStaticPods(ctx context.Context) {
	complained := ""

	for {
		if l.node.Services.Is(kubeletService, services.Running) {
			err := l.reconcileStaticPods()
			if err != nil && err.Error() != complained {
				complained = err.Error()
				l.node.Logs.Printf("static pods: %s", err)
			}

			if err == nil {
				complained = ""
			}
		}

		select {
		case <-ctx.Done():
			return
		case <-time.After(controlPlaneStep):
		}
	}
}

func (l *life) reconcileStaticPods() error {
	settings := l.node.Config()

	var manifests []staticpods.Manifest

	if l.node.IsControlPlane() && (l.kubernetes.written != nil || l.node.Services.Up([]string{etcdService})) {
		pods, err := l.controlPlanePods(settings)
		if err != nil {
			return err
		}

		for _, pod := range pods {
			raw, err := json.Marshal(pod)
			if err != nil {
				return err
			}

			manifests = append(manifests, staticpods.Manifest{Pod: pod, Raw: raw})
		}
	}

	for _, given := range settings.Machine().Pods() {
		raw, err := json.Marshal(given)
		if err != nil {
			return err
		}

		manifest := staticpods.Manifest{Raw: raw}
		if err := json.Unmarshal(raw, &manifest.Pod); err != nil {
			return fmt.Errorf("a pod of machine.pods: %w", err)
		}

		if manifest.Pod.Metadata.Namespace == "" {
			manifest.Pod.Metadata.Namespace = "default"
		}

		manifests = append(manifests, manifest)
	}

	if err := l.node.PublishStaticPods(manifests); err != nil {
		return err
	}

	l.kubernetes.pods.Set(manifests)

	return nil
}

// controlPlanePods are the pods of the control plane. What they read is written.
func (l *life) controlPlanePods(settings config.Provider) ([]controlplane.Pod, error) {
	configuration := controlplane.NewConfiguration(settings)

	files, err := configuration.Files()
	if err != nil {
		return nil, err
	}

	if err := l.renewSecrets(settings); err != nil {
		return nil, err
	}

	versions, err := l.node.PublishControlPlane(configuration, fmt.Sprint(l.kubernetes.secretsVersion))
	if err != nil {
		return nil, err
	}

	pods, err := configuration.Pods(versions)
	if err != nil {
		return nil, err
	}

	for path, content := range files {
		for _, pod := range pods {
			content = []byte(l.translate(string(content), pod.Spec.Volumes, pod.Spec.Containers[0].VolumeMounts))
		}

		files[path] = content
	}

	return pods, l.writeFiles(files)
}

// renewSecrets issues keys and certificates anew when what they follow from has
// changed. The API server itself sees that its certificate is a new one.
func (l *life) renewSecrets(settings config.Provider) error {
	subject, err := controlplane.Subject(settings, l.node.Hostname(), l.node.FQDN(), l.node.AllIPs())
	if err != nil {
		return err
	}

	key, subjectKey := controlplane.SecretsKey(settings), fmt.Sprint(subject)
	if key == l.kubernetes.secretsKey && subjectKey == l.kubernetes.subjectKey {
		return nil
	}

	secrets, err := controlplane.NewSecrets(settings, subject)
	if err != nil {
		return err
	}

	if err := l.writeFiles(secrets); err != nil {
		return err
	}

	if key != l.kubernetes.secretsKey {
		l.kubernetes.secretsVersion++
	}

	l.kubernetes.secretsKey, l.kubernetes.subjectKey = key, subjectKey

	return nil
}

// writeFiles writes what has changed of the machine's files.
func (l *life) writeFiles(files map[string][]byte) error {
	if l.kubernetes.written == nil {
		l.kubernetes.written = map[string][]byte{}
	}

	for path, content := range files {
		if string(l.kubernetes.written[path]) == string(content) {
			continue
		}

		place := l.place(path)
		if err := os.MkdirAll(filepath.Dir(place), 0o700); err != nil {
			return err
		}

		// in one step: a server may be reading it
		draft := place + ".new"
		if err := os.WriteFile(draft, content, 0o600); err != nil {
			return err
		}

		if err := os.Rename(draft, place); err != nil {
			return err
		}

		l.kubernetes.written[path] = content
	}

	return nil
}

const ephemeralLabel = "EPHEMERAL"

// place is where a path of the machine is in the lab: /var is on a partition,
// all else goes with the power.
func (l *life) place(path string) string {
	if rest, ok := strings.CutPrefix(path, "/var/"); ok {
		return filepath.Join(l.node.Disk().Partition(ephemeralLabel), rest)
	}

	return filepath.Join(l.hw.Dir, runDirectory, "root", path)
}

// translate replaces the paths that a container sees by those that its process does.
func (l *life) translate(text string, volumes []controlplane.Volume, mounts []controlplane.VolumeMount) string {
	for _, mount := range mounts {
		for _, volume := range volumes {
			if volume.Name == mount.Name {
				text = strings.ReplaceAll(text, mount.MountPath, l.place(volume.HostPath.Path))
			}
		}
	}

	return text
}

// The programs of Kubernetes that the lab has. Containers of anything else are
// only said to run.
var servers = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"}

// kubernetesProgram is the file with all of them.
const kubernetesProgram = "kube"

// program is the process that a container of a static pod is.
func (l *life) program(pod *controlplane.Pod, container *controlplane.Container) (*staticpods.Program, error) {
	if len(container.Command) == 0 || !slices.Contains(servers, filepath.Base(container.Command[0])) {
		return nil, nil
	}

	emulation, err := controlplane.Emulation(container.Image)
	if err != nil {
		return nil, err
	}

	address, err := l.podAddress()
	if err != nil {
		return nil, err
	}

	program := &staticpods.Program{
		Name: kubernetesProgram, Arguments: []string{filepath.Base(container.Command[0])},
		Env: []string{
			"PATH=" + os.Getenv("PATH"),
			"SSL_CERT_FILE=" + os.Getenv("SSL_CERT_FILE"), "SSL_CERT_DIR=" + os.Getenv("SSL_CERT_DIR"),
		},
	}

	for _, argument := range slices.Concat(container.Command[1:], emulation) {
		argument = strings.ReplaceAll(argument, "$(POD_IP)", address.String())
		program.Arguments = append(program.Arguments, l.translate(argument, pod.Spec.Volumes, container.VolumeMounts))
	}

	for _, volume := range pod.Spec.Volumes {
		if err := os.MkdirAll(l.place(volume.HostPath.Path), 0o700); err != nil {
			return nil, err
		}
	}

	for _, variable := range container.Env {
		value := strings.ReplaceAll(variable.Value, "$$", "$")
		if variable.ValueFrom != nil {
			value = address.String()
		}

		program.Env = append(program.Env, variable.Name+"="+value)
	}

	return program, nil
}

// podAddress is the address of pods that have the machine's own network.
func (l *life) podAddress() (netip.Addr, error) {
	addresses, err := l.nodeIPs()
	if err != nil {
		return netip.Addr{}, err
	}

	return addresses[0], nil
}

// containerLog is where a container's output goes; `talosctl logs -k` reads it.
func (l *life) containerLog(pod *controlplane.Pod, container *controlplane.Container) func(string) {
	return l.node.Logs.Service(fmt.Sprintf("%s/%s-%s:%s", pod.Metadata.Namespace, pod.Metadata.Name, l.node.Nodename(), container.Name)).Append
}
