package network_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/nethelpers"
	networkres "github.com/siderolabs/talos/pkg/machinery/resources/network"

	"cluster-stack/lab/node/internal/network"
)

const inNamespace = "NETWORK_OF_ITS_OWN"

// isolated runs the test in a network of its own with two cards, eth0 and eth1,
// and tells whether this is that run.
func isolated(t *testing.T) bool {
	t.Helper()

	if os.Getenv(inNamespace) != "" {
		ip(t, "link add eth0 type veth peer name cable0")
		ip(t, "link add eth1 type veth peer name cable1")

		// the kernel gives itself no addresses, at times of its own choice
		for _, card := range []string{"eth0", "eth1", "cable0", "cable1"} {
			ip(t, "link set "+card+" addrgenmode none")
		}

		ip(t, "link set cable0 up")
		ip(t, "link set cable1 up")

		return true
	}

	command := exec.Command("unshare", "--user", "--map-root-user", "--net", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	command.Env = append(os.Environ(), inNamespace+"=1")

	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s\n%s", err, output)
	}

	return false
}

func ip(t *testing.T, words string) {
	t.Helper()

	if output, err := exec.Command("ip", strings.Fields(words)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %s", words, output)
	}
}

func wanted(mtu uint32, gateway string, addresses ...string) network.Network {
	link := network.Link{Name: "eth0", MTU: mtu}
	for _, address := range addresses {
		link.Addresses = append(link.Addresses, netip.MustParsePrefix(address))
	}

	if gateway != "" {
		link.Routes = []networkres.RouteSpecSpec{{
			Family: nethelpers.FamilyInet4, Gateway: netip.MustParseAddr(gateway), OutLinkName: "eth0", Table: nethelpers.TableMain,
			Priority: networkres.DefaultRouteMetric, Scope: nethelpers.ScopeGlobal, Type: nethelpers.TypeUnicast,
			Protocol: nethelpers.ProtocolStatic,
		}}
	}

	return network.Network{Links: []network.Link{link}}
}

// seen is what the kernel has on eth0: the addresses, the gateway and the MTU.
func seen(t *testing.T) string {
	t.Helper()

	state, err := network.Read()
	if err != nil {
		t.Fatal(err)
	}

	var words []string

	for _, address := range state.NodeAddresses(false) {
		words = append(words, address.String())
	}

	for _, route := range state.Routes {
		if !route.Destination.IsValid() && route.Family == nethelpers.FamilyInet4 {
			words = append(words, "via "+route.Gateway.String())
		}
	}

	for _, link := range state.Links {
		if link.Attributes.Name == "eth0" {
			words = append(words, fmt.Sprint("MTU ", link.Attributes.MTU))
		}
	}

	return strings.Join(words, " ")
}

func TestTheKernelHasWhatIsWanted(t *testing.T) {
	if !isolated(t) {
		return
	}

	setup := network.NewSetup()

	for _, step := range []struct {
		wanted   network.Network
		expected string
	}{
		{wanted(1400, "10.5.0.1", "10.5.0.11/16", "fd05::11/64"), "10.5.0.11/16 fd05::11/64 via 10.5.0.1 MTU 1400"},
		{wanted(1500, "10.5.0.1", "10.5.0.12/16"), "10.5.0.12/16 via 10.5.0.1 MTU 1500"},
		{wanted(1500, "10.5.0.2", "10.5.0.12/16"), "10.5.0.12/16 via 10.5.0.2 MTU 1500"},
		{wanted(1500, "10.6.0.9", "10.6.0.12/16", "10.6.0.13/16"), "10.6.0.12/16 10.6.0.13/16 via 10.6.0.9 MTU 1500"},
		{wanted(1500, "10.6.0.9", "10.6.0.13/16"), "10.6.0.13/16 via 10.6.0.9 MTU 1500"},
		{wanted(0, ""), "MTU 1500"},
	} {
		if err := setup.Apply(step.wanted); err != nil {
			t.Fatal(err)
		}

		if seen := seen(t); seen != step.expected {
			t.Fatalf("wanted %s, there is %s", step.expected, seen)
		}
	}
}

func TestWhatTheKernelHasDroppedIsSetAgain(t *testing.T) {
	if !isolated(t) {
		return
	}

	setup, usual := network.NewSetup(), wanted(1500, "10.5.0.1", "10.5.0.11/16")
	if err := setup.Apply(usual); err != nil {
		t.Fatal(err)
	}

	ip(t, "addr add 10.9.0.1/16 dev eth0")
	ip(t, "addr del 10.5.0.11/16 dev eth0")

	if err := setup.Apply(usual); err != nil {
		t.Fatal(err)
	}

	state, err := network.Read()
	if err != nil {
		t.Fatal(err)
	}

	for _, address := range state.Addresses {
		if address.Address.String() == "10.5.0.11/16" && address.Broadcast.String() != "10.5.255.255" {
			t.Errorf("the broadcast address is %s", address.Broadcast)
		}
	}

	// somebody else's address is not this machine's to take away
	if seen := seen(t); seen != "10.9.0.1/16 10.5.0.11/16 via 10.5.0.1 MTU 1500" {
		t.Error(seen)
	}
}

func TestOneMistakeDoesNotKeepTheRestAway(t *testing.T) {
	if !isolated(t) {
		return
	}

	mistaken := wanted(1500, "10.7.0.1", "10.5.0.11/16")
	mistaken.Links = append([]network.Link{{Name: "eth7"}}, mistaken.Links...)

	err := network.NewSetup().Apply(mistaken)
	if err == nil || !strings.Contains(err.Error(), `link "eth7" does not exist`) || !strings.Contains(err.Error(), "network is unreachable") {
		t.Error(err)
	}

	if seen := seen(t); seen != "10.5.0.11/16 MTU 1500" {
		t.Error(seen)
	}
}

func TestAChangeIsNoticed(t *testing.T) {
	if !isolated(t) {
		return
	}

	ctx, stop := context.WithCancel(context.Background())
	changed, ended := make(chan struct{}, 1000), make(chan error)

	go func() { ended <- network.Watch(ctx, func() { changed <- struct{}{} }) }()

	// it listens once it has noticed a first one
	for noticed := false; !noticed; {
		ip(t, "link set eth1 up")
		ip(t, "link set eth1 down")

		select {
		case <-changed:
			noticed = true
		case <-time.After(50 * time.Millisecond):
		}
	}

	for _, change := range []string{"link set eth0 up", "addr add 10.5.0.11/16 dev eth0", "route add default via 10.5.0.1", "link set cable0 down"} {
		for quiet := false; !quiet; {
			select {
			case <-changed:
			case <-time.After(200 * time.Millisecond):
				quiet = true
			}
		}

		ip(t, change)

		select {
		case <-changed:
		case <-time.After(30 * time.Second):
			t.Errorf("nobody has noticed: ip %s", change)
		}
	}

	state, err := network.Read()
	if err != nil {
		t.Fatal(err)
	}

	if connected, all := state.NodeAddresses(true), state.NodeAddresses(false); len(connected) != 0 || len(all) != 1 {
		t.Errorf("without a cable there are %s of %s", connected, all)
	}

	names := make([]string, 0, len(state.Links))
	for _, found := range state.Interfaces() {
		names = append(names, found.Name)
	}

	if !slices.Contains(names, "lo") || !slices.Contains(names, "eth0") {
		t.Error(names)
	}

	stop()

	if err := <-ended; err != nil {
		t.Error(err)
	}
}
