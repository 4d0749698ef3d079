package kubelet

import (
	"context"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"cluster-stack/lab/node/internal/kubeletapi"
	"cluster-stack/lab/node/internal/talosaccess"
)

// KeepTalosService keeps the Service by which pods find Talos' API, until the context ends.
func (k *Kubelet) KeepTalosService(ctx context.Context, given kubeletapi.TalosService) error {
	client, _, closeClients, err := k.lastingClients(given.Administrator)
	if err != nil {
		return err
	}

	defer closeClients()

	return talosaccess.KeepService(klog.NewContext(ctx, k.log), client)
}

// KeepServiceAccounts serves the service accounts of Talos, until the context ends.
func (k *Kubelet) KeepServiceAccounts(ctx context.Context, given kubeletapi.ServiceAccounts) error {
	client, api, closeClients, err := k.lastingClients(given.Administrator)
	if err != nil {
		return err
	}

	defer closeClients()

	return talosaccess.KeepAccounts(klog.NewContext(ctx, k.log), client, api, given)
}

// lastingClients are clients of a control plane's own, whose requests may last: they watch.
func (k *Kubelet) lastingClients(given kubeletapi.Credentials) (kubernetes.Interface, dynamic.Interface, func(), error) {
	config, connections, err := k.identity.administratorConfig(given)
	if err != nil {
		return nil, nil, nil, err
	}

	connections.Timeout = 0

	client, err := kubernetes.NewForConfigAndClient(config, connections)
	if err != nil {
		return nil, nil, nil, err
	}

	api, err := dynamic.NewForConfigAndClient(config, connections)

	return client, api, connections.CloseIdleConnections, err
}
