package node

import (
	"context"
	"net/netip"
	"reflect"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/siderolabs/talos/pkg/machinery/resources/cluster"
	"github.com/siderolabs/talos/pkg/machinery/resources/k8s"

	"cluster-stack/lab/node/internal/cosi"
)

// publishMembership publishes what discovery knows. Of the other nodes it
// touches only those that are not as they were before: in a large cluster that
// is one of many.
func (n *Node) publishMembership(before []cluster.AffiliateSpec) error {
	n.mu.Lock()
	affiliates, endpoints, nodeID, current := n.affiliates, n.endpoints, n.nodeID, n.active
	n.mu.Unlock()

	if err := n.publishDifferent(byNodeID(before), byNodeID(affiliates), affiliateResource); err != nil {
		return err
	}

	if err := n.publishDifferent(others(before, nodeID), others(affiliates, nodeID), toldResource); err != nil {
		return err
	}

	if err := n.publishDifferent(byNodename(before), byNodename(affiliates), memberResource); err != nil {
		return err
	}

	var controlPlanes []netip.Addr

	for _, spec := range affiliates {
		if spec.Nodename != "" && spec.MachineType.IsControlPlane() {
			controlPlanes = append(controlPlanes, spec.Addresses...)
		}
	}

	identity := cluster.NewIdentity(cluster.NamespaceName, cluster.LocalIdentity)
	identity.TypedSpec().NodeID = nodeID

	info := cluster.NewInfo()
	info.TypedSpec().ClusterID, info.TypedSpec().ClusterName = current.Cluster().ID(), current.Cluster().Name()

	discovered := k8s.NewEndpoint(k8s.ControlPlaneNamespaceName, k8s.ControlPlaneDiscoveredEndpointsID)
	discovered.TypedSpec().Addresses = controlPlanes

	static := k8s.NewEndpoint(k8s.ControlPlaneNamespaceName, k8s.ControlPlaneKubernetesEndpointsID)
	static.TypedSpec().Addresses = endpoints

	return n.put(identity, info, discovered, static)
}

func byNodeID(list []cluster.AffiliateSpec) map[resource.ID]cluster.AffiliateSpec {
	found := make(map[resource.ID]cluster.AffiliateSpec, len(list))
	for _, spec := range list {
		found[spec.NodeID] = spec
	}

	return found
}

// others are all but this machine.
func others(list []cluster.AffiliateSpec, nodeID string) map[resource.ID]cluster.AffiliateSpec {
	found := byNodeID(list)
	delete(found, nodeID)

	return found
}

// byNodename has those that are members: who has a name in Kubernetes.
func byNodename(list []cluster.AffiliateSpec) map[resource.ID]cluster.AffiliateSpec {
	found := make(map[resource.ID]cluster.AffiliateSpec, len(list))

	for _, spec := range list {
		if spec.Nodename != "" {
			found[spec.Nodename] = spec
		}
	}

	return found
}

func affiliateResource(id resource.ID, spec cluster.AffiliateSpec) resource.Resource {
	affiliate := cluster.NewAffiliate(cluster.NamespaceName, id)
	*affiliate.TypedSpec() = spec

	return affiliate
}

// discoveryRegistry begins the names of what the discovery service has told.
const discoveryRegistry = "service/"

// toldResource is a machine as the discovery service has told of it.
func toldResource(id resource.ID, spec cluster.AffiliateSpec) resource.Resource {
	told := cluster.NewAffiliate(cluster.RawNamespaceName, discoveryRegistry+id)
	*told.TypedSpec() = spec

	return told
}

func memberResource(id resource.ID, spec cluster.AffiliateSpec) resource.Resource {
	member := cluster.NewMember(cluster.NamespaceName, id)
	*member.TypedSpec() = cluster.MemberSpec{
		NodeID: spec.NodeID, Addresses: spec.Addresses, Hostname: spec.Hostname, MachineType: spec.MachineType,
		OperatingSystem: spec.OperatingSystem, ControlPlane: spec.ControlPlane,
	}

	return member
}

// publishDifferent publishes what was not there before as it is now, and takes
// away what is no more.
func (n *Node) publishDifferent(
	before, now map[resource.ID]cluster.AffiliateSpec, make func(resource.ID, cluster.AffiliateSpec) resource.Resource,
) error {
	for id, spec := range now {
		if known, ok := before[id]; ok && reflect.DeepEqual(known, spec) {
			continue
		}

		if err := n.put(make(id, spec)); err != nil {
			return err
		}
	}

	for id, spec := range before {
		if _, still := now[id]; still {
			continue
		}

		if err := cosi.Drop(context.Background(), n.Resources, make(id, spec).Metadata()); err != nil {
			return err
		}
	}

	return nil
}
