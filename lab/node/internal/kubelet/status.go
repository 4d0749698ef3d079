package kubelet

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cluster-stack/lab/node/internal/kubeletapi"
)

const (
	attachAnnotation   = "volumes.kubernetes.io/controller-managed-attach-detach"
	providedIP         = "alpha.kubernetes.io/provided-node-ip"
	uninitializedTaint = "node.cloudprovider.kubernetes.io/uninitialized"
	kubeletPort        = 10250

	// What a kubelet keeps free before it evicts pods: 100 MiB of memory and a tenth of the disk.
	memoryKeptFree      = 100 << 20
	partOfDiskKeptFree  = 10
	networkNotReady     = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized"
	machineShuttingDown = "node is shutting down"
)

// nodeState is what of a machine changes while its kubelet lives.
type nodeState struct {
	networkReady bool
	shuttingDown bool
}

// initialNode is the Node that a kubelet registers.
func initialNode(settings kubeletapi.Settings, state nodeState, now time.Time) *corev1.Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: settings.NodeName,
		Labels: map[string]string{
			corev1.LabelHostname:      settings.Hostname,
			corev1.LabelOSStable:      "linux",
			corev1.LabelArchStable:    settings.Architecture,
			"beta.kubernetes.io/os":   "linux",
			"beta.kubernetes.io/arch": settings.Architecture,
		},
		Annotations: map[string]string{attachAnnotation: "true"},
	}}
	node.Spec.ProviderID = settings.ProviderID

	for key, value := range settings.Labels {
		node.Labels[key] = value
	}

	for _, taint := range settings.Taints {
		node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{
			Key: taint.Key, Value: taint.Value, Effect: corev1.TaintEffect(taint.Effect),
		})
	}

	if settings.ExternalCloudProvider {
		node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{
			Key: uninitializedTaint, Value: "true", Effect: corev1.TaintEffectNoSchedule,
		})
	}

	setStatus(node, settings, state, now)

	return node
}

// adopt brings a Node that is there already to what the kubelet insists on; whether anything changed. Labels and taints
// with which the kubelet would have registered it are not among that.
func adopt(existing, wanted *corev1.Node) bool {
	changed := false

	if existing.Annotations[attachAnnotation] != wanted.Annotations[attachAnnotation] {
		metav1.SetMetaDataAnnotation(&existing.ObjectMeta, attachAnnotation, wanted.Annotations[attachAnnotation])

		changed = true
	}

	for _, label := range []string{
		corev1.LabelHostname, corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaZone,
		corev1.LabelFailureDomainBetaRegion, corev1.LabelInstanceTypeStable, corev1.LabelInstanceType, corev1.LabelOSStable,
		corev1.LabelArchStable, "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
	} {
		if value, wants := wanted.Labels[label]; wants && existing.Labels[label] != value {
			metav1.SetMetaDataLabel(&existing.ObjectMeta, label, value)

			changed = true
		}
	}

	return changed
}

// setStatus writes the machine's status over what is there.
func setStatus(node *corev1.Node, settings kubeletapi.Settings, state nodeState, now time.Time) {
	setAddresses(node, settings)

	node.Status.Capacity = capacity(settings)
	node.Status.Allocatable = allocatable(settings)
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = kubeletPort
	node.Status.NodeInfo = corev1.NodeSystemInfo{
		MachineID:               settings.MachineID,
		SystemUUID:              settings.SystemUUID,
		BootID:                  settings.BootID,
		KernelVersion:           settings.KernelVersion,
		OSImage:                 settings.OSImage,
		ContainerRuntimeVersion: settings.ContainerRuntime,
		KubeletVersion:          settings.Version,
		OperatingSystem:         "linux",
		Architecture:            settings.Architecture,
	}

	for _, fine := range []corev1.NodeCondition{
		{Type: corev1.NodeMemoryPressure, Reason: "KubeletHasSufficientMemory", Message: "kubelet has sufficient memory available"},
		{Type: corev1.NodeDiskPressure, Reason: "KubeletHasNoDiskPressure", Message: "kubelet has no disk pressure"},
		{Type: corev1.NodePIDPressure, Reason: "KubeletHasSufficientPID", Message: "kubelet has sufficient PID available"},
	} {
		fine.Status = corev1.ConditionFalse
		setCondition(node, fine, now)
	}

	setCondition(node, readyCondition(state), now)
}

