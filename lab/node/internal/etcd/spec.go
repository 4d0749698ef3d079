package etcd

import (
	"fmt"
	"net/netip"
	"slices"

	talosnet "github.com/siderolabs/net"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/resources/etcd"
)

// NewConfig is what the machine configuration says about etcd.
func NewConfig(settings config.Config) etcd.ConfigSpec {
	spec := etcd.ConfigSpec{
		AdvertiseValidSubnets: settings.Cluster().Etcd().AdvertisedSubnets(),
		ListenValidSubnets:    settings.Cluster().Etcd().ListenSubnets(),
		Image:                 settings.Cluster().Etcd().Image(),
		ExtraArgs:             map[string]etcd.ArgValues{},
	}

	// a virtual address is no member's own
	for _, device := range settings.Machine().Network().Devices() {
		if device.VIPConfig() != nil {
			spec.AdvertiseExcludeSubnets = append(spec.AdvertiseExcludeSubnets, device.VIPConfig().IP())
		}

		for _, vlan := range device.Vlans() {
			if vlan.VIPConfig() != nil {
				spec.AdvertiseExcludeSubnets = append(spec.AdvertiseExcludeSubnets, vlan.VIPConfig().IP())
			}
		}
	}

	for _, document := range settings.NetworkVirtualIPConfigs() {
		spec.AdvertiseExcludeSubnets = append(spec.AdvertiseExcludeSubnets, document.VIP().String())
	}

	for name, values := range settings.Cluster().Etcd().ExtraArgs() {
		spec.ExtraArgs[name] = etcd.ArgValues{Values: values}
	}

	return spec
}

// NewSpec is the member that follows from the configuration on a machine of
// this name and with these addresses.
func NewSpec(settings etcd.ConfigSpec, name string, addresses []netip.Addr) (etcd.SpecSpec, error) {
	spec := etcd.SpecSpec{
		Name: name, Image: settings.Image, ExtraArgs: settings.ExtraArgs,
		ListenPeerAddresses:   []netip.Addr{netip.IPv4Unspecified()},
		ListenClientAddresses: []netip.Addr{netip.IPv4Unspecified()},
	}

	advertised := slices.Clone(settings.AdvertiseValidSubnets)
	if len(advertised) == 0 {
		advertised = []string{"0.0.0.0/0", "::/0"}
	}

	for _, excluded := range settings.AdvertiseExcludeSubnets {
		advertised = append(advertised, "!"+excluded)
	}

	var err error

	if spec.AdvertisedAddresses, err = talosnet.FilterIPs(addresses, advertised); err != nil {
		return spec, fmt.Errorf("error filtering IPs: %w", err)
	}

	if len(spec.AdvertisedAddresses) == 0 {
		return spec, fmt.Errorf("none of this machine's addresses %s is in the etcd subnets %s", addresses, advertised)
	}

	// without subnets it is the first address, with them all that are in them
	if len(settings.AdvertiseValidSubnets) == 0 {
		spec.AdvertisedAddresses = spec.AdvertisedAddresses[:1]
	}

	if len(settings.ListenValidSubnets) == 0 {
		return spec, nil
	}

	if spec.ListenPeerAddresses, err = talosnet.FilterIPs(addresses, settings.ListenValidSubnets); err != nil {
		return spec, fmt.Errorf("error filtering IPs: %w", err)
	}

	if len(spec.ListenPeerAddresses) == 0 {
		return spec, fmt.Errorf("none of this machine's addresses %s is in the etcd subnets %s", addresses, settings.ListenValidSubnets)
	}

	spec.ListenClientAddresses = append([]netip.Addr{loopback}, spec.ListenPeerAddresses...)

	return spec, nil
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
