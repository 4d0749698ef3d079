package machine

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/siderolabs/crypto/x509"
	"github.com/siderolabs/talos/pkg/machinery/config"
	configpkg "github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/nethelpers"
	"github.com/siderolabs/talos/pkg/machinery/resources/cluster"
	"gopkg.in/yaml.v3"

	"cluster-stack/lab/node/internal/clock"
	"cluster-stack/lab/node/internal/discovery"
	"cluster-stack/lab/node/internal/network"
	"cluster-stack/lab/node/internal/pki"
	"cluster-stack/lab/node/internal/trustd"
)

// reconciler keeps what follows from the configuration, the leases and the
// other nodes up to date: addresses, name, certificates, membership.
type reconciler struct {
	setup  *network.Setup
	leases network.Leases
	// networkChanged is set when the kernel has changed anything, or may have.
	networkChanged   atomic.Bool
	networkComplaint string

	// maintenance is the identity without a configuration; the cluster's one is the node's.
	maintenance    atomic.Pointer[pki.Identity]
	maintenanceKey string
	issued         atomic.Pointer[issued]
	requesting     atomic.Bool

	discoveryKey string
	discovery    atomic.Pointer[discovery.Client]
	membership   membership

	prober prober

	endpointHost  string
	endpointTime  time.Time
	endpointAddrs []netip.Addr
}

// issued is what the current certificates were made from, and when.
type issued struct {
	key  string
	time time.Time
}

// poll is how often the leases are read again.
const poll = time.Second

// reconcile runs until the context ends: after every change, and once a second
// for what nobody tells about.
func (l *life) reconcile(ctx context.Context) {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()

	complained := ""

	for {
		if err := l.reconcileOnce(ctx); err != nil && err.Error() != complained {
			complained = err.Error()
			l.node.Logs.ControllerFailed(complained)
		}

		select {
		case <-ctx.Done():
			return
		case <-l.node.Changed:
		case <-ticker.C:
		}
	}
}

func (l *life) reconcileOnce(ctx context.Context) error {
	clock.Set(l.hw.Faults().ClockOffset())

	current := l.node.Config()
	configured := current != nil && current.CompleteForBoot()

	if err := l.reconcileNetwork(current); err != nil {
		return err
	}

	if configured && l.node.NodeID() == "" {
		if err := l.loadNodeID(); err != nil {
			return err
		}
	}

	if name := l.hostname(current); name != l.node.FQDN() || (configured && !l.reconciler.membership.published) {
		if err := l.node.SetHostname(name); err != nil {
			return err
		}
	}

	if configured {
		select {
		case <-l.configured:
		default:
			close(l.configured)
		}
	}

	if len(l.node.IPs()) == 0 {
		return nil
	}

	if !configured {
		return l.reconcileMaintenanceIdentity()
	}

	if err := l.reconcileProbes(ctx, current); err != nil {
		return err
	}

	// nothing of a cluster yet on a machine that is about to be installed
	if l.node.Disk() == nil {
		return nil
	}

	if err := l.reconcileMembership(ctx, current); err != nil {
		return err
	}

	return l.reconcileIdentity(ctx, current)
}

// watchNetwork has the network looked at whenever the kernel changes it.
func (l *life) watchNetwork(ctx context.Context) {
	err := network.Watch(ctx, func() {
		l.reconciler.networkChanged.Store(true)
		l.node.Kick()
	})
	if err != nil {
		l.node.Logs.Printf("network changes go unnoticed: %s", err)
	}
}

// reconcileNetwork sets up what is wanted now and publishes what there is. What
// cannot be set up is tried again, and said once.
func (l *life) reconcileNetwork(current config.Provider) error {
	var settings configpkg.Config
	if current != nil {
		settings = current
	}

	wanted := l.withVirtual(
		network.Resolve(l.hw, l.node.Image.Platform, settings, l.reconciler.leases.Current(l.hw.Leases(), time.Now())),
	)
	same := reflect.DeepEqual(wanted, l.node.Network())

	if !l.reconciler.networkChanged.Swap(false) && same && l.reconciler.networkComplaint == "" {
		return nil
	}

	complaint := ""
	if err := l.reconciler.setup.Apply(wanted); err != nil {
		complaint = err.Error()
	}

	if complaint != l.reconciler.networkComplaint && complaint != "" {
		l.node.Logs.ControllerFailed(strings.ReplaceAll(complaint, "\n", "; "))
	}

	l.reconciler.networkComplaint = complaint

	if !same {
		l.node.SetNetwork(wanted)
		l.node.Logs.Printf("addresses: %s", wanted.Addresses())
	}

	state, err := network.Read()
	if err != nil {
		return err
	}

	return l.node.SetKernelNetwork(state)
}

