package kubelet

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"cluster-stack/lab/node/internal/kubeletapi"
)

const (
	servicesStep = 2 * time.Second
	// settleTime is how long changes are gathered before they are told.
	settleTime = 200 * time.Millisecond
)

// serviceProxies are DaemonSets whose pods bring a node the services.
var serviceProxies = []string{"kube-proxy", "cilium"}

// services are what the node's pod of such a DaemonSet would program into the kernel.
// They are read as that pod, with a token of its service account, and only once
// a program runs on the node that could use them.
type services struct {
	identity *identity
	pods     *pods
	report   func(kubeletapi.Event)
	needed   func() bool
	nodeName string

	token   atomic.Pointer[string]
	renewAt time.Time
	touched chan struct{}

	known       atomic.Bool // the machine has been told of them
	becomeKnown func()
}

func (s *services) run(ctx context.Context) {
	for !s.needed() || !s.renew(ctx) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(servicesStep):
		}
	}

	client, err := s.identity.clientWithToken(s.token.Load)
	if err != nil {
		klog.FromContext(ctx).Error(err, "The services are not known")

		return
	}

	changed := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { s.touch() },
		UpdateFunc: func(any, any) { s.touch() },
		DeleteFunc: func(any) { s.touch() },
	}
	known, servicesController := s.watch(client.CoreV1().RESTClient(), "services", &corev1.Service{}, changed)
	endpoints, endpointsController := s.watch(client.DiscoveryV1().RESTClient(), "endpointslices", &discoveryv1.EndpointSlice{}, changed)

	nodes, nodesController := s.watch(client.CoreV1().RESTClient(), "nodes", &corev1.Node{}, changed)

	synced := []cache.InformerSynced{}

	for _, controller := range []cache.Controller{servicesController, endpointsController, nodesController} {
		go controller.RunWithContext(ctx)

		synced = append(synced, controller.HasSynced)
	}

	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return
	}

	var reported []byte

	for {
		list := serviceList(known, endpoints)
		list.Pods = podRanges(nodes, s.nodeName)

		if encoded, err := json.Marshal(list); err == nil && !bytes.Equal(encoded, reported) {
			reported = encoded
			s.report(kubeletapi.Event{Services: list})
			s.known.Store(true)
			s.becomeKnown()
		}

		select {
		case <-ctx.Done():
			return
		case <-s.touched:
			time.Sleep(settleTime)
		case <-time.After(containersStep):
			s.renew(ctx)
		}
	}
}

func (s *services) watch(
	client cache.Getter, resource string, kind runtime.Object, changed cache.ResourceEventHandler,
) (cache.Store, cache.Controller) {
	return cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(client, resource, metav1.NamespaceAll, fields.Everything()),
		ObjectType:    kind,
		Transform:     withoutManagedFields,
		Handler:       changed,
	})
}

func (s *services) touch() {
	select {
	case s.touched <- struct{}{}:
	default:
	}
}

// renew has a token of the proxy's service account; whether there is one.
func (s *services) renew(ctx context.Context) bool {
	if s.token.Load() != nil && time.Now().Before(s.renewAt) {
		return true
	}

	known := s.pods.list()

	index := slices.IndexFunc(known, isServiceProxy)
	if index < 0 {
		return false // the cluster has none, or its pod is not here yet
	}

	proxy := known[index]

	ctx, cancel := context.WithTimeout(ctx, playTimeout)
	defer cancel()

	issued, err := s.identity.client.CoreV1().ServiceAccounts(proxy.Namespace).CreateToken(
		ctx, proxy.Spec.ServiceAccountName, tokenRequest(proxy, nil), metav1.CreateOptions{},
	)
	if err != nil {
		klog.FromContext(ctx).Error(err, "The proxy of services has no token")

		return false
	}

	s.renewAt = time.Now().Add(time.Until(issued.Status.ExpirationTimestamp.Time) * 4 / 5)
	s.token.Store(&issued.Status.Token)

	return true
}

func isServiceProxy(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil &&
		slices.ContainsFunc(pod.OwnerReferences, func(owner metav1.OwnerReference) bool {
			return owner.Kind == "DaemonSet" && slices.Contains(serviceProxies, owner.Name)
		})
}

