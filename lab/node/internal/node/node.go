// Package node is the running system of one machine: what it knows about
// itself. The life of the machine (package machine) writes it, the API
// (package api) reads it and asks for changes.
package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cosi-project/runtime/pkg/state"
	"github.com/google/uuid"
	"github.com/siderolabs/talos/pkg/machinery/api/common"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/resources/cluster"
	networkres "github.com/siderolabs/talos/pkg/machinery/resources/network"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cluster-stack/lab/node/internal/etcd"
	"cluster-stack/lab/node/internal/events"
	"cluster-stack/lab/node/internal/hardware"
	"cluster-stack/lab/node/internal/images"
	"cluster-stack/lab/node/internal/kubeletapi"
	"cluster-stack/lab/node/internal/logs"
	"cluster-stack/lab/node/internal/network"
	"cluster-stack/lab/node/internal/pki"
	"cluster-stack/lab/node/internal/services"
	"cluster-stack/lab/node/internal/settings"
	"cluster-stack/lab/node/internal/talos"
)

const (
	stateLabel = "STATE"
	configFile = "config.yaml"
)

// Node is the running system.
type Node struct {
	Hardware *hardware.Machine
	Image    *hardware.Image // the booted one
	Version  talos.Version
	BootID   string
	BootTime time.Time

	Resources state.State
	Events    *events.Stream
	Logs      *logs.Logs
	Services  *services.Services

	// Identity is what the API server shows and checks; nil until it has one.
	Identity atomic.Pointer[pki.Identity]
	// TrustdCertificate is what trustd shows.
	TrustdCertificate atomic.Pointer[tls.Certificate]
	// Images are the container images that the machine has pulled.
	Images *images.Store
	// Etcd is the member of a control plane; nil until it is prepared.
	Etcd atomic.Pointer[etcd.Member]

	// Sequences are the sequences that the API asks for.
	Sequences chan Sequence
	// Bootstraps are the bootstrap requests that the API has accepted.
	Bootstraps chan BootstrapRequest
	// Terminations tell a container of the system to end; its service starts it again.
	Terminations map[string]chan struct{}
	// Changed wakes the reconciler.
	Changed chan struct{}

	mu            sync.Mutex
	probes        map[string]networkres.ProbeStatusSpec
	disk          *hardware.Disk
	active        config.Provider
	persistent    config.Provider
	rollback      *time.Timer
	network       network.Network
	kernelNetwork network.State
	hostname      string
	domain        string
	nodeID        string
	affiliates    []cluster.AffiliateSpec
	endpoints     []netip.Addr
	stage         stage
	lastReported  string
	sequence      string // the one that ends this boot, "" while none runs

	metaMu sync.Mutex

	nodeStatus     kubeletapi.NodeStatus
	staticPodsWord string // what keeps the static pods from being ready
}

// BootstrapRequest asks the machine to bootstrap etcd; the answer comes back
// on Done.
type BootstrapRequest struct {
	Recover       bool
	SkipHashCheck bool
	Done          chan error
}

// Sequence is a sequence that the API or the power button asks for.
type Sequence struct {
	Name    string
	Actor   string
	Reboot  *machine.RebootRequest
	Reset   *machine.ResetRequest
	Upgrade *machine.UpgradeRequest
	// Force shuts down without a drain.
	Force bool
}

// New boots the image on the hardware: everything in memory is fresh.
func New(ctx context.Context, hw *hardware.Machine, image *hardware.Image, disk *hardware.Disk, console io.Writer) (*Node, error) {
	version, err := talos.ParseVersion(image.Version)
	if err != nil {
		return nil, err
	}

	machineLogs := logs.New(console)

	resources, err := newResources(ctx, machineLogs)
	if err != nil {
		return nil, err
	}

	node := &Node{
		Hardware: hw, Image: image, Version: version, BootID: uuid.NewString(), BootTime: time.Now(),
		Resources: resources, Events: events.NewStream(), Logs: machineLogs,
		Sequences: make(chan Sequence, 1), Bootstraps: make(chan BootstrapRequest), Changed: make(chan struct{}, 1),
		Terminations: map[string]chan struct{}{"apid": make(chan struct{}, 1), "trustd": make(chan struct{}, 1)}, disk: disk,
	}
	node.Images = images.NewStore(node.Disk, image.Arch)
	node.Services = services.New(resources, node.Events, node.Logs, node.reportStatus)

	return node, nil
}

// Kick wakes the reconciler.
func (n *Node) Kick() {
	select {
	case n.Changed <- struct{}{}:
	default:
	}
}

// Disk is the system disk, nil while nothing is installed.
func (n *Node) Disk() *hardware.Disk {
	n.mu.Lock()
	defer n.mu.Unlock()

	return n.disk
}

// SetDisk names the disk that the system has been installed on.
func (n *Node) SetDisk(disk *hardware.Disk) {
	n.mu.Lock()
	n.disk = disk
	n.mu.Unlock()
}

