package machine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	talosnet "github.com/siderolabs/net"
	"github.com/siderolabs/talos/pkg/machinery/config/config"

	"cluster-stack/lab/node/internal/kubeletapi"
	"cluster-stack/lab/node/internal/services"
)

const (
	kubeletService = "kubelet"

	kubeletStep  = 250 * time.Millisecond
	applyTimeout = 30 * time.Second

	// shutdownGrace is what Talos gives pods before the machine goes down
	shutdownGrace = 30 * time.Second
	cordonTimeout = time.Minute
	drainTimeout  = 5 * time.Minute
)

// runKubelet keeps the machine's kubelet, which another process plays, for as
// long as the connection to it lives. It starts anew when that ends, or when it
// is to be another one.
func (l *life) runKubelet(ctx context.Context) {
	for ctx.Err() == nil && !l.kubernetes.stopped.Load() {
		settings, err := l.kubeletSettings()
		if err == nil {
			err = l.playKubelet(ctx, settings)
		}

		if err != nil && ctx.Err() == nil && !l.kubernetes.stopped.Load() {
			l.node.Services.Set(kubeletService, services.Waiting, "%s", err)
		}

		pause(ctx, restartInterval/5)
	}
}

func pause(ctx context.Context, length time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(length):
	}
}

// playKubelet returns when the kubelet has ended.
func (l *life) playKubelet(ctx context.Context, settings kubeletapi.Settings) error {
	if err := l.node.PublishKubelet(settings); err != nil {
		return err
	}

	client, err := kubeletapi.Start(ctx, l.hw.Kubelets, settings)
	if err != nil {
		return err
	}

	defer client.Close()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	l.kubernetes.kubelet.Store(client)
	defer l.kubernetes.kubelet.CompareAndSwap(client, nil)

	l.node.Services.Set(kubeletService, services.Running, "Started task kubelet for container kubelet")
	l.node.Services.Health(kubeletService, true, "")
	l.tellStaticPods()
	l.tellPodStates()

	registered := make(chan struct{}, 1)

	go l.applyNodeSpec(ctx, client, registered)
	go l.restartKubelet(ctx, client, settings)

	for {
		event, err := client.Next(ctx)
		if errors.Is(err, kubeletapi.ErrClosed) {
			return fmt.Errorf("error running kubelet, going to restart forever: %w", err)
		}

		if err != nil {
			return err
		}

		if err := l.hearKubelet(event, registered); err != nil {
			l.node.Logs.Printf("%s", err)
		}
	}
}

// restartKubelet ends the kubelet when it is to be started with something else.
func (l *life) restartKubelet(ctx context.Context, client *kubeletapi.Client, settings kubeletapi.Settings) {
	for ctx.Err() == nil {
		pause(ctx, poll)

		if wanted, err := l.kubeletSettings(); err == nil && !reflect.DeepEqual(wanted, settings) {
			l.node.Logs.Printf("the kubelet's configuration has changed, it is restarted")
			client.Close()

			return
		}
	}
}

func (l *life) hearKubelet(event kubeletapi.Event, registered chan<- struct{}) error {
	switch {
	case event.Log != nil:
		l.node.Logs.Service(kubeletService).Append(*event.Log)
	case event.Manifest != nil:
		l.node.Logs.Printf("%s", *event.Manifest)
	case event.Node != nil:
		if event.Node.Exists {
			wake(registered)
		}

		return l.node.PublishNodeStatus(*event.Node)
	case event.Registered != nil:
		wake(registered)
	case event.Pods != nil:
		l.wantPods(*event.Pods)
	case event.Services != nil:
		return l.setServices(*event.Services)
	case event.StaticPods != nil:
		return l.node.PublishStaticPodStatuses(event.StaticPods.Pods)
	}

	return nil
}

func wake(channel chan<- struct{}) {
	select {
	case channel <- struct{}{}:
	default:
	}
}

// applyNodeSpec brings the Node to what Talos wants of it, after every change of
// that and of the Node.
func (l *life) applyNodeSpec(ctx context.Context, client *kubeletapi.Client, registered <-chan struct{}) {
	select {
	case <-ctx.Done():
		return
	case <-registered:
	}

	var applied *kubeletapi.NodeSpec

	complained := ""

	for ctx.Err() == nil {
		spec, err := l.nodeSpec()
		if err == nil && (applied == nil || !reflect.DeepEqual(*applied, spec)) {
			attempt, cancel := context.WithTimeout(ctx, applyTimeout)

			if err = client.Apply(attempt, spec); err == nil {
				applied, complained = &spec, ""
			}

			cancel()
		}

		if err != nil && ctx.Err() == nil && err.Error() != complained {
			complained = err.Error()
			l.node.Logs.ControllerFailed("k8s.NodeApplyController: " + complained)
		}

		select {
		case <-ctx.Done():
		case <-registered:
			applied = nil // somebody may have changed what is Talos'
		case <-time.After(kubeletStep):
		}
	}
}

