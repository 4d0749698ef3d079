package etcd_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/siderolabs/crypto/x509"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cluster-stack/lab/node/internal/etcd"
	"cluster-stack/lab/node/internal/network"
	"cluster-stack/lab/node/internal/pki"
)

var allAddresses = []netip.Addr{
	netip.MustParseAddr("127.78.0.1"), netip.MustParseAddr("127.78.0.2"), netip.MustParseAddr("127.78.0.3"), netip.MustParseAddr("127.0.0.1"),
}

func member(t *testing.T, ca *x509.PEMEncodedCertificateAndKey, name, address, dataDir string) *etcd.Member {
	t.Helper()

	own := netip.MustParseAddr(address)

	// etcd does not bind its peer connections to a loopback address, so that
	// here they come from 127.0.0.1
	certificates, err := pki.NewEtcd(ca, pki.Subject{CommonName: name, Addresses: allAddresses, DNSNames: []string{name}})
	if err != nil {
		t.Fatal(err)
	}

	made, err := etcd.NewMember(etcd.Config{
		Name: name, Address: own, DataDir: dataDir, PKIDir: t.TempDir(), PKI: certificates, Log: func(string) {},
		Dialer: network.Dialer{Source: func(netip.Addr) netip.Addr { return own }},
	})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(made.Stop)

	return made
}

func list(t *testing.T, asked *etcd.Member) string {
	t.Helper()

	client, err := asked.LocalClient()
	if err != nil {
		t.Fatal(err)
	}

	defer client.Close() //nolint:errcheck

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	members, err := client.MemberList(clientv3.WithRequireLeader(ctx))
	if err != nil {
		t.Fatal(err)
	}

	text := ""
	for _, found := range members.Members {
		text += fmt.Sprintf("%s learner=%v ", found.Name, found.IsLearner)
	}

	return text
}

// eventually retries for as long as etcd may take to let something happen.
func eventually(t *testing.T, try func() error) {
	t.Helper()

	var err error

	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}

	t.Fatal(err)
}

func TestTheLifeOfACluster(t *testing.T) {
	authority, err := x509.NewSelfSignedCertificateAuthority(x509.ECDSA(true), x509.CommonName("etcd"))
	if err != nil {
		t.Fatal(err)
	}

	ca := x509.NewCertificateAndKeyFromCertificateAuthority(authority)
	data1, data2 := t.TempDir(), t.TempDir()
	address1, address2 := "127.78.0.1", "127.78.0.2"
	endpoints := []netip.Addr{netip.MustParseAddr(address1)}
	ctx := context.Background()

	one := member(t, ca, "one", address1, data1)

	if etcd.HasData(data1) {
		t.Fatal("a member has data before it has started")
	}

	if err := one.Bootstrap(); err != nil {
		t.Fatal(err)
	}

	eventually(t, func() error {
		if err := one.Leave(ctx, endpoints); err == nil || !strings.Contains(err.Error(), "not enough started members") {
			return fmt.Errorf("the last member leaves: %w", err)
		}

		return nil
	})

	two := member(t, ca, "two", address2, data2)

	var learner uint64

	eventually(t, func() error {
		learner, err = two.Join(ctx, endpoints)

		return err
	})

	eventually(t, func() error { return two.Promote(ctx, learner, endpoints) })

	if members := list(t, one); !strings.Contains(members, "two learner=false") {
		t.Error(members)
	}

	// a power cut and a new process
	two.Stop()

	two = member(t, ca, "two", address2, data2)
	if err := two.Resume(); err != nil {
		t.Fatal(err)
	}

	eventually(t, func() error { return two.Leave(ctx, append(endpoints, netip.MustParseAddr(address2))) })

	if members := list(t, one); members != "one learner=false " || etcd.HasData(data2) {
		t.Errorf("%s, data: %v", members, etcd.HasData(data2))
	}
}

func TestStrangersAreRefused(t *testing.T) {
	address := "127.78.0.3"
	members := make([]*etcd.Member, 2)

	for i := range members {
		authority, err := x509.NewSelfSignedCertificateAuthority(x509.ECDSA(true))
		if err != nil {
			t.Fatal(err)
		}

		members[i] = member(t, x509.NewCertificateAndKeyFromCertificateAuthority(authority), "one", address, t.TempDir())
	}

	if err := members[0].Bootstrap(); err != nil {
		t.Fatal(err)
	}

	client, err := members[1].LocalClient()
	if err != nil {
		t.Fatal(err)
	}

	defer client.Close() //nolint:errcheck

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()

	if err := members[1].Health(ctx, client); err == nil {
		t.Error("a client of another cluster is let in")
	}
}
