package etcd_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/siderolabs/crypto/x509"
	resource "github.com/siderolabs/talos/pkg/machinery/resources/etcd"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cluster-stack/lab/node/internal/etcd"
	"cluster-stack/lab/node/internal/pki"
)

var allAddresses = []netip.Addr{
	netip.MustParseAddr("127.78.0.1"), netip.MustParseAddr("127.78.0.2"), netip.MustParseAddr("127.78.0.3"), netip.MustParseAddr("127.0.0.1"),
}

// The toolchain's programs, where the tests were not started through it.
func TestMain(m *testing.M) {
	programs, err := filepath.Abs("../../../../.toolchain/bin")
	if err != nil {
		panic(err)
	}

	os.Setenv("PATH", programs+":"+os.Getenv("PATH")) //nolint:errcheck
	os.Exit(m.Run())
}

func member(t *testing.T, ca *x509.PEMEncodedCertificateAndKey, name, address, dataDir string) *etcd.Member {
	t.Helper()

	own := []netip.Addr{netip.MustParseAddr(address)}

	// all members share one network here, in which connections to a loopback
	// address come from 127.0.0.1
	certificates, err := pki.NewEtcd(ca, pki.Subject{CommonName: name, Addresses: allAddresses, DNSNames: []string{name}})
	if err != nil {
		t.Fatal(err)
	}

	made, err := etcd.NewMember(etcd.Config{
		Spec:    resource.SpecSpec{Name: name, AdvertisedAddresses: own, ListenPeerAddresses: own, ListenClientAddresses: own},
		DataDir: dataDir, PKIDir: t.TempDir(), PKI: certificates, Env: os.Environ(), Log: func(string) {},
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

	// etcd is killed and started again, and then the machine has a power cut
	kill(t, two)

	if err := two.Restart(); err != nil {
		t.Fatal(err)
	}

	eventually(t, func() error { return health(two) })
	kill(t, two)

	two = member(t, ca, "two", address2, data2)
	if err := two.Resume(); err != nil {
		t.Fatal(err)
	}

	eventually(t, func() error { return two.Leave(ctx, append(endpoints, netip.MustParseAddr(address2))) })

	if members := list(t, one); members != "one learner=false " || etcd.HasData(data2) {
		t.Errorf("%s, data: %v", members, etcd.HasData(data2))
	}

	if !two.Dismissed() || two.Process() != nil {
		t.Error("a member that has left still runs, or is to be started again")
	}
}

func kill(t *testing.T, killed *etcd.Member) {
	t.Helper()

	running := killed.Process()
	if err := syscall.Kill(running.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}

	<-running.Done()
	killed.Ended(running)

	if killed.Dismissed() {
		t.Error("a member that was killed counts as stopped on purpose")
	}
}

func health(asked *etcd.Member) error {
	client, err := asked.LocalClient()
	if err != nil {
		return err
	}

	defer client.Close() //nolint:errcheck

	return asked.Health(context.Background(), client)
}

func TestASnapshotBringsAClusterBack(t *testing.T) {
	authority, err := x509.NewSelfSignedCertificateAuthority(x509.ECDSA(true), x509.CommonName("etcd"))
	if err != nil {
		t.Fatal(err)
	}

	ca := x509.NewCertificateAndKeyFromCertificateAuthority(authority)
	data := filepath.Join(t.TempDir(), "etcd")

	one := member(t, ca, "one", "127.78.0.1", data)
	if err := one.Bootstrap(); err != nil {
		t.Fatal(err)
	}

	eventually(t, func() error { return health(one) })

	client, err := one.LocalClient()
	if err != nil {
		t.Fatal(err)
	}

	ctx := context.Background()

	if _, err := client.Put(ctx, "colour", "red"); err != nil {
		t.Fatal(err)
	}

	reader, err := client.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}

	snapshot, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}

	client.Close() //nolint:errcheck
	one.Stop()

	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}

	for broken, problem := range map[string]string{
		"nonsense":                         "error verifying snapshot: ",
		string(snapshot[:len(snapshot)-1]): "error recovering from the snapshot: snapshot missing hash",
	} {
		other := member(t, ca, "one", "127.78.0.1", filepath.Join(t.TempDir(), "etcd"))

		if err := os.WriteFile(other.RecoveryPath(), []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}

		if err := other.Recover(false); err == nil || !strings.HasPrefix(err.Error(), problem) {
			t.Errorf("%d bytes: %v", len(broken), err)
		}
	}

	one = member(t, ca, "one", "127.78.0.1", data)

	if err := os.WriteFile(one.RecoveryPath(), snapshot, 0o600); err != nil {
		t.Fatal(err)
	}

	if err := one.Recover(false); err != nil {
		t.Fatal(err)
	}

	eventually(t, func() error { return health(one) })

	if client, err = one.LocalClient(); err != nil {
		t.Fatal(err)
	}

	defer client.Close() //nolint:errcheck

	if answer, err := client.Get(ctx, "colour"); err != nil || len(answer.Kvs) != 1 || string(answer.Kvs[0].Value) != "red" {
		t.Errorf("%v %v", answer, err)
	}

	if _, err := os.Stat(one.RecoveryPath()); err == nil {
		t.Error("the snapshot is still there")
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

func TestWhatAnUpgradeAsksEtcd(t *testing.T) {
	authority, err := x509.NewSelfSignedCertificateAuthority(x509.ECDSA(true), x509.CommonName("etcd"))
	if err != nil {
		t.Fatal(err)
	}

	ca := x509.NewCertificateAndKeyFromCertificateAuthority(authority)
	one := member(t, ca, "one", "127.78.0.1", t.TempDir())
	ctx := context.Background()

	if err := one.Bootstrap(); err != nil {
		t.Fatal(err)
	}

	client, err := one.LocalClient()
	if err != nil {
		t.Fatal(err)
	}

	defer client.Close() //nolint:errcheck

	eventually(t, func() error { return one.ValidateForUpgrade(ctx, client) })

	unlock, err := etcd.LockUpgrade(ctx, client)
	if err != nil {
		t.Fatal(err)
	}

	if _, err := etcd.LockUpgrade(ctx, client); err == nil || !strings.Contains(err.Error(), "Locked by another session") {
		t.Errorf("the lock is taken twice: %v", err)
	}

	unlock()

	if unlock, err = etcd.LockUpgrade(ctx, client); err != nil {
		t.Errorf("the lock stays locked: %s", err)
	} else {
		unlock()
	}

	refused := func(complaint string) {
		t.Helper()
		eventually(t, func() error {
			if err := one.ValidateForUpgrade(ctx, client); err == nil || !strings.Contains(err.Error(), complaint) {
				return fmt.Errorf("not refused with %q: %w", complaint, err)
			}

			return nil
		})
	}
	endpoints := []netip.Addr{netip.MustParseAddr("127.78.0.1")}
	join := func(joining *etcd.Member) (id uint64) {
		eventually(t, func() (err error) { id, err = joining.Join(ctx, endpoints); return err })

		return id
	}

	two := member(t, ca, "two", "127.78.0.2", t.TempDir())
	learner := join(two)

	refused("etcd member count(2) is insufficient to maintain quorum if upgrade commences")
	eventually(t, func() error { return two.Promote(ctx, learner, endpoints) })

	var added *clientv3.MemberAddResponse

	eventually(t, func() error {
		added, err = client.MemberAddAsLearner(ctx, []string{"https://127.78.0.3:2380"})

		return err
	})

	refused(fmt.Sprintf("etcd member %016x is not started, all members must be running to perform an upgrade", added.Member.ID))

	three := member(t, ca, "three", "127.78.0.3", t.TempDir())
	learner = join(three)

	refused("is not healthy; all members must be healthy to perform an upgrade: etcdserver: rpc not supported for learner")
	eventually(t, func() error { return three.Promote(ctx, learner, endpoints) })
	eventually(t, func() error { return one.ValidateForUpgrade(ctx, client) })
}