const identityFile = "node-identity.yaml"

func (l *life) loadNodeID() error {
	disk := l.node.Disk()
	if disk == nil {
		return nil
	}

	var identity cluster.IdentitySpec

	data, err := disk.Read("STATE", identityFile)
	if err != nil {
		return err
	}

	if err := yaml.Unmarshal(data, &identity); err != nil || identity.NodeID == "" {
		if identity.NodeID, err = discovery.NewNodeID(); err != nil {
			return err
		}

		text, err := yaml.Marshal(identity)
		if err != nil {
			return err
		}

		if err := disk.Write("STATE", identityFile, text); err != nil {
			return err
		}
	}

	l.node.SetNodeID(identity.NodeID)

	return nil
}

// hostname is the machine's name: what the configuration says, else what the
// cloud-init drive says, else one made from the identity or the address.
func (l *life) hostname(current config.Provider) string {
	if current != nil && current.NetworkHostnameConfig() != nil {
		if name := current.NetworkHostnameConfig().Hostname(); name != "" {
			return name
		}
	}

	if drive := l.hw.CloudInit; drive != nil && drive.Hostname != "" && l.node.Image.Platform == "nocloud" {
		return drive.Hostname
	}

	if current != nil && current.NetworkHostnameConfig() != nil &&
		current.NetworkHostnameConfig().AutoHostname() == nethelpers.AutoHostnameKindStable && l.node.NodeID() != "" {
		sum := sha256.Sum256([]byte(l.node.NodeID()))
		text := new(big.Int).SetBytes(sum[:8]).Text(36)

		return fmt.Sprintf("talos-%s-%s", text[1:4], text[4:7])
	}

	if addresses := l.node.IPs(); len(addresses) > 0 {
		return "talos-" + strings.NewReplacer(":", "", ".", "-").Replace(addresses[0].String())
	}

	return "talos"
}

func (l *life) reconcileMaintenanceIdentity() error {
	subject := l.node.Subject()
	key := fmt.Sprint(subject)

	if key == l.reconciler.maintenanceKey {
		return nil
	}

	identity, err := pki.Maintenance(subject)
	if err != nil {
		return err
	}

	l.reconciler.maintenance.Store(identity)
	l.reconciler.maintenanceKey = key

	return nil
}

// reconcileIdentity renews the certificates when what they are made from has
// changed, and after half of their lifetime.
func (l *life) reconcileIdentity(ctx context.Context, current config.Provider) error {
	subject := l.node.Subject()
	machine := current.Machine()
	expired := l.hw.Faults().CertificateExpired
	key := fmt.Sprint(subject, issuer(machine), string(pki.AcceptedCAs(machine)), machine.Type(), machine.Security().Token(), expired)

	if last := l.reconciler.issued.Load(); last != nil && last.key == key &&
		time.Since(last.time) < x509.DefaultCertificateValidityDuration/2 {
		return nil
	}

	if !machine.Type().IsControlPlane() {
		l.requestIdentity(ctx, current, subject, key)

		return nil
	}

	made := clock.Now()
	if expired {
		made = made.Add(-x509.DefaultCertificateValidityDuration - time.Hour)
	}

	identity, err := pki.ControlPlane(machine, subject, made)
	if err != nil {
		return err
	}

	certificate, err := pki.Trustd(machine, subject)
	if err != nil {
		return err
	}

	l.node.Identity.Store(identity)
	l.node.TrustdCertificate.Store(&certificate)
	l.reconciler.issued.Store(&issued{key: key, time: time.Now()})

	return nil
}

// issuer is the authority that certificates are issued by, where there is one.
func issuer(machine configpkg.MachineConfig) string {
	if authority := machine.Security().IssuingCA(); authority != nil {
		return string(authority.Crt)
	}

	return ""
}

