package network_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	networkres "github.com/siderolabs/talos/pkg/machinery/resources/network"

	"cluster-stack/lab/node/internal/hardware"
	"cluster-stack/lab/node/internal/network"
)

func TestWhereAddressesComeFrom(t *testing.T) {
	const mac = "BC:24:11:00:00:01"

	for name, test := range map[string]struct {
		platform string
		settings string
		expected string
	}{
		"no configuration":                 {"metal", "", "10.5.0.11/16 via 10.5.0.1"},
		"no configuration, cloud-init":     {"nocloud", "", "10.5.0.51/16 via 10.5.0.2"},
		"nothing about the network":        {"metal", "machine: {}", "10.5.0.11/16 via 10.5.0.1"},
		"a static address":                 {"metal", interfaces("interface: eth0, addresses: [10.5.0.12/16]"), "10.5.0.12/16"},
		"a static address and DHCP":        {"metal", interfaces("interface: eth0, addresses: [10.5.0.12/16], dhcp: true"), "10.5.0.12/16 10.5.0.11/16 via 10.5.0.1"},
		"a static address without a mask":  {"metal", interfaces("interface: eth0, addresses: [10.5.0.12]"), "10.5.0.12/32"},
		"a default route":                  {"metal", interfaces("interface: eth0, addresses: [10.5.0.12/16], routes: [{network: 0.0.0.0/0, gateway: 10.5.0.9}]"), "10.5.0.12/16 via 10.5.0.9"},
		"another interface":                {"metal", interfaces("interface: eth1, addresses: [10.5.0.12/16]"), "10.5.0.11/16 via 10.5.0.1"},
		"a selector by address":            {"metal", interfaces("deviceSelector: {hardwareAddr: 'bc:24:11:*'}, addresses: [10.5.0.12/16]"), "10.5.0.12/16"},
		"a selector of another":            {"metal", interfaces("deviceSelector: {hardwareAddr: '00:*'}, addresses: [10.5.0.12/16]"), "10.5.0.11/16 via 10.5.0.1"},
		"a selector of physical links":     {"metal", interfaces("deviceSelector: {physical: true}, addresses: [10.5.0.12/16]"), "10.5.0.12/16"},
		"a static address over cloud-init": {"nocloud", interfaces("interface: eth0, addresses: [10.5.0.51/16]"), "10.5.0.51/16 via 10.5.0.2"},
		"a document":                       {"metal", "machine: {}\n---\napiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\naddresses: [{address: 10.5.0.13/16}]\nroutes: [{gateway: 10.5.0.8}]", "10.5.0.13/16 via 10.5.0.8"},
		"a document about another link":    {"metal", "machine: {}\n---\napiVersion: v1alpha1\nkind: LinkConfig\nname: eth7", ""},
		"a document that asks for DHCP":    {"metal", "machine: {}\n---\napiVersion: v1alpha1\nkind: DHCPv4Config\nname: eth0", "10.5.0.11/16 via 10.5.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			machine := &hardware.Machine{
				NICs: []hardware.NIC{{Name: "eth0", MAC: mac, DHCP: &hardware.DHCP{
					Address: netip.MustParsePrefix("10.5.0.11/16"), Gateway: netip.MustParseAddr("10.5.0.1"),
				}}},
				CloudInit: &hardware.CloudInit{NICs: []hardware.CloudInitNIC{
					{MAC: strings.ToLower(mac), Address: "10.5.0.51/16", Gateway: "10.5.0.2"},
				}},
			}

			var settings config.Provider

			if test.settings != "" {
				var err error

				if settings, err = configloader.NewFromBytes([]byte(test.settings)); err != nil {
					t.Fatal(err)
				}
			}

			link := resolve(machine, test.platform, settings).Links[0]
			seen := strings.Trim(fmt.Sprint(link.Addresses), "[]")

			for _, route := range link.Routes {
				seen += " " + described(route)
			}

			if seen != test.expected {
				t.Error(seen)
			}
		})
	}
}

func resolve(machine *hardware.Machine, platform string, settings config.Provider) network.Network {
	if settings == nil {
		return network.Resolve(machine, platform, nil, machine.Leases())
	}

	return network.Resolve(machine, platform, settings, machine.Leases())
}

func described(route networkres.RouteSpecSpec) string {
	text := "to " + route.Destination.String()
	if !route.Destination.IsValid() {
		text = "via " + route.Gateway.String()
	} else if route.Gateway.IsValid() {
		text += " via " + route.Gateway.String()
	}

	if route.Priority != networkres.DefaultRouteMetric {
		text += fmt.Sprint(" metric ", route.Priority)
	}

	return text
}

