package node

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/state"
	configres "github.com/siderolabs/talos/pkg/machinery/resources/config"
	etcdres "github.com/siderolabs/talos/pkg/machinery/resources/etcd"
	"github.com/siderolabs/talos/pkg/machinery/resources/k8s"
	networkres "github.com/siderolabs/talos/pkg/machinery/resources/network"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"
	timeres "github.com/siderolabs/talos/pkg/machinery/resources/time"

	"cluster-stack/lab/node/internal/cosi"
	"cluster-stack/lab/node/internal/hardware"
	"cluster-stack/lab/node/internal/logs"
	"cluster-stack/lab/node/internal/network"
)

// newResources makes the state, whose changes are in the log of the controllers.
func newResources(ctx context.Context, machineLogs *logs.Logs) (state.State, error) {
	resources, err := cosi.New(ctx)
	if err != nil {
		return nil, err
	}

	return cosi.Recorded(resources, func(change string) { machineLogs.Controllers("DEBUG", change) }), nil
}

func (n *Node) put(resources ...resource.Resource) error {
	for _, item := range resources {
		if err := cosi.Put(context.Background(), n.Resources, item); err != nil {
			return fmt.Errorf("resource %s: %w", item.Metadata(), err)
		}
	}

	return nil
}

func (n *Node) replace(namespace resource.Namespace, kind resource.Type, wanted []resource.Resource) error {
	return cosi.Replace(context.Background(), n.Resources, namespace, kind, wanted)
}

func (n *Node) publishConfig() error {
	n.mu.Lock()
	active, persistent := n.active, n.persistent
	n.mu.Unlock()

	if active == nil {
		return nil
	}

	machineType := configres.NewMachineType()
	if active.Machine() != nil {
		machineType.SetMachineType(active.Machine().Type())
	}

	if persistent != nil {
		if err := n.put(configres.NewMachineConfigWithID(persistent, configres.PersistentID)); err != nil {
			return err
		}
	}

	if err := n.publishSettings(active); err != nil {
		return err
	}

	if err := n.publishAuthorities(active); err != nil {
		return err
	}

	return n.put(configres.NewMachineConfigWithID(active, configres.ActiveID), machineType)
}

// PublishHardware publishes what does not change while the machine runs.
func (n *Node) PublishHardware() error {
	platform := runtime.NewPlatformMetadataSpec(runtime.NamespaceName, runtime.PlatformMetadataID)
	platform.TypedSpec().Platform = n.Image.Platform

	if n.Image.Platform == "nocloud" && n.Hardware.CloudInit != nil {
		platform.TypedSpec().Hostname = n.Hardware.CloudInit.Hostname
	}

	version := runtime.NewVersion()
	version.TypedSpec().Name, version.TypedSpec().Version = "Talos", n.Version.Tag()

	security := runtime.NewSecurityStateSpec(runtime.NamespaceName)
	security.TypedSpec().SecureBoot, security.TypedSpec().BootedWithUKI = n.Image.SecureBoot, n.Hardware.Firmware.Kind == hardware.OVMF

	synced := timeres.NewStatus()
	synced.TypedSpec().Synced = true

	resources := slices.Concat(
		[]resource.Resource{platform, version, security, synced}, n.virtualHardware(), n.bootedSoftware(),
	)

	for i, extension := range append(append([]string(nil), n.Image.Extensions...), "schematic") {
		status := runtime.NewExtensionStatus(runtime.NamespaceName, fmt.Sprint(i))
		status.TypedSpec().Image = fmt.Sprintf("%d.sqsh", i)
		status.TypedSpec().Metadata.Name = extension[strings.LastIndex(extension, "/")+1:]
		status.TypedSpec().Metadata.Version = n.Version.Tag()

		// the factory adds the schematic's id to the system as an extension
		if extension == "schematic" {
			status.TypedSpec().Metadata.Version = n.Image.Schematic
		}

		resources = append(resources, status)
	}

	if err := n.put(resources...); err != nil {
		return err
	}

	return n.PublishDisks()
}

// PublishBootedEntry publishes the boot entry that this system was booted from.
func (n *Node) PublishBootedEntry(label string) error {
	booted := runtime.NewBootedEntrySpec()
	booted.TypedSpec().BootedEntry = label

	return n.put(booted)
}