// tellStaticPods tells the kubelet which pods the machine runs by itself.
func (l *life) tellStaticPods() {
	client := l.kubernetes.kubelet.Load()
	if client == nil {
		return
	}

	l.kubernetes.telling.Lock()
	defer l.kubernetes.telling.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), applyTimeout)
	defer cancel()

	err := client.SetStaticPods(ctx, l.kubernetes.pods.States())
	if err != nil && !errors.Is(err, kubeletapi.ErrClosed) {
		l.node.Logs.Printf("the kubelet does not take the static pods: %s", err)
	}
}

// shutDownKubelet ends the pods as a kubelet's graceful shutdown does, and then
// the kubelet.
func (l *life) shutDownKubelet(ctx context.Context) {
	l.kubernetes.stopped.Store(true)

	if client := l.kubernetes.kubelet.Load(); client != nil {
		if err := client.Shutdown(ctx, shutdownGrace); err != nil {
			l.node.Logs.Printf("the kubelet's graceful shutdown: %s", err)
		}

		client.Close()
	}

	l.pods.runner.Stop()
	l.kubernetes.pods.Stop()
}

// nodeIPs are the addresses by which Kubernetes knows this machine: the first
// of each family in the subnets of the configuration, and nothing virtual.
func (l *life) nodeIPs() ([]netip.Addr, error) {
	settings := l.node.Config()
	network := settings.Cluster().Network()

	subnets := slices.Clone(settings.Machine().Kubelet().NodeIP().ValidSubnets())
	if len(subnets) == 0 {
		for _, cidr := range network.ServiceCIDRs() {
			prefix, err := netip.ParsePrefix(cidr)
			if err != nil {
				return nil, fmt.Errorf("failed to parse subnet: %w", err)
			}

			if prefix.Addr().Is6() {
				subnets = append(subnets, "::/0")
			} else {
				subnets = append(subnets, "0.0.0.0/0")
			}
		}
	}

	excluded := slices.Concat(network.PodCIDRs(), network.ServiceCIDRs())
	for _, address := range virtualAddresses(settings) {
		excluded = append(excluded, address.String())
	}

	for _, subnet := range excluded {
		subnets = append(subnets, "!"+subnet)
	}

	suitable, err := talosnet.FilterIPs(l.node.IPs(), subnets)
	if err != nil {
		return nil, fmt.Errorf("error filtering IPs: %w", err)
	}

	var chosen []netip.Addr

	for _, address := range suitable {
		if !slices.ContainsFunc(chosen, func(other netip.Addr) bool { return other.Is4() == address.Is4() }) {
			chosen = append(chosen, address)
		}
	}

	if len(chosen) == 0 {
		return nil, fmt.Errorf("no suitable node IP found in %s: none of %s is in the subnets %s", "machine.kubelet.nodeIP", l.node.IPs(), subnets)
	}

	return chosen, nil
}

// virtualAddresses are those that the control planes have between them.
func virtualAddresses(settings config.Config) []netip.Addr {
	var addresses []netip.Addr

	add := func(text string) {
		if address, err := netip.ParseAddr(text); err == nil {
			addresses = append(addresses, address)
		}
	}

	for _, device := range settings.Machine().Network().Devices() {
		if device.VIPConfig() != nil {
			add(device.VIPConfig().IP())
		}

		for _, vlan := range device.Vlans() {
			if vlan.VIPConfig() != nil {
				add(vlan.VIPConfig().IP())
			}
		}
	}

	for _, document := range settings.NetworkVirtualIPConfigs() {
		addresses = append(addresses, document.VIP())
	}

	return addresses
}

// cordonAndDrain waits until the Node is cordoned, which the machine's stage
// brings about, and evicts its pods. A machine that has never joined has none.
func (l *life) cordonAndDrain(ctx context.Context) error {
	client := l.kubernetes.kubelet.Load()
	if client == nil || !l.node.IsNode() {
		return nil
	}

	l.node.Logs.Printf("waiting for node to be cordoned")

	waiting, cancel := context.WithTimeout(ctx, cordonTimeout)
	defer cancel()

	for !l.node.IsCordoned() {
		select {
		case <-waiting.Done():
			return waiting.Err()
		case <-time.After(waitStep):
		}
	}

	return client.Drain(ctx, drainTimeout)
}
