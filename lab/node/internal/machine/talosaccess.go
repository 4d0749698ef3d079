package machine

import (
	"context"
	"errors"
	"reflect"
	"sync"

	"github.com/siderolabs/talos/pkg/machinery/constants"

	"cluster-stack/lab/node/internal/clock"
	"cluster-stack/lab/node/internal/kubeletapi"
)

// runTalosAccess opens Talos' API to pods while the configuration says so, and
// as it says. What is in Kubernetes by then stays when it no longer does.
func (l *life) runTalosAccess(ctx context.Context) {
	var current *kubeletapi.ServiceAccounts

	stop := func() {}
	defer func() { stop() }()

	complained := ""

	for ; ctx.Err() == nil && !l.kubernetes.stopped.Load(); pause(ctx, controlPlaneStep) {
		wanted, err := l.talosAccess()
		if err != nil {
			if err.Error() != complained {
				complained = err.Error()
				l.node.Logs.ControllerFailed("kubeaccess.CRDController: " + complained)
			}

			continue
		}

		if reflect.DeepEqual(current, wanted) {
			continue
		}

		stop()

		current, stop = wanted, func() {}

		if wanted != nil {
			stop = l.openTalosAccess(ctx, *wanted)
		}
	}
}

// talosAccess is what the configuration asks for, nil for nothing.
func (l *life) talosAccess() (*kubeletapi.ServiceAccounts, error) {
	machine := l.node.Config().Machine()

	access := machine.Features().KubernetesTalosAPIAccess()
	if !access.Enabled() {
		return nil, nil
	}

	authority := machine.Security().IssuingCA()
	if authority == nil || len(authority.Key) == 0 {
		return nil, errors.New("there is no authority of the Talos API that could sign")
	}

	administrator, err := l.administrator()
	if err != nil {
		return nil, err
	}

	return &kubeletapi.ServiceAccounts{
		Administrator: *administrator,
		Rules:         kubeletapi.AccessRules{Namespaces: access.AllowedKubernetesNamespaces(), Roles: access.AllowedRoles()},
		Authority:     kubeletapi.Authority{Certificate: string(authority.Crt), Key: string(authority.Key)},
		ClockOffset:   clock.Offset(),
	}, nil
}

// openTalosAccess has the kubelet's player keep the Service, which all control
// planes do, and serve the service accounts, which one does at a time. What is
// returned ends both, and waits for their end.
func (l *life) openTalosAccess(ctx context.Context, access kubeletapi.ServiceAccounts) func() {
	ctx, cancel := context.WithCancel(ctx)

	var open sync.WaitGroup

	open.Go(func() {
		l.keep(ctx, "kubeaccess.EndpointController", func(client *kubeletapi.Client) error {
			return client.KeepTalosService(ctx, kubeletapi.TalosService{Administrator: access.Administrator})
		})
	})
	open.Go(func() {
		l.keep(ctx, "kubeaccess.CRDController", func(client *kubeletapi.Client) error {
			return l.withEtcdLock(ctx, constants.EtcdTalosServiceAccountCRDControllerMutex, func(ctx context.Context) error {
				return client.KeepServiceAccounts(ctx, access)
			})
		})
	})

	return func() {
		cancel()
		open.Wait()
	}
}

// keep has the kubelet's player do something that lasts, again and again until
// the context ends. A kubelet that has been restarted is no failure.
func (l *life) keep(ctx context.Context, controller string, do func(*kubeletapi.Client) error) {
	complained := ""

	for ; ctx.Err() == nil; pause(ctx, manifestsRetry/4) {
		client := l.kubernetes.kubelet.Load()
		if client == nil || !l.node.Services.Up([]string{etcdService}) {
			continue
		}

		err := do(client)
		if err == nil || ctx.Err() != nil || errors.Is(err, kubeletapi.ErrClosed) {
			continue
		}

		if err.Error() != complained {
			complained = err.Error()
			l.node.Logs.ControllerFailed(controller + ": " + complained)
		}

		pause(ctx, manifestsRetry)
	}
}
