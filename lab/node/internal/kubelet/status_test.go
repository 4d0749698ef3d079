package kubelet

import (
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"cluster-stack/lab/node/internal/kubeletapi"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func settings() kubeletapi.Settings {
	return kubeletapi.Settings{
		NodeName: "worker1", Hostname: "worker1", Version: "v1.36.1", Architecture: "amd64",
		NodeIPs: []netip.Addr{netip.MustParseAddr("10.5.0.11"), netip.MustParseAddr("fd00::11")},
		Cores:   4, MemoryBytes: 8 << 30, DiskBytes: 100 << 30, MaxPods: 110,
		SystemReserved: map[string]string{"cpu": "50m", "memory": "192Mi", "ephemeral-storage": "256Mi", "pid": "100"},
		Labels:         map[string]string{"example.org/rack": "7"},
		Taints:         []kubeletapi.Taint{{Key: "example.org/gpu", Value: "yes", Effect: "NoSchedule"}},
	}
}

func TestTheNodeThatIsRegistered(t *testing.T) {
	node := initialNode(settings(), nodeState{}, now)

	if node.Labels["example.org/rack"] != "7" || node.Labels[corev1.LabelHostname] != "worker1" || node.Labels[corev1.LabelOSStable] != "linux" {
		t.Errorf("labels %v", node.Labels)
	}

	if len(node.Spec.Taints) != 1 || node.Spec.Taints[0].Key != "example.org/gpu" {
		t.Errorf("taints %v", node.Spec.Taints)
	}

	wanted := []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: "10.5.0.11"}, {Type: corev1.NodeInternalIP, Address: "fd00::11"},
		{Type: corev1.NodeHostName, Address: "worker1"},
	}
	for index, address := range node.Status.Addresses {
		if address != wanted[index] {
			t.Errorf("addresses %v", node.Status.Addresses)
		}
	}
}

func TestWhatPodsCanHave(t *testing.T) {
	left := allocatable(settings())

	for name, wanted := range map[corev1.ResourceName]string{
		corev1.ResourceCPU:    "3950m",
		corev1.ResourceMemory: "7900Mi", // 8 GiB less 192 MiB and less 100 MiB
		corev1.ResourcePods:   "110",
		// 100 GiB less 256 MiB and less a tenth
		corev1.ResourceEphemeralStorage: "91904Mi",
	} {
		if quantity := left[name]; quantity.Cmp(resource.MustParse(wanted)) != 0 {
			t.Errorf("%s: %s, not %s", name, quantity.String(), wanted)
		}
	}

	if len(left) != 4 {
		t.Errorf("%v", left)
	}

	small := settings()
	small.MemoryBytes = 1 << 20

	if memory := allocatable(small)[corev1.ResourceMemory]; !memory.IsZero() {
		t.Errorf("memory %s", memory.String())
	}
}

func TestReadiness(t *testing.T) {
	for name, test := range map[string]struct {
		state   nodeState
		status  corev1.ConditionStatus
		message string
	}{
		"fine":        {nodeState{networkReady: true}, corev1.ConditionTrue, "kubelet is posting ready status"},
		"no network":  {nodeState{}, corev1.ConditionFalse, networkNotReady},
		"going down":  {nodeState{networkReady: true, shuttingDown: true}, corev1.ConditionFalse, machineShuttingDown},
		"both at one": {nodeState{shuttingDown: true}, corev1.ConditionFalse, "[" + networkNotReady + ", " + machineShuttingDown + "]"},
	} {
		t.Run(name, func(t *testing.T) {
			if ready := readyCondition(test.state); ready.Status != test.status || ready.Message != test.message {
				t.Errorf("%+v", ready)
			}
		})
	}
}

func TestATransitionHasItsTimeAndAHeartbeatIsNoChange(t *testing.T) {
	before := initialNode(settings(), nodeState{}, now)
	same := before.DeepCopy()
	setStatus(same, settings(), nodeState{}, now.Add(time.Minute))

	if statusChanged(before, same) {
		t.Error("a heartbeat is a change")
	}

	ready := before.DeepCopy()
	setStatus(ready, settings(), nodeState{networkReady: true}, now.Add(time.Hour))

	if !statusChanged(before, ready) {
		t.Error("to become ready is no change")
	}

	if at := readiness(ready).LastTransitionTime; !at.Time.Equal(now.Add(time.Hour)) {
		t.Errorf("ready since %s", at)
	}

	for _, condition := range ready.Status.Conditions {
		if condition.Type == corev1.NodeMemoryPressure && !condition.LastTransitionTime.Time.Equal(now) {
			t.Errorf("enough memory since %s", condition.LastTransitionTime)
		}
	}
}

func TestANodeThatIsThereKeepsItsOwn(t *testing.T) {
	wanted := initialNode(settings(), nodeState{}, now)
	existing := initialNode(settings(), nodeState{}, now)
	existing.Labels = map[string]string{corev1.LabelHostname: "old", "example.org/owner": "me"}
	existing.Spec.Taints = nil

	if !adopt(existing, wanted) {
		t.Error("another host name is no change")
	}

	if existing.Labels[corev1.LabelHostname] != "worker1" || existing.Labels["example.org/owner"] != "me" {
		t.Errorf("labels %v", existing.Labels)
	}

	if _, there := existing.Labels["example.org/rack"]; there || existing.Spec.Taints != nil {
		t.Error("what is for a new Node was given to an old one")
	}

	if adopt(existing, wanted) {
		t.Error("nothing is a change")
	}
}

func TestWithACloudProviderItsAddressesStay(t *testing.T) {
	cloud := settings()
	cloud.ExternalCloudProvider = true
	node := initialNode(cloud, nodeState{}, now)

	if node.Annotations[providedIP] != "10.5.0.11,fd00::11" || node.Spec.Taints[1].Key != uninitializedTaint {
		t.Errorf("%v %v", node.Annotations, node.Spec.Taints)
	}

	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeExternalIP, Address: "192.0.2.1"}}
	setStatus(node, cloud, nodeState{}, now)

	if len(node.Status.Addresses) != 1 {
		t.Errorf("addresses %v", node.Status.Addresses)
	}
}
