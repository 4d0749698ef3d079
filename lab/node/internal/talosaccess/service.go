package talosaccess

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/constants"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/retry"
	"k8s.io/klog/v2"
)

const (
	name      = constants.KubernetesTalosAPIServiceName
	namespace = constants.KubernetesTalosAPIServiceNamespace
	portName  = "apid"

	// apiServers is the EndpointSlice in which the API servers say where they are: on the control planes.
	apiServers = "kubernetes"

	retryService = 2 * time.Second
)

func labels() map[string]string {
	return map[string]string{"provider": constants.KubernetesTalosProvider, "component": portName}
}

// KeepService keeps the Service with an endpoint for every control plane, until the context ends. All control planes do so.
func KeepService(ctx context.Context, client kubernetes.Interface) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	changed := make(chan struct{}, 1)
	wake := func(any) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}

	store, following := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(
			client.DiscoveryV1().RESTClient(), "endpointslices", namespace,
			fields.OneTermEqualSelector(metav1.ObjectNameField, apiServers),
		),
		ObjectType: &discoveryv1.EndpointSlice{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: wake, UpdateFunc: func(_, object any) { wake(object) }, DeleteFunc: wake,
		},
	})

	go following.RunWithContext(ctx)

	for {
		var again <-chan time.Time

		if addresses := addressesIn(store.List()); len(addresses) > 0 {
			if err := bringService(ctx, client, addresses); err != nil {
				klog.FromContext(ctx).Error(err, "The Service of Talos' API is not what it should be")

				again = time.After(retryService)
			}
		}

		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-again:
		}
	}
}

// addressesIn are the addresses of all endpoints, in order.
func addressesIn(endpointSlices []any) []netip.Addr {
	var addresses []netip.Addr

	for _, object := range endpointSlices {
		slice, isSlice := object.(*discoveryv1.EndpointSlice)
		if !isSlice {
			continue
		}

		for _, endpoint := range slice.Endpoints {
			for _, text := range endpoint.Addresses {
				if address, err := netip.ParseAddr(text); err == nil {
					addresses = append(addresses, address)
				}
			}
		}
	}

	slices.SortFunc(addresses, netip.Addr.Compare)

	return slices.Compact(addresses)
}

// bringService makes the Service where it is missing, and its endpoints be the addresses. The Service comes first:
// Kubernetes takes endpoints away that have none.
func bringService(ctx context.Context, client kubernetes.Interface, addresses []netip.Addr) error {
	services := client.CoreV1().Services(namespace)

	_, err := services.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = services.Create(ctx, service(), metav1.CreateOptions{})
	}

	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("error ensuring Talos API service: %w", err)
	}

	for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		err := retry.OnError(retry.DefaultRetry, isOvertaken, func() error { return bringSlice(ctx, client, family, addresses) })
		if err != nil {
			return fmt.Errorf("error ensuring Talos API endpoint slices for %s: %w", family, err)
		}
	}

	return nil
}

// isOvertaken says that another control plane was a moment earlier.
func isOvertaken(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }

func bringSlice(
	ctx context.Context, client kubernetes.Interface, family discoveryv1.AddressType, addresses []netip.Addr,
) error {
	api := client.DiscoveryV1().EndpointSlices(namespace)
	wanted := endpointSlice(family, addresses)

	if len(wanted.Endpoints) == 0 {
		if err := api.Delete(ctx, wanted.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}

		return nil
	}

	there, err := api.Get(ctx, wanted.Name, metav1.GetOptions{})

	switch {
	case apierrors.IsNotFound(err):
		_, err = api.Create(ctx, wanted, metav1.CreateOptions{})
	case err == nil && (!reflect.DeepEqual(there.Endpoints, wanted.Endpoints) || !reflect.DeepEqual(there.Ports, wanted.Ports)):
		there.Endpoints, there.Ports = wanted.Endpoints, wanted.Ports
		_, err = api.Update(ctx, there, metav1.UpdateOptions{})
	}

	return err
}

// service has no selector: its endpoints are no pods.
func service() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: labels()},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{
			Name: portName, Port: constants.ApidPort, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(constants.ApidPort),
		}}},
	}
}

// endpointSlice has the addresses of one family as endpoints.
func endpointSlice(family discoveryv1.AddressType, addresses []netip.Addr) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: name + "-" + strings.ToLower(string(family)), Namespace: namespace, Labels: labels(),
		},
		AddressType: family,
		Ports: []discoveryv1.EndpointPort{{
			Name: new(portName), Port: new(int32(constants.ApidPort)), Protocol: new(corev1.ProtocolTCP),
		}},
	}
	slice.Labels[discoveryv1.LabelServiceName] = name

	for _, address := range addresses {
		if address.Is4() != (family == discoveryv1.AddressTypeIPv4) {
			continue
		}

		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{address.String()},
			Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)},
		})
	}

	return slice
}