func setAddresses(node *corev1.Node, settings kubeletapi.Settings) {
	var (
		addresses []corev1.NodeAddress
		plain     []string
	)

	for _, ip := range settings.NodeIPs {
		addresses = append(addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip.String()})
		plain = append(plain, ip.String())
	}

	if !settings.ExternalCloudProvider {
		delete(node.Annotations, providedIP)
	} else {
		metav1.SetMetaDataAnnotation(&node.ObjectMeta, providedIP, strings.Join(plain, ","))

		if len(node.Status.Addresses) > 0 { // the cloud provider's own
			return
		}
	}

	node.Status.Addresses = append(addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: settings.Hostname})
}

func capacity(settings kubeletapi.Settings) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(settings.Cores), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(settings.MemoryBytes, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(settings.DiskBytes, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(int64(settings.MaxPods), resource.DecimalSI),
	}
}

// allocatable is what is left for pods.
func allocatable(settings kubeletapi.Settings) corev1.ResourceList {
	left := capacity(settings)

	subtract := func(name corev1.ResourceName, reserved resource.Quantity) {
		quantity, known := left[name]
		if !known {
			return
		}

		quantity.Sub(reserved)

		if quantity.Sign() < 0 {
			quantity.Set(0)
		}

		left[name] = quantity
	}

	for name, reserved := range settings.SystemReserved {
		// A kubelet does not start with a reservation that is no quantity; Talos checks it before.
		if quantity, err := resource.ParseQuantity(reserved); err == nil {
			subtract(corev1.ResourceName(name), quantity)
		}
	}

	subtract(corev1.ResourceMemory, *resource.NewQuantity(memoryKeptFree, resource.BinarySI))
	subtract(corev1.ResourceEphemeralStorage, *resource.NewQuantity(settings.DiskBytes/partOfDiskKeptFree, resource.BinarySI))

	return left
}

func readyCondition(state nodeState) corev1.NodeCondition {
	var wrong []string

	if !state.networkReady {
		wrong = append(wrong, networkNotReady)
	}

	if state.shuttingDown {
		wrong = append(wrong, machineShuttingDown)
	}

	ready := corev1.NodeCondition{
		Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "KubeletNotReady",
	}

	switch len(wrong) {
	case 0:
		ready.Status, ready.Reason, ready.Message = corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"
	case 1:
		ready.Message = wrong[0]
	default:
		ready.Message = "[" + strings.Join(wrong, ", ") + "]"
	}

	return ready
}

func setCondition(node *corev1.Node, condition corev1.NodeCondition, now time.Time) {
	condition.LastHeartbeatTime = metav1.NewTime(now)
	condition.LastTransitionTime = condition.LastHeartbeatTime

	for index, existing := range node.Status.Conditions {
		if existing.Type == condition.Type {
			if existing.Status == condition.Status {
				condition.LastTransitionTime = existing.LastTransitionTime
			}

			node.Status.Conditions[index] = condition

			return
		}
	}

	node.Status.Conditions = append(node.Status.Conditions, condition)
}

func readiness(node *corev1.Node) corev1.NodeCondition {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition
		}
	}

	return corev1.NodeCondition{}
}

// statusChanged compares all but the time of the heartbeat.
func statusChanged(before, after *corev1.Node) bool {
	return !apiequality.Semantic.DeepEqual(withoutHeartbeat(before), withoutHeartbeat(after)) ||
		before.Annotations[providedIP] != after.Annotations[providedIP]
}

func withoutHeartbeat(node *corev1.Node) corev1.NodeStatus {
	status := *node.Status.DeepCopy()

	for index := range status.Conditions {
		status.Conditions[index].LastHeartbeatTime = metav1.Time{}
	}

	slices.SortFunc(status.Conditions, func(one, other corev1.NodeCondition) int { return cmp.Compare(one.Type, other.Type) })

	return status
}