// serviceList is what the machine needs to know of all services.
func serviceList(known, endpointSlices cache.Store) *kubeletapi.ServiceList {
	byService := map[string][]*discoveryv1.EndpointSlice{}

	for _, object := range endpointSlices.List() {
		if slice, ok := object.(*discoveryv1.EndpointSlice); ok {
			key := slice.Namespace + "/" + slice.Labels[discoveryv1.LabelServiceName]
			byService[key] = append(byService[key], slice)
		}
	}

	list := &kubeletapi.ServiceList{Services: []kubeletapi.Service{}}

	for _, object := range known.List() {
		if service, ok := object.(*corev1.Service); ok && service.Spec.Type != corev1.ServiceTypeExternalName {
			list.Services = append(list.Services, describeService(service, byService[service.Namespace+"/"+service.Name]))
		}
	}

	slices.SortFunc(list.Services, func(one, other kubeletapi.Service) int {
		return strings.Compare(one.Namespace+"/"+one.Name, other.Namespace+"/"+other.Name)
	})

	return list
}

// podRanges are where pods are: on which node.
func podRanges(nodes cache.Store, own string) []kubeletapi.PodRange {
	var ranges []kubeletapi.PodRange

	for _, object := range nodes.List() {
		node, ok := object.(*corev1.Node)
		if !ok {
			continue
		}

		var by netip.Addr

		for _, address := range node.Status.Addresses {
			if parsed, err := netip.ParseAddr(address.Address); err == nil && address.Type == corev1.NodeInternalIP && !by.IsValid() {
				by = parsed
			}
		}

		for _, cidr := range node.Spec.PodCIDRs {
			prefix, err := netip.ParsePrefix(cidr)

			switch {
			case err != nil:
			case node.Name == own:
				ranges = append(ranges, kubeletapi.PodRange{Range: prefix})
			case by.Is4() == prefix.Addr().Is4():
				ranges = append(ranges, kubeletapi.PodRange{Range: prefix, Node: by})
			}
		}
	}

	slices.SortFunc(ranges, func(one, other kubeletapi.PodRange) int { return one.Range.Addr().Compare(other.Range.Addr()) })

	return ranges
}

func describeService(service *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice) kubeletapi.Service {
	described := kubeletapi.Service{Namespace: service.Namespace, Name: service.Name}

	for _, ip := range service.Spec.ClusterIPs {
		if address, err := netip.ParseAddr(ip); err == nil {
			described.Addresses = append(described.Addresses, address)
		}
	}

	if service.Spec.ClusterIP == corev1.ClusterIPNone {
		described.Addresses = readyAddresses(endpointSlices)

		return described
	}

	for _, port := range service.Spec.Ports {
		described.Ports = append(described.Ports, kubeletapi.ServicePort{
			Protocol: string(port.Protocol), Port: uint16(port.Port), //nolint:gosec // the API server has checked it
			Targets: targets(endpointSlices, port.Name),
		})
	}

	return described
}

func readyAddresses(endpointSlices []*discoveryv1.EndpointSlice) []netip.Addr {
	var addresses []netip.Addr

	for _, slice := range endpointSlices {
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready != nil && !*endpoint.Conditions.Ready {
				continue
			}

			for _, ip := range endpoint.Addresses {
				if address, err := netip.ParseAddr(ip); err == nil {
					addresses = append(addresses, address)
				}
			}
		}
	}

	slices.SortFunc(addresses, netip.Addr.Compare)

	return addresses
}

func targets(endpointSlices []*discoveryv1.EndpointSlice, name string) []netip.AddrPort {
	var found []netip.AddrPort

	for _, slice := range endpointSlices {
		for _, port := range slice.Ports {
			if port.Port == nil || (port.Name != nil && *port.Name != name) {
				continue
			}

			for _, address := range readyAddresses([]*discoveryv1.EndpointSlice{slice}) {
				found = append(found, netip.AddrPortFrom(address, uint16(*port.Port))) //nolint:gosec // as above
			}
		}
	}

	slices.SortFunc(found, netip.AddrPort.Compare)

	return found
}

// clientWithToken is a client through the machine's network that is whoever the token says.
func (i *identity) clientWithToken(token func() *string) (kubernetes.Interface, error) {
	transport := i.newTransport(nil)
	transport.TLSClientConfig.GetClientCertificate = nil

	return kubernetes.NewForConfigAndClient(i.config(), &http.Client{Transport: withToken{transport, token}})
}

type withToken struct {
	transport http.RoundTripper
	token     func() *string
}

func (w withToken) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+*w.token())

	return w.transport.RoundTrip(request)
}