// Mode is how the booted platform runs Talos.
func (n *Node) Mode() settings.Mode { return settings.NewMode(n.Image.Platform, n.Disk() != nil) }

// Config is the active configuration, nil in maintenance mode.
func (n *Node) Config() config.Provider {
	n.mu.Lock()
	defer n.mu.Unlock()

	return n.active
}

// InMaintenance reports whether the machine still waits for a configuration.
func (n *Node) InMaintenance() bool {
	current := n.Config()

	return current == nil || !current.CompleteForBoot()
}

// LoadConfig reads the configuration from the STATE partition, if there is one.
func (n *Node) LoadConfig() error {
	disk := n.Disk()
	if disk == nil {
		return nil
	}

	data, err := disk.Read(stateLabel, configFile)
	if err != nil || data == nil {
		return err
	}

	provider, err := settings.Decode(data, n.Version)
	if err != nil {
		return fmt.Errorf("failed to load config from STATE: %w", err)
	}

	n.mu.Lock()
	n.persistent = provider
	n.mu.Unlock()

	return n.SetActive(provider)
}

// SetActive makes the configuration the active one.
func (n *Node) SetActive(provider config.Provider) error {
	n.mu.Lock()
	n.active = provider
	n.mu.Unlock()

	if err := n.publishConfig(); err != nil {
		return err
	}

	if err := n.PublishDisks(); err != nil {
		return err
	}

	n.Kick()

	return nil
}

// SetPersistent keeps the configuration for the next boot. Before the system
// is installed it is kept in memory; the installation writes it.
func (n *Node) SetPersistent(provider config.Provider) error {
	n.mu.Lock()
	n.persistent = provider
	n.mu.Unlock()

	if err := n.Persist(); err != nil {
		return err
	}

	return n.publishConfig()
}

// Persist writes the persistent configuration to the STATE partition, where
// the machine can make that.
func (n *Node) Persist() error {
	n.mu.Lock()
	disk, provider := n.disk, n.persistent
	n.mu.Unlock()

	if disk == nil || provider == nil || n.SystemVolumeProblem(provider) != nil {
		return nil
	}

	data, err := provider.Bytes()
	if err != nil {
		return err
	}

	return disk.Write(stateLabel, configFile, data)
}

// RollbackAfter returns to the present configuration after a while.
func (n *Node) RollbackAfter(timeout time.Duration) {
	present := n.Config()

	n.CancelRollback()

	n.mu.Lock()
	defer n.mu.Unlock()

	n.rollback = time.AfterFunc(timeout, func() {
		n.Logs.Printf("rolling back the configuration")

		if err := n.SetActive(present); err != nil {
			n.Logs.Printf("config rollback failed %s", err)
		}
	})
}

// CancelRollback keeps a configuration that was being tried.
func (n *Node) CancelRollback() {
	n.mu.Lock()
	defer n.mu.Unlock()

	if n.rollback != nil {
		n.rollback.Stop()
		n.rollback = nil
	}
}

// IsControlPlane reports whether the configuration makes this a control plane.
func (n *Node) IsControlPlane() bool {
	current := n.Config()

	return current != nil && current.Machine() != nil && current.Machine().Type().IsControlPlane()
}

// CheckControlPlane refuses a call that only control planes serve.
func (n *Node) CheckControlPlane(what string) error {
	current := n.Config()

	if current == nil || current.Machine() == nil {
		return status.Errorf(codes.Unimplemented, "machine type is not set, cannot use %s API", what)
	}

	if !current.Machine().Type().IsControlPlane() {
		return status.Errorf(codes.Unimplemented, "%s is only available on control plane nodes", what)
	}

	return nil
}

// ErrLocked means that another sequence runs already.
var ErrLocked = errors.New("locked")

// Start asks for a sequence. While one runs that Talos would break off for it,
// a second one is refused, but for a reboot of a machine that reboots; what
// Talos would not do either it says yes to, and tells of it in an event.
func (n *Node) Start(sequence Sequence) error {
	n.mu.Lock()
	defer n.mu.Unlock()

	switch {
	case n.sequence == "":
		n.sequence = sequence.Name
		n.Sequences <- sequence
	case sequence.Name == "reboot" && n.sequence == "reboot":
	case sequence.Name == "shutdown" || (sequence.Name == "reboot" && n.sequence == "reset"):
		return fmt.Errorf("error acquiring sequence lock: %w", ErrLocked)
	default:
		n.Events.Publish("", &machine.SequenceEvent{
			Sequence: sequence.Name, Action: machine.SequenceEvent_NOOP,
			Error: &common.Error{Code: common.Code_LOCKED, Message: fmt.Sprintf("sequence not started: %s", ErrLocked)},
		})
	}

	return nil
}

// Busy reports whether a sequence that ends this boot runs.
func (n *Node) Busy() bool {
	n.mu.Lock()
	defer n.mu.Unlock()

	return n.sequence != ""
}

// Network is the network that the machine has set up.
func (n *Node) Network() network.Network {
	n.mu.Lock()
	defer n.mu.Unlock()

	return n.network
}

