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

func interfaces(text string) string {
	return "machine: {network: {interfaces: [{" + text + "}]}}"
}

func TestAListenerFollowsTheAddresses(t *testing.T) {
	const port = 50007

	one, two := netip.MustParseAddr("127.77.0.1"), netip.MustParseAddr("127.77.0.2")

	listener := network.NewListener(port)
	defer listener.Close() //nolint:errcheck

	reachable := func(address netip.Addr) bool {
		dialer := network.Dialer{Source: func() netip.Addr { return two }}

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
