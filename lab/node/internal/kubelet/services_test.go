package kubelet

import (
	"net/netip"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"cluster-stack/lab/node/internal/kubeletapi"
)

func storeOf(t *testing.T, objects ...any) cache.Store {
	t.Helper()

	store := cache.NewStore(cache.MetaNamespaceKeyFunc)
	for _, object := range objects {
		if err := store.Add(object); err != nil {
			t.Fatal(err)
		}
	}

	return store
}

func TestAServiceEndsAtItsPodsThatAreReady(t *testing.T) {
	name, port, no := "http", int32(9090), false
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "flux-system", Name: "source-controller"},
		Spec: corev1.ServiceSpec{
			ClusterIP: "10.96.0.7", ClusterIPs: []string{"10.96.0.7"},
			Ports: []corev1.ServicePort{{Name: name, Port: 80, Protocol: corev1.ProtocolTCP}},
		},
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "flux-system", Name: "source-controller-x",
			Labels: map[string]string{discoveryv1.LabelServiceName: "source-controller"},
		},
		Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.244.1.7"}},
			{Addresses: []string{"10.244.1.8"}, Conditions: discoveryv1.EndpointConditions{Ready: &no}},
		},
	}

	got := serviceList(storeOf(t, service), storeOf(t, slice)).Services
	wanted := []kubeletapi.Service{{
		Namespace: "flux-system", Name: "source-controller", Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.7")},
		Ports: []kubeletapi.ServicePort{{Protocol: "TCP", Port: 80, Targets: []netip.AddrPort{netip.MustParseAddrPort("10.244.1.7:9090")}}},
	}}

	if !reflect.DeepEqual(got, wanted) {
		t.Errorf("%+v", got)
	}

	service.Spec.ClusterIP, service.Spec.ClusterIPs = corev1.ClusterIPNone, []string{corev1.ClusterIPNone}

	headless := serviceList(storeOf(t, service), storeOf(t, slice)).Services[0]
	if len(headless.Ports) != 0 || !reflect.DeepEqual(headless.Addresses, []netip.Addr{netip.MustParseAddr("10.244.1.7")}) {
		t.Errorf("without an address of its own: %+v", headless)
	}
}

func TestPodsOfOtherNodesAreReachedByThoseNodes(t *testing.T) {
	node := func(name, cidr, address string) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDRs: []string{cidr}},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}},
		}
	}

	got := podRanges(storeOf(t, node("one", "10.244.0.0/24", "10.5.0.11"), node("two", "10.244.1.0/24", "10.5.0.12")), "one")
	wanted := []kubeletapi.PodRange{
		{Range: netip.MustParsePrefix("10.244.0.0/24")},
		{Range: netip.MustParsePrefix("10.244.1.0/24"), Node: netip.MustParseAddr("10.5.0.12")},
	}

	if !reflect.DeepEqual(got, wanted) {
		t.Errorf("%+v", got)
	}
}