func (n *Node) publishNetwork() error {
	state := n.KernelNetwork()

	var links, addresses, routes, rules []resource.Resource

	for _, link := range state.Links {
		status := networkres.NewLinkStatus(networkres.NamespaceName, link.Attributes.Name)
		*status.TypedSpec() = network.LinkStatus(link)
		links = append(links, status)
	}

	for _, address := range state.Addresses {
		status := networkres.NewAddressStatus(networkres.NamespaceName, networkres.AddressID(address.LinkName, address.Address))
		*status.TypedSpec() = address
		addresses = append(addresses, status)
	}

	for _, route := range state.Routes {
		status := networkres.NewRouteStatus(networkres.NamespaceName, network.StatusID(route))
		*status.TypedSpec() = route
		routes = append(routes, status)
	}

	for _, rule := range state.Rules {
		status := networkres.NewRoutingRuleStatus(networkres.NamespaceName, networkres.RoutingRuleID(rule.Family, rule.Priority))
		*status.TypedSpec() = rule
		rules = append(rules, status)
	}

	for kind, wanted := range map[resource.Type][]resource.Resource{
		networkres.LinkStatusType: links, networkres.AddressStatusType: addresses, networkres.RouteStatusType: routes,
		networkres.RoutingRuleStatusType: rules,
	} {
		if err := n.replace(networkres.NamespaceName, kind, wanted); err != nil {
			return err
		}
	}

	resolvers := networkres.NewResolverStatus(networkres.NamespaceName, networkres.ResolverID)
	resolvers.TypedSpec().DNSServers = n.Network().Nameservers

	if err := n.put(resolvers); err != nil {
		return err
	}

	return n.publishNodeAddresses(state)
}

func (n *Node) publishNodeAddresses(state network.State) error {
	current := state.NodeAddresses(true)

	var wanted []resource.Resource

	for id, addresses := range map[string][]netip.Prefix{
		networkres.NodeAddressCurrentID: current, networkres.NodeAddressRoutedID: current,
		networkres.NodeAddressAccumulativeID: state.NodeAddresses(false),
	} {
		for _, name := range []string{id, networkres.FilteredNodeAddressID(id, k8s.NodeAddressFilterNoK8s)} {
			address := networkres.NewNodeAddress(networkres.NamespaceName, name)
			address.TypedSpec().Addresses = addresses
			wanted = append(wanted, address)
		}
	}

	if len(current) > 0 {
		first := networkres.NewNodeAddress(networkres.NamespaceName, networkres.NodeAddressDefaultID)
		first.TypedSpec().Addresses = current[:1]
		wanted = append(wanted, first)
	}

	if err := n.replace(networkres.NamespaceName, networkres.NodeAddressType, wanted); err != nil {
		return err
	}

	return n.publishNetworkStatus()
}

func (n *Node) publishNetworkStatus() error {
	state := n.KernelNetwork()

	connected := n.connected(slices.ContainsFunc(state.Routes, func(route networkres.RouteStatusSpec) bool {
		return route.Destination == netip.Prefix{}
	}))

	status := networkres.NewStatus(networkres.NamespaceName, networkres.StatusID)
	*status.TypedSpec() = networkres.StatusSpec{
		AddressReady: len(state.NodeAddresses(true)) > 0, ConnectivityReady: connected,
		HostnameReady: n.Hostname() != "", EtcFilesReady: n.Hostname() != "",
	}

	defer n.reportStatus()

	return n.put(status)
}

func (n *Node) publishHostname() error {
	n.mu.Lock()
	status := networkres.NewHostnameStatus(networkres.NamespaceName, networkres.HostnameID)
	status.TypedSpec().Hostname, status.TypedSpec().Domainname = n.hostname, n.domain
	configured := n.active != nil
	n.mu.Unlock()

	if err := n.put(status); err != nil {
		return err
	}

	if configured {
		nodename := k8s.NewNodename(k8s.NamespaceName, k8s.NodenameID)
		nodename.TypedSpec().Nodename = n.Nodename()
		nodename.TypedSpec().HostnameVersion = status.Metadata().Version().String()
		nodename.TypedSpec().SkipNodeRegistration = !n.RegistersNode()

		if err := n.put(nodename); err != nil {
			return err
		}
	}

	return n.publishNetworkStatus()
}

// Nodename is the node's name in Kubernetes.
func (n *Node) Nodename() string {
	current := n.Config()
	if current != nil && current.Machine() != nil && current.Machine().Kubelet().RegisterWithFQDN() {
		return strings.ToLower(n.FQDN())
	}

	return strings.ToLower(n.Hostname())
}

// PublishEtcd publishes what etcd is to be on this machine.
func (n *Node) PublishEtcd(settings etcdres.ConfigSpec, spec etcdres.SpecSpec) error {
	configured := etcdres.NewConfig(etcdres.NamespaceName, etcdres.ConfigID)
	*configured.TypedSpec() = settings

	resolved := etcdres.NewSpec(etcdres.NamespaceName, etcdres.SpecID)
	*resolved.TypedSpec() = spec

	return n.put(configured, resolved)
}

// PublishEtcdMember publishes the id of this machine's etcd member.
func (n *Node) PublishEtcdMember(id uint64) error {
	member := etcdres.NewMember(etcdres.NamespaceName, etcdres.LocalMemberID)
	member.TypedSpec().MemberID = etcdres.FormatMemberID(id)

	return n.put(member)
}