func TestSeveralCards(t *testing.T) {
	macs := []string{"BC:24:11:00:00:01", "BC:24:11:00:00:02", "BC:24:11:00:00:03"}
	machine := &hardware.Machine{CloudInit: &hardware.CloudInit{NICs: []hardware.CloudInitNIC{
		{MAC: macs[0], Address: "10.5.0.51/16", Gateway: "10.5.0.1", Address6: "fd00::51/64", Gateway6: "fd00::1"},
		{MAC: macs[1], Address: "dhcp", Address6: "fd01::51/64"},
		{MAC: macs[2], Address6: "fd02::51/64"},
	}}}

	for i, mac := range macs {
		machine.NICs = append(machine.NICs, hardware.NIC{Name: fmt.Sprintf("eth%d", i), MAC: mac, MTU: 9000, DHCP: &hardware.DHCP{
			Address: netip.MustParsePrefix(fmt.Sprintf("10.%d.0.11/16", 6+i)),
		}})
	}

	resolved := resolve(machine, "nocloud", nil)
	if seen := fmt.Sprint(resolved.Addresses()); seen != "[10.5.0.51/16 10.7.0.11/16 fd00::51/64 fd01::51/64 fd02::51/64]" {
		t.Errorf("the cards have %s", seen)
	}

	if first := resolved.Links[0]; routes(first) != "via 10.5.0.1, via fd00::1 metric 2048" || first.MTU != 9000 {
		t.Errorf("%+v", first)
	}

	settings, err := configloader.NewFromBytes([]byte(strings.Join([]string{
		"machine: {}",
		"{apiVersion: v1alpha1, kind: LinkConfig, name: eth1, mtu: 1400, addresses: [{address: 10.8.0.2/24}], routes: [{gateway: 'fd01::9'}, " +
			"{destination: 10.9.0.0/16, gateway: 10.8.0.1, metric: 50}]}",
		"{apiVersion: v1alpha1, kind: DHCPv4Config, name: eth2}",
		"{apiVersion: v1alpha1, kind: Layer2VIPConfig, name: 10.5.0.9, link: eth0}",
		"{apiVersion: v1alpha1, kind: VLANConfig, name: eth1.30, vlanID: 30, parent: eth1, addresses: [{address: 10.9.0.2/24}]}",
		"{apiVersion: v1alpha1, kind: ResolverConfig, nameservers: [{address: 10.5.0.7}]}",
	}, "\n---\n")))
	if err != nil {
		t.Fatal(err)
	}

	resolved = resolve(machine, "metal", settings)
	if seen := fmt.Sprint(resolved.Addresses(), resolved.Nameservers); seen != "[10.8.0.2/24 10.8.0.11/16] [10.5.0.7]" {
		t.Errorf("with documents %s", seen)
	}

	if seen := fmt.Sprint(resolved.Virtual()); seen != "map[10.5.0.9:eth0]" {
		t.Errorf("the virtual addresses are %s", seen)
	}

	if second := resolved.Links[1]; second.MTU != 1400 || routes(second) != "via fd01::9, to 10.9.0.0/16 via 10.8.0.1 metric 50" {
		t.Errorf("%+v", second)
	}
}

func TestAVirtualAddressIsOnTheLinkOfItsDevice(t *testing.T) {
	machine := &hardware.Machine{NICs: []hardware.NIC{{Name: "eth0", MAC: "BC:24:11:00:00:01"}, {Name: "eth1", MAC: "BC:24:11:00:00:02"}}}

	settings, err := configloader.NewFromBytes([]byte(`{"version": "v1alpha1", "machine": {"network": {"interfaces": [
		{"deviceSelector": {"hardwareAddr": "bc:24:11:00:00:02"}, "dhcp": true, "vip": {"ip": "10.5.0.9"}}]}}}`))
	if err != nil {
		t.Fatal(err)
	}

	resolved := resolve(machine, "metal", settings)
	if seen := fmt.Sprint(resolved.Virtual(), resolved.Addresses()); seen != "map[10.5.0.9:eth1] []" {
		t.Errorf("the virtual addresses, and what is on the links: %s", seen)
	}
}

func routes(link network.Link) string {
	texts := make([]string, 0, len(link.Routes))
	for _, route := range link.Routes {
		texts = append(texts, described(route))
	}

	return strings.Join(texts, ", ")
}

func TestALeaseIsHeldToItsEnd(t *testing.T) {
	lease := func(address string) map[string]*hardware.DHCP {
		return map[string]*hardware.DHCP{"MAC": {Address: netip.MustParsePrefix(address), LeaseSeconds: 10}}
	}
	silence := map[string]*hardware.DHCP{"MAC": nil}
	start := time.Now()

	var leases network.Leases

	for _, step := range []struct {
		second   int
		offers   map[string]*hardware.DHCP
		expected string
	}{
		{0, silence, ""}, {1, lease("10.5.0.1/16"), "10.5.0.1/16"}, {5, lease("10.5.0.1/16"), "10.5.0.1/16"},
		{14, silence, "10.5.0.1/16"}, {15, silence, ""}, {16, lease("10.5.0.2/16"), "10.5.0.2/16"}, {17, lease("10.5.0.3/16"), "10.5.0.3/16"},
	} {
		seen := ""
		if current := leases.Current(step.offers, start.Add(time.Duration(step.second)*time.Second))["MAC"]; current != nil {
			seen = current.Address.String()
		}

		if seen != step.expected {
			t.Errorf("after %d s: %q", step.second, seen)
		}
	}
}

func interfaces(text string) string {
	return "machine: {network: {interfaces: [{" + text + "}]}}"
}
