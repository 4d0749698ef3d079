package kubelet

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"cluster-stack/lab/node/internal/kubeletapi"
)

// networkPrograms are DaemonSets whose pods bring a node its pod network: they
// put a CNI configuration on its disk.
var networkPrograms = []string{
	"antrea-agent", "calico-node", "canal", "cilium", "kindnet", "kube-flannel", "kube-flannel-ds", "kube-router", "weave-net",
}

// podNetwork is the node's pod network: whether it has come, and who has which
// address. Once come it stays, like the CNI configuration on a Talos machine's
// disk, until the disk is wiped.
type podNetwork struct {
	marker  string
	hostIPs []string

	mu        sync.Mutex
	broughtBy string
	ranges    []netip.Prefix
	taken     map[netip.Addr]types.UID
	given     map[types.UID][]string
}

func newPodNetwork(settings kubeletapi.Settings) (*podNetwork, error) {
	n := &podNetwork{
		marker: filepath.Join(settings.StateDirectory, "pod-network"),
		taken:  map[netip.Addr]types.UID{},
		given:  map[types.UID][]string{},
	}

	for _, address := range settings.NodeIPs {
		n.hostIPs = append(n.hostIPs, address.String())
	}

	content, err := os.ReadFile(n.marker)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}

	n.broughtBy = string(content)

	return n, nil
}

// ready says whether pods can have addresses.
func (n *podNetwork) ready() bool {
	n.mu.Lock()
	defer n.mu.Unlock()

	return n.broughtBy != ""
}

// brings says whether this pod has just brought the network.
func (n *podNetwork) brings(pod *corev1.Pod) (bool, error) {
	if !pod.Spec.HostNetwork || pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil {
		return false, nil
	}

	n.mu.Lock()
	defer n.mu.Unlock()

	if n.broughtBy != "" {
		return false, nil
	}

	for _, owner := range pod.OwnerReferences {
		if owner.Kind == "DaemonSet" && slices.Contains(networkPrograms, owner.Name) {
			n.broughtBy = owner.Name

			if err := os.WriteFile(n.marker, []byte(owner.Name), 0o600); err != nil {
				return true, fmt.Errorf("the network would be gone after a restart: %w", err)
			}

			return true, nil
		}
	}

	return false, nil
}

// use takes the ranges that the cluster gave this node; whether they are new.
func (n *podNetwork) use(cidrs []string) bool {
	var ranges []netip.Prefix

	for _, cidr := range cidrs {
		// The API server has checked it.
		if prefix, err := netip.ParsePrefix(cidr); err == nil {
			ranges = append(ranges, prefix.Masked())
		}
	}

	n.mu.Lock()
	defer n.mu.Unlock()

	if slices.Equal(n.ranges, ranges) {
		return false
	}

	n.ranges = ranges

	return true
}

// addresses are those that a pod has, or would have if it started now; none if it cannot start.
func (n *podNetwork) addresses(pod *corev1.Pod) []string {
	if pod.Spec.HostNetwork {
		return n.hostIPs
	}

	n.mu.Lock()
	defer n.mu.Unlock()

	if n.broughtBy == "" {
		return nil
	}

	if given := n.given[pod.UID]; given != nil {
		return given
	}

	var given []string

	for _, address := range pod.Status.PodIPs { // from the time before a restart of the kubelet
		if parsed, err := netip.ParseAddr(address.IP); err == nil && n.taken[parsed] == "" {
			n.taken[parsed] = pod.UID
			given = append(given, address.IP)
		}
	}

	for index := 0; index < len(n.ranges) && len(given) < len(n.ranges); index++ {
		if address, free := n.free(n.ranges[index]); free {
			n.taken[address] = pod.UID
			given = append(given, address.String())
		}
	}

	if given != nil {
		n.given[pod.UID] = given
	}

	return given
}

// The first two are the range's own name and the node's end of the network.
func (n *podNetwork) free(of netip.Prefix) (netip.Addr, bool) {
	for address := of.Addr().Next().Next(); of.Contains(address); address = address.Next() {
		if n.taken[address] == "" {
			return address, true
		}
	}

	return netip.Addr{}, false
}

// release takes the addresses back from a pod that is gone.
func (n *podNetwork) release(pod types.UID) {
	n.mu.Lock()
	defer n.mu.Unlock()

	for _, address := range n.given[pod] {
		if parsed, err := netip.ParseAddr(address); err == nil {
			delete(n.taken, parsed)
		}
	}

	delete(n.given, pod)
}
