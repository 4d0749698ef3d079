package network_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"

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
		"a static address":                 {"metal", interfaces("interface: eth0, addresses: [10.5.0.12/16]"), "10.5.0.12/16 via invalid IP"},
		"a static address and DHCP":        {"metal", interfaces("interface: eth0, addresses: [10.5.0.12/16], dhcp: true"), "10.5.0.12/16 10.5.0.11/16 via 10.5.0.1"},
		"a static address without a mask":  {"metal", interfaces("interface: eth0, addresses: [10.5.0.12]"), "10.5.0.12/32 via invalid IP"},
		"a default route":                  {"metal", interfaces("interface: eth0, addresses: [10.5.0.12/16], routes: [{network: 0.0.0.0/0, gateway: 10.5.0.9}]"), "10.5.0.12/16 via 10.5.0.9"},
		"another interface":                {"metal", interfaces("interface: eth1, addresses: [10.5.0.12/16]"), "10.5.0.11/16 via 10.5.0.1"},
		"a selector by address":            {"metal", interfaces("deviceSelector: {hardwareAddr: 'bc:24:11:*'}, addresses: [10.5.0.12/16]"), "10.5.0.12/16 via invalid IP"},
		"a selector of another":            {"metal", interfaces("deviceSelector: {hardwareAddr: '00:*'}, addresses: [10.5.0.12/16]"), "10.5.0.11/16 via 10.5.0.1"},
		"a selector of physical links":     {"metal", interfaces("deviceSelector: {physical: true}, addresses: [10.5.0.12/16]"), "10.5.0.12/16 via invalid IP"},
		"a static address over cloud-init": {"nocloud", interfaces("interface: eth0, addresses: [10.5.0.51/16]"), "10.5.0.51/16 via 10.5.0.2"},
		"a document":                       {"metal", "machine: {}\n---\napiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\naddresses: [{address: 10.5.0.13/16}]\nroutes: [{gateway: 10.5.0.8}]", "10.5.0.13/16 via 10.5.0.8"},
		"a document about another link":    {"metal", "machine: {}\n---\napiVersion: v1alpha1\nkind: LinkConfig\nname: eth7", " via invalid IP"},
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

			var resolved network.Network
			if settings == nil {
				resolved = network.Resolve(machine, test.platform, nil)
			} else {
				resolved = network.Resolve(machine, test.platform, settings)
			}

			link := resolved.Links[0]
			if seen := strings.Trim(fmt.Sprint(link.Addresses), "[]") + " via " + link.Gateway.String(); seen != test.expected {
				t.Error(seen)
			}
		})
	}
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

	resolved := network.Resolve(machine, "nocloud", nil)
	if seen := fmt.Sprint(resolved.IPs()); seen != "[10.5.0.51 10.7.0.11 fd00::51 fd01::51 fd02::51]" {
		t.Errorf("the cards have %s", seen)
	}

	if first := resolved.Links[0]; first.Gateway.String() != "10.5.0.1" || first.Gateway6.String() != "fd00::1" || first.MTU != 9000 {
		t.Errorf("%+v", first)
	}

	settings, err := configloader.NewFromBytes([]byte(strings.Join([]string{
		"machine: {}",
		"{apiVersion: v1alpha1, kind: LinkConfig, name: eth1, mtu: 1400, addresses: [{address: 10.8.0.2/24}], routes: [{gateway: 'fd01::9'}]}",
		"{apiVersion: v1alpha1, kind: DHCPv4Config, name: eth2}",
		"{apiVersion: v1alpha1, kind: Layer2VIPConfig, name: 10.5.0.9, link: eth0}",
		"{apiVersion: v1alpha1, kind: VLANConfig, name: eth1.30, vlanID: 30, parent: eth1, addresses: [{address: 10.9.0.2/24}]}",
		"{apiVersion: v1alpha1, kind: ResolverConfig, nameservers: [{address: 10.5.0.7}]}",
	}, "\n---\n")))
	if err != nil {
		t.Fatal(err)
	}

	resolved = network.Resolve(machine, "metal", settings)
	if seen := fmt.Sprint(resolved.IPs(), resolved.Nameservers); seen != "[10.8.0.2 10.8.0.11] [10.5.0.7]" {
		t.Errorf("with documents %s", seen)
	}

	if second := resolved.Links[1]; second.MTU != 1400 || second.Gateway6.String() != "fd01::9" || second.Gateway.IsValid() {
		t.Errorf("%+v", second)
	}
}

func TestTheSourceIsOfTheTargetsKind(t *testing.T) {
	var asked []netip.Addr

	dialer := network.Dialer{Source: func(target netip.Addr) netip.Addr {
		asked = append(asked, target)

		return netip.Addr{}
	}}

	for _, address := range []string{"127.0.0.1:1", "[::1]:1", "localhost:1"} {
		if connection, err := dialer.Dial(context.Background(), "tcp", address); err == nil {
			connection.Close() //nolint:errcheck
		}
	}

	if seen := fmt.Sprint(asked); seen != "[127.0.0.1 ::1 invalid IP]" {
		t.Error(seen)
	}
}

func interfaces(text string) string {
	return "machine: {network: {interfaces: [{" + text + "}]}}"
}

func TestAListenerFollowsTheAddresses(t *testing.T) {
	const port = 50007

	one, two := netip.MustParseAddr("127.77.0.1"), netip.MustParseAddr("127.77.0.2")

	listener := network.NewListener(port)
	defer listener.Close() //nolint:errcheck

	reachable := func(address netip.Addr) bool {
		dialer := network.Dialer{Source: func(netip.Addr) netip.Addr { return two }}

		connection, err := dialer.Dial(context.Background(), "tcp", netip.AddrPortFrom(address, port).String())
		if err != nil {
			return false
		}

		defer connection.Close() //nolint:errcheck

		accepted, err := listener.Accept()
		if err != nil {
			return false
		}

		defer accepted.Close() //nolint:errcheck

		if from := accepted.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); from != two { //nolint:forcetypeassert
			t.Errorf("the connection comes from %s", from)
		}

		return true
	}

	for _, addresses := range [][]netip.Addr{{one}, {one, two}, {two}, {}} {
		if err := listener.Sync(addresses); err != nil {
			t.Fatal(err)
		}

		for _, address := range []netip.Addr{one, two} {
			expected := strings.Contains(fmt.Sprint(addresses), address.String())
			if reachable(address) != expected {
				t.Errorf("%s of %s is reachable: %v", address, addresses, !expected)
			}
		}
	}
}