// requestIdentity has a worker's certificate signed by a control plane; until
// one answers there is no API on a worker.
func (l *life) requestIdentity(ctx context.Context, current config.Provider, subject pki.Subject, key string) {
	if !l.reconciler.requesting.CompareAndSwap(false, true) {
		return
	}

	go func() {
		defer l.reconciler.requesting.Store(false)

		csr, private, err := pki.WorkerRequest(current.Machine(), subject)
		if err == nil {
			var ca, crt []byte

			ca, crt, err = trustd.Request(ctx, current.Machine(), l.node.ControlPlanes(), csr)
			if err == nil {
				var identity *pki.Identity

				identity, err = pki.Worker(crt, private, ca)
				if err == nil {
					l.node.Identity.Store(identity)
					l.reconciler.issued.Store(&issued{key: key, time: time.Now()})

					return
				}
			}
		}

		if ctx.Err() == nil {
			l.node.Logs.Printf("failed to sign API server CSR: %s", err)
		}

		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}()
}

// reconcileMembership tells the other nodes about this one and learns about them.
func (l *life) reconcileMembership(ctx context.Context, current config.Provider) error {
	settings := current.Cluster()

	endpoint, _, _, err := discovery.Endpoint(settings)
	if err != nil {
		return err
	}

	key := fmt.Sprint(endpoint, settings.ID(), settings.Secret(), l.node.NodeID())
	running := l.reconciler.discovery.Load()

	if key != l.reconciler.discoveryKey {
		if running != nil {
			running.Stop()
		}

		running, err = discovery.Start(ctx, settings, l.node.NodeID(), l.node.Version.Tag(), l.node.Changed)
		if err != nil {
			return err
		}

		l.reconciler.discovery.Store(running)
		l.reconciler.discoveryKey = key
		l.reconciler.membership.others, l.reconciler.membership.looked = nil, time.Time{}
	}

	now := l.reconciler.membership
	now.endpoints, now.local = l.endpoints(ctx, settings.Endpoint().Hostname()), nil

	if settings.Discovery().Enabled() {
		now.local = l.affiliate(current)
	}

	if running != nil {
		if err := running.Announce(now.local); err != nil {
			return err
		}

		if now.mayLook() && running.News() {
			now.look(running)
		}
	}

	if now.published && reflect.DeepEqual(now, l.reconciler.membership) {
		return nil
	}

	now.published = true
	l.reconciler.membership = now

	return l.node.SetMembership(now.local, now.others, now.endpoints)
}

// membership is what the node last knew of its cluster.
type membership struct {
	published bool
	local     *cluster.AffiliateSpec
	others    []cluster.AffiliateSpec
	looked    time.Time
	endpoints []netip.Addr
}

// lookPause is how long each of the other nodes that are known puts off the next
// look at them. While a large cluster comes up, every node hears of every other
// one: without a pause they would do nothing but look.
const lookPause = 10 * time.Millisecond

func (m *membership) mayLook() bool {
	return time.Since(m.looked) >= time.Duration(len(m.others))*lookPause
}

func (m *membership) look(running *discovery.Client) {
	m.others, m.looked = running.Affiliates(), time.Now()
	slices.SortFunc(m.others, func(a, b cluster.AffiliateSpec) int { return strings.Compare(a.NodeID, b.NodeID) })
}

func (l *life) affiliate(current config.Provider) *cluster.AffiliateSpec {
	affiliate := &cluster.AffiliateSpec{
		NodeID: l.node.NodeID(), Addresses: l.node.IPs(), Hostname: l.node.FQDN(), Nodename: l.node.Nodename(),
		OperatingSystem: fmt.Sprintf("Talos (%s)", l.node.Version.Tag()), MachineType: current.Machine().Type(),
	}

	if current.Machine().Type().IsControlPlane() {
		affiliate.ControlPlane = &cluster.ControlPlane{APIServerPort: current.Cluster().LocalAPIServerPort()}
	}

	return affiliate
}

const resolveAgain = 30 * time.Second

// endpoints are the addresses of the cluster endpoint in the configuration.
func (l *life) endpoints(ctx context.Context, host string) []netip.Addr {
	if address, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{address}
	}

	if host == l.reconciler.endpointHost && time.Since(l.reconciler.endpointTime) < resolveAgain {
		return l.reconciler.endpointAddrs
	}

	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()

	// an endpoint without a name yet is nothing to fail on: discovery finds the
	// control planes as well
	addresses, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", host) //nolint:errcheck

	for i := range addresses {
		addresses[i] = addresses[i].Unmap()
	}

	slices.SortFunc(addresses, netip.Addr.Compare)
	l.reconciler.endpointHost, l.reconciler.endpointTime, l.reconciler.endpointAddrs = host, time.Now(), addresses

	return addresses
}