// SetNetwork stores the network that the machine has set up.
func (n *Node) SetNetwork(current network.Network) {
	n.mu.Lock()
	n.network = current
	n.mu.Unlock()
}

// KernelNetwork is what the kernel was last seen to have.
func (n *Node) KernelNetwork() network.State {
	n.mu.Lock()
	defer n.mu.Unlock()

	return n.kernelNetwork
}

// IPs are the addresses of the machine's own, IPv4 before IPv6: without those
// that the control planes have between them.
func (n *Node) IPs() []netip.Addr {
	virtual := n.Network().Virtual()

	return slices.DeleteFunc(n.AllIPs(), func(address netip.Addr) bool {
		_, shared := virtual[address]

		return shared
	})
}

// AllIPs are the addresses that the machine has, IPv4 before IPv6.
func (n *Node) AllIPs() []netip.Addr {
	prefixes := n.KernelNetwork().NodeAddresses(true)
	ips := make([]netip.Addr, 0, len(prefixes))

	for _, prefix := range prefixes {
		ips = append(ips, prefix.Addr())
	}

	return ips
}

// SetKernelNetwork stores and publishes what the kernel has.
func (n *Node) SetKernelNetwork(state network.State) error {
	n.mu.Lock()
	n.kernelNetwork = state
	n.mu.Unlock()

	return n.publishNetwork()
}

// Hostname is the name without the domain.
func (n *Node) Hostname() string {
	n.mu.Lock()
	defer n.mu.Unlock()

	return n.hostname
}

// FQDN is the name with the domain.
func (n *Node) FQDN() string {
	n.mu.Lock()
	defer n.mu.Unlock()

	if n.domain == "" {
		return n.hostname
	}

	return n.hostname + "." + n.domain
}

// SetHostname stores and publishes the name.
func (n *Node) SetHostname(fqdn string) error {
	n.mu.Lock()
	n.hostname, n.domain, _ = strings.Cut(fqdn, ".")
	n.mu.Unlock()

	return n.publishHostname()
}

// NodeID is the node's identity in its cluster, "" in maintenance mode.
func (n *Node) NodeID() string {
	n.mu.Lock()
	defer n.mu.Unlock()

	return n.nodeID
}

// SetNodeID stores the node's identity.
func (n *Node) SetNodeID(id string) {
	n.mu.Lock()
	n.nodeID = id
	n.mu.Unlock()
}

// EtcdSubject is whom the certificates of the node's etcd member are for.
func (n *Node) EtcdSubject() pki.Subject {
	subject := pki.Subject{CommonName: n.Hostname(), Addresses: n.IPs(), DNSNames: []string{n.Hostname()}}

	if n.FQDN() != n.Hostname() {
		subject.DNSNames = append(subject.DNSNames, n.FQDN())
	}

	return subject
}

// Subject is whom the node's certificates are for.
func (n *Node) Subject() pki.Subject {
	subject := pki.Subject{
		CommonName: n.FQDN(),
		Addresses:  append(n.AllIPs(), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")),
	}

	names := []string{n.Hostname(), n.FQDN()}

	if current := n.Config(); current != nil && current.Machine() != nil {
		for _, san := range current.Machine().Security().CertSANs() {
			if address, err := netip.ParseAddr(san); err == nil {
				subject.Addresses = append(subject.Addresses, address)
			} else {
				names = append(names, san)
			}
		}

		names = append(names, talosServiceNames(current.Machine())...)
	}

	for _, name := range names {
		if name != "" && !slices.Contains(subject.DNSNames, name) {
			subject.DNSNames = append(subject.DNSNames, name)
		}
	}

	return subject
}

// SetMembership stores and publishes what discovery knows: this node, the
// other nodes, and the addresses that the configuration's cluster endpoint
// resolves to.
func (n *Node) SetMembership(local *cluster.AffiliateSpec, others []cluster.AffiliateSpec, endpoints []netip.Addr) error {
	all := others
	if local != nil {
		all = append([]cluster.AffiliateSpec{*local}, others...)
	}

	n.mu.Lock()
	before := n.affiliates
	n.affiliates, n.endpoints = all, endpoints
	n.mu.Unlock()

	return n.publishMembership(before)
}

// ControlPlanes are the addresses of the control planes that this node knows
// of, from discovery and from the cluster endpoint.
func (n *Node) ControlPlanes() []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()

	var addresses []netip.Addr

	for _, affiliate := range n.affiliates {
		if affiliate.MachineType.IsControlPlane() && affiliate.Nodename != "" {
			addresses = append(addresses, affiliate.Addresses...)
		}
	}

	addresses = append(addresses, n.endpoints...)
	slices.SortFunc(addresses, netip.Addr.Compare)

	return slices.Compact(addresses)
}

// OtherControlPlanes are the control planes but this node.
func (n *Node) OtherControlPlanes() []netip.Addr {
	own := n.AllIPs()

	return slices.DeleteFunc(n.ControlPlanes(), func(address netip.Addr) bool { return slices.Contains(own, address) })
}
