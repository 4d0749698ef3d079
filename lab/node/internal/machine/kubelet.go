package machine

import (
	"fmt"
	"net/netip"
	"slices"

	talosnet "github.com/siderolabs/net"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
)

const kubeletService = "kubelet"

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
