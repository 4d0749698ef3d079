package machine

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"strings"

	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/kubelet"
	"github.com/siderolabs/talos/pkg/machinery/labels"
	talosruntime "github.com/siderolabs/talos/pkg/machinery/resources/runtime"

	"cluster-stack/lab/node/internal/controlplane"
	"cluster-stack/lab/node/internal/kubeletapi"
	"cluster-stack/lab/node/internal/pki"
)

// kubeletConfiguration is as much of a KubeletConfiguration as shows from outside.
type kubeletConfiguration struct {
	MaxPods            int                `json:"maxPods"`
	ProviderID         string             `json:"providerID"`
	SystemReserved     map[string]string  `json:"systemReserved"`
	RegisterWithTaints []kubeletapi.Taint `json:"registerWithTaints"`
}

const defaultMaxPods = 110

// kubeletSettings are what Talos starts the kubelet of this machine with.
func (l *life) kubeletSettings() (kubeletapi.Settings, error) {
	settings := l.node.Config()
	given := settings.Machine().Kubelet()

	for _, name := range kubelet.ProtectedConfigurationFields {
		if _, there := given.ExtraConfig()[name]; there {
			return kubeletapi.Settings{}, fmt.Errorf("machine.kubelet.extraConfig: field %q can't be overridden", name)
		}
	}

	configuration := kubeletConfiguration{MaxPods: defaultMaxPods}

	text, err := json.Marshal(given.ExtraConfig())
	if err == nil {
		err = json.Unmarshal(text, &configuration)
	}

	if err != nil {
		return kubeletapi.Settings{}, fmt.Errorf("error unmarshalling extra kubelet configuration: %w", err)
	}

	addresses, err := l.nodeIPs()
	if err != nil {
		return kubeletapi.Settings{}, err
	}

	server := settings.Cluster().Endpoint().String()
	if settings.Machine().Features().KubePrism().Enabled() {
		server = controlplane.LocalServer(settings)
	}

	arguments := given.ExtraArgs()

	return kubeletapi.Settings{
		NodeName: l.node.Nodename(), Hostname: l.node.Hostname(), NodeIPs: addresses,
		Version: "v" + controlplane.Version(given.Image()), OSImage: fmt.Sprintf("Talos (%s)", l.node.Version.Tag()),
		KernelVersion: constants.DefaultKernelVersion, ContainerRuntime: "containerd://" + constants.DefaultContainerdVersion,
		Architecture: runtime.GOARCH, MachineID: l.node.NodeID(), SystemUUID: l.hw.UUID, BootID: l.node.BootID, BootedAt: l.node.BootTime,
		Cores: l.hw.Cores, MemoryBytes: int64(l.hw.MemoryMiB) << 20, DiskBytes: int64(l.node.Disk().SizeBytes), //nolint:gosec // sizes
		MaxPods: configuration.MaxPods, SystemReserved: systemReserved(configuration, l.node.IsControlPlane()),
		Labels: kubeletLabels(arguments["node-labels"]), Taints: l.registerWithTaints(settings, configuration),
		ProviderID:            firstOf(configuration.ProviderID, arguments["provider-id"]),
		ExternalCloudProvider: settings.Cluster().ExternalCloudProvider().Enabled() || firstOf("", arguments["cloud-provider"]) == "external",
		Server:                server, Authorities: string(pki.KubernetesCAs(settings.Cluster())),
		BootstrapToken: settings.Cluster().Token().ID() + "." + settings.Cluster().Token().Secret(),
		StateDirectory: l.place("/var/lib/kubelet"),
	}, nil
}

func firstOf(value string, values []string) string {
	if value == "" && len(values) > 0 {
		return values[0]
	}

	return value
}

// kubeletLabels are those of the kubelet's own argument.
func kubeletLabels(arguments []string) map[string]string {
	list := map[string]string{}

	for _, pair := range strings.Split(strings.Join(arguments, ","), ",") {
		if name, value, found := strings.Cut(pair, "="); found {
			list[name] = value
		}
	}

	return list
}

