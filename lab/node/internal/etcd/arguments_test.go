package etcd

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
)

// memberOf is the member of a machine with these addresses, or what is wrong
// with its configuration.
func memberOf(t *testing.T, settings string, addresses ...string) (*Member, error) {
	t.Helper()

	loaded, err := configloader.NewFromBytes([]byte(settings))
	if err != nil {
		t.Fatal(err)
	}

	own := make([]netip.Addr, 0, len(addresses))
	for _, address := range addresses {
		own = append(own, netip.MustParseAddr(address))
	}

	spec, err := NewSpec(NewConfig(loaded), "cp1", own)

	return &Member{config: Config{Spec: spec, DataDir: "/data", PKIDir: "/pki"}}, err
}

const plain = "machine: {network: {}}\ncluster: {etcd: {}}"

func TestAMemberListensEverywhereAndAdvertisesItsFirstAddress(t *testing.T) {
	member, err := memberOf(t, plain, "10.5.0.11", "10.6.0.11")
	if err != nil {
		t.Fatal(err)
	}

	list, err := member.arguments(&cluster{members("cp1", member.peerURLs()), stateNew})
	if err != nil {
		t.Fatal(err)
	}

	for _, expected := range []string{
		"--name=cp1", "--data-dir=/data", "--initial-cluster=cp1=https://10.5.0.11:2380", "--initial-cluster-state=new",
		"--listen-client-urls=https://0.0.0.0:2379", "--listen-peer-urls=https://0.0.0.0:2380",
		"--advertise-client-urls=https://10.5.0.11:2379", "--initial-advertise-peer-urls=https://10.5.0.11:2380",
		"--client-cert-auth=true", "--peer-client-cert-auth=true", "--peer-key-file=/pki/peer.key", "--unsafe-no-fsync=true",
	} {
		if !slices.Contains(list, expected) {
			t.Errorf("%s is not among %s", expected, list)
		}
	}

	if list, err = member.arguments(nil); err != nil || strings.Contains(fmt.Sprint(list), "initial-cluster") {
		t.Errorf("a member with data is told its cluster: %s %v", list, err)
	}
}

func TestTheConfigurationDecidesWhereAMemberIs(t *testing.T) {
	for name, test := range map[string]struct {
		settings string
		expected string
	}{
		"a virtual address is nobody's own": {
			"machine: {network: {interfaces: [{interface: eth0, vip: {ip: 10.5.0.9}}]}}\ncluster: {etcd: {}}",
			"advertises [10.5.0.11], listens at [0.0.0.0] and [0.0.0.0], asks at 127.0.0.1:2379",
		},
		"a virtual address in a document": {
			plain + "\n---\n{apiVersion: v1alpha1, kind: Layer2VIPConfig, name: 10.5.0.9, link: eth0}",
			"advertises [10.5.0.11], listens at [0.0.0.0] and [0.0.0.0], asks at 127.0.0.1:2379",
		},
		"subnets to advertise": {
			"machine: {network: {}}\ncluster: {etcd: {advertisedSubnets: [10.6.0.0/16, 10.7.0.0/16]}}",
			"advertises [10.6.0.11 10.7.0.11], listens at [10.6.0.11 10.7.0.11] and [127.0.0.1 10.6.0.11 10.7.0.11], asks at 127.0.0.1:2379",
		},
		"subnets to listen in": {
			"machine: {network: {}}\ncluster: {etcd: {listenSubnets: [10.7.0.0/16]}}",
			"advertises [10.5.0.9], listens at [10.7.0.11] and [127.0.0.1 10.7.0.11], asks at 127.0.0.1:2379",
		},
	} {
		t.Run(name, func(t *testing.T) {
			member, err := memberOf(t, test.settings, "10.5.0.9", "10.5.0.11", "10.6.0.11", "10.7.0.11")
			if err != nil {
				t.Fatal(err)
			}

			spec := member.config.Spec
			if seen := fmt.Sprintf("advertises %s, listens at %s and %s, asks at %s", spec.AdvertisedAddresses,
				spec.ListenPeerAddresses, spec.ListenClientAddresses, member.Endpoint()); seen != test.expected {
				t.Error(seen)
			}
		})
	}
}

func TestSubnetsThatTheMachineIsNotIn(t *testing.T) {
	for _, key := range []string{"advertisedSubnets", "listenSubnets"} {
		settings := "machine: {network: {}}\ncluster: {etcd: {" + key + ": [10.9.0.0/16]}}"

		expected := "none of this machine's addresses [10.5.0.11] is in the etcd subnets [10.9.0.0/16]"
		if _, err := memberOf(t, settings, "10.5.0.11"); err == nil || err.Error() != expected {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestExtraArguments(t *testing.T) {
	extra := func(text string) string {
		return "machine: {network: {}}\ncluster: {etcd: {extraArgs: {" + text + "}}}"
	}

	member, err := memberOf(t, extra("election-timeout: '5000', unsafe-no-fsync: 'false', listen-metrics-urls: 'http://0.0.0.0:2381'"), "10.5.0.11")
	if err != nil {
		t.Fatal(err)
	}

	list, err := member.arguments(nil)
	if err != nil {
		t.Fatal(err)
	}

	for _, expected := range []string{"--election-timeout=5000", "--unsafe-no-fsync=false", "--listen-metrics-urls=http://0.0.0.0:2381"} {
		if !slices.Contains(list, expected) {
			t.Errorf("%s is not among %s", expected, list)
		}
	}

	if member, err = memberOf(t, extra("data-dir: /other"), "10.5.0.11"); err != nil {
		t.Fatal(err)
	}

	if _, err := NewMember(member.config); err == nil || err.Error() != `extra arg "data-dir" is not allowed` {
		t.Errorf("%v", err)
	}
}