// systemReserved is what Talos reserves where the configuration does not.
func systemReserved(configuration kubeletConfiguration, controlPlane bool) map[string]string {
	if len(configuration.SystemReserved) > 0 {
		return configuration.SystemReserved
	}

	memory := constants.KubeletSystemReservedMemoryWorker
	if controlPlane {
		memory = constants.KubeletSystemReservedMemoryControlPlane
	}

	return map[string]string{
		"cpu": constants.KubeletSystemReservedCPU, "pid": constants.KubeletSystemReservedPid,
		"ephemeral-storage": constants.KubeletSystemReservedEphemeralStorage, "memory": memory,
	}
}

const noSchedule = "NoSchedule"

// registerWithTaints are the taints that a new Node has from the beginning, so
// that nothing is scheduled on a control plane before Talos has tainted it.
func (l *life) registerWithTaints(settings config.Config, configuration kubeletConfiguration) []kubeletapi.Taint {
	taints := configuration.RegisterWithTaints

	if !l.node.IsControlPlane() || settings.Cluster().ScheduleOnControlPlanes() {
		return taints
	}

	for _, taint := range taints {
		if taint.Key == constants.LabelNodeRoleControlPlane {
			return taints
		}
	}

	return append(taints, kubeletapi.Taint{Key: constants.LabelNodeRoleControlPlane, Effect: noSchedule})
}

// nodeSpec is what Talos wants of the machine's Node.
func (l *life) nodeSpec() (kubeletapi.NodeSpec, error) {
	settings := l.node.Config()
	machine := settings.Machine()
	spec := kubeletapi.NodeSpec{Labels: map[string]string{}, Annotations: map[string]string{}}

	maps.Copy(spec.Labels, machine.NodeLabels())
	maps.Copy(spec.Annotations, machine.NodeAnnotations())

	if l.node.IsControlPlane() {
		spec.Labels[constants.LabelNodeRoleControlPlane] = ""

		if !settings.Cluster().ScheduleOnControlPlanes() {
			spec.Taints = append(spec.Taints, kubeletapi.Taint{Key: constants.LabelNodeRoleControlPlane, Effect: noSchedule})
		}
	}

	for name, version := range l.node.Extensions() {
		name = constants.K8sExtensionPrefix + name

		switch {
		case labels.ValidateQualifiedName(name) != nil:
		case labels.ValidateLabelValue(version) == nil:
			spec.Labels[name] = version
		default:
			spec.Annotations[name] = version
		}
	}

	for key, taint := range machine.NodeTaints() {
		value, effect, found := strings.Cut(taint, ":")
		if !found {
			value, effect = "", taint
		}

		spec.Taints = append(spec.Taints, kubeletapi.Taint{Key: key, Value: value, Effect: effect})
	}

	switch l.node.Stage() { //nolint:exhaustive // the others say nothing about it
	case talosruntime.MachineStageShuttingDown, talosruntime.MachineStageUpgrading, talosruntime.MachineStageResetting:
		spec.Cordoned = true
	}

	if l.node.IsControlPlane() {
		administrator, err := l.administrator()
		if err != nil {
			return spec, err
		}

		spec.Administrator = administrator
	}

	return spec, nil
}

// administrator is the machine's own way to change what is in Kubernetes. Its
// certificate is issued once.
func (l *life) administrator() (*kubeletapi.Credentials, error) {
	settings := l.node.Config()
	key := controlplane.SecretsKey(settings)

	l.kubernetes.mu.Lock()
	defer l.kubernetes.mu.Unlock()

	if l.kubernetes.administrator == nil || l.kubernetes.administratorKey != key {
		certificate, err := pki.TalosAdministrator(settings.Cluster())
		if err != nil {
			return nil, err
		}

		l.kubernetes.administratorKey = key
		l.kubernetes.administrator = &kubeletapi.Credentials{
			Server: controlplane.LocalServer(settings), Authorities: string(pki.KubernetesCAs(settings.Cluster())),
			Certificate: string(certificate.Crt), Key: string(certificate.Key),
		}
	}

	return l.kubernetes.administrator, nil
}
