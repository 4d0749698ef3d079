// Package etcd runs the etcd member of a control plane: the real server, as a
// program of the machine, with mutual TLS from the machine configuration's etcd
// authority. It knows how a member starts, joins, leaves and is asked; when to
// do so is decided by the machine.
package etcd

import (
	"context"
	"crypto/tls"
	stdx509 "crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/siderolabs/crypto/x509"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/resources/etcd"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"cluster-stack/lab/node/internal/pki"
	"cluster-stack/lab/node/internal/process"
)

const (
	dialTimeout      = 5 * time.Second
	callTimeout      = 15 * time.Second
	stopTimeout      = 10 * time.Second // of Talos' service runner
	recoveryFile     = "etcd.snapshot"
	privateFile      = os.FileMode(0o600)
	privateDirectory = os.FileMode(0o700)

	authority         = "ca.crt"
	serverCertificate = "server.crt"
	serverKey         = "server.key"
	peerCertificate   = "peer.crt"
	peerKey           = "peer.key"
)

// cipherSuites are those that Talos lets etcd offer.
const cipherSuites = "ETCD_CIPHER_SUITES=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256," +
	"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384," +
	"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305,TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"

// Config is what a member is made of.
type Config struct {
	Spec    etcd.SpecSpec
	DataDir string // on the EPHEMERAL partition
	PKIDir  string // etcd reads its certificates from files
	PKI     *pki.Etcd
	Env     []string
	Log     func(line string)
}

// Member is the etcd member of this machine, running or not.
type Member struct {
	config Config

	mu        sync.Mutex
	pki       *pki.Etcd
	command   []string
	process   *process.Process
	id        uint64 // once it is known
	dismissed bool   // stopped on purpose, or about to be
}

// NewMember prepares a member and writes its certificates.
func NewMember(config Config) (*Member, error) {
	member := &Member{config: config}

	if _, err := member.arguments(nil); err != nil {
		return nil, err
	}

	if err := member.SetPKI(config.PKI); err != nil {
		return nil, err
	}

	return member, os.MkdirAll(config.DataDir, privateDirectory)
}

// SetPKI writes other certificates; etcd reads them with every connection.
func (m *Member) SetPKI(certificates *pki.Etcd) error {
	if err := os.MkdirAll(m.config.PKIDir, privateDirectory); err != nil {
		return err
	}

	for name, data := range map[string][]byte{
		authority:         certificates.CA,
		serverCertificate: certificates.Server.Crt, serverKey: certificates.Server.Key,
		peerCertificate: certificates.Peer.Crt, peerKey: certificates.Peer.Key,
	} {
		if err := replaceFile(filepath.Join(m.config.PKIDir, name), data); err != nil {
			return err
		}
	}

	m.mu.Lock()
	m.pki = certificates
	m.mu.Unlock()

	return nil
}

// PKI are the certificates that the member has now.
func (m *Member) PKI() *pki.Etcd {
	m.mu.Lock()
	defer m.mu.Unlock()

	return m.pki
}

func replaceFile(path string, data []byte) error {
	draft := path + ".new"

	if err := os.WriteFile(draft, data, privateFile); err != nil {
		return err
	}

	return os.Rename(draft, path)
}

// HasData reports whether the data directory holds anything: the member
// belongs to a cluster already.
func HasData(dataDir string) bool {
	entries, err := os.ReadDir(dataDir)

	return err == nil && len(entries) > 0
}

func (m *Member) name() string { return m.config.Spec.Name }

func (m *Member) peerURLs() []string {
	return urls(m.config.Spec.AdvertisedAddresses, constants.EtcdPeerPort)
}

// Endpoint is the member's client endpoint for this machine itself.
func (m *Member) Endpoint() string {
	address := m.config.Spec.ListenClientAddresses[0]
	if address.IsUnspecified() {
		address = loopback
	}

	return netip.AddrPortFrom(address, constants.EtcdClientPort).String()
}

// Bootstrap starts a new cluster of one member.
func (m *Member) Bootstrap() error {
	return m.begin(&cluster{members(m.name(), m.peerURLs()), stateNew})
}

// Resume starts a member that has data.
func (m *Member) Resume() error { return m.begin(nil) }

// Join adds this machine as a learner to the cluster that the endpoints belong
// to and starts it. It returns the learner's id, to be promoted.
func (m *Member) Join(ctx context.Context, endpoints []netip.Addr) (uint64, error) {
	initial, id, err := m.addLearner(ctx, endpoints)
	if err != nil {
		return 0, err
	}

	return id, m.begin(&cluster{initial, stateExisting})
}

func (m *Member) addLearner(ctx context.Context, endpoints []netip.Addr) (string, uint64, error) {
	client, err := m.Client(endpoints)
	if err != nil {
		return "", 0, err
	}

	defer client.Close() //nolint:errcheck

	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), callTimeout)
	defer cancel()

	list, err := client.MemberList(ctx)
	if err != nil {
		return "", 0, fmt.Errorf("error getting etcd member list: %w", err)
	}

	for _, member := range list.Members {
		// A member of this name is this machine before its disk was wiped. One
		// without a name at this address is this machine too: it was killed
		// after it had been added and before it had started.
		if member.Name == m.name() || (member.Name == "" && slices.Equal(member.PeerURLs, m.peerURLs())) {
			if _, err := client.MemberRemove(ctx, member.ID); err != nil {
				return "", 0, fmt.Errorf("error removing self from the member list: %w", err)
			}
		}
	}

	added, err := client.MemberAddAsLearner(ctx, m.peerURLs())
	if err != nil {
		return "", 0, fmt.Errorf("error adding member: %w", err)
	}

	var initial []string

	for _, member := range added.Members {
		name := member.Name
		if member.ID == added.Member.ID {
			name = m.name()
		}

		initial = append(initial, members(name, member.PeerURLs))
	}

	return strings.Join(initial, ","), added.Member.ID, nil
}

// Promote makes a learner a voting member; it fails until the learner has
// caught up with the leader.
func (m *Member) Promote(ctx context.Context, id uint64, endpoints []netip.Addr) error {
	var failed error

	for _, endpoint := range endpoints {
		failed = m.promoteAt(ctx, id, endpoint)
		if failed == nil || errors.Is(failed, rpctypes.ErrMemberNotLearner) {
			return nil
		}
	}

	if failed == nil {
		return errors.New("no other control plane is known")
	}

	return failed
}

func (m *Member) promoteAt(ctx context.Context, id uint64, endpoint netip.Addr) error {
	client, err := m.Client([]netip.Addr{endpoint})
	if err != nil {
		return err
	}

	defer client.Close() //nolint:errcheck

	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()

	_, err = client.MemberPromote(ctx, id)

	return err
}

// begin starts etcd with new arguments.
func (m *Member) begin(initial *cluster) error {
	list, err := m.arguments(initial)
	if err != nil {
		return err
	}

	m.mu.Lock()
	defer m.mu.Unlock()

	if m.process != nil {
		return errors.New("etcd is already running")
	}

	m.command, m.id = list, 0

	return m.start()
}

// Restart starts etcd once more, as it was started before.
func (m *Member) Restart() error {
	m.mu.Lock()
	defer m.mu.Unlock()

	return m.start()
}

func (m *Member) start() error {
	started, err := process.Start(process.Program{
		Name: "etcd", Arguments: m.command, Env: append(slices.Clone(m.config.Env), cipherSuites), Log: m.config.Log,
	})
	if err != nil {
		return err
	}

	m.process, m.dismissed = started, false

	return nil
}

// Process is the running etcd, nil where none runs.
func (m *Member) Process() *process.Process {
	m.mu.Lock()
	defer m.mu.Unlock()

	return m.process
}

// Dismissed reports whether the member was stopped on purpose.
func (m *Member) Dismissed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()

	return m.dismissed
}

// Stop stops the member, on purpose.
func (m *Member) Stop() {
	m.mu.Lock()
	running := m.process
	m.process, m.dismissed = nil, true
	m.mu.Unlock()

	if running != nil {
		running.Stop(stopTimeout)
	}
}

// Ended takes note of a process that has ended by itself.
func (m *Member) Ended(process *process.Process) {
	m.mu.Lock()
	defer m.mu.Unlock()

	if m.process == process {
		m.process = nil
	}
}

// Client is a client of the members at the addresses.
func (m *Member) Client(addresses []netip.Addr) (*clientv3.Client, error) {
	if len(addresses) == 0 {
		return nil, errors.New("no control plane endpoints discovered")
	}

	return m.client(urls(addresses, constants.EtcdClientPort))
}

func (m *Member) client(endpoints []string) (*clientv3.Client, error) {
	certificates := m.PKI()

	tlsConfig, err := clientTLS(certificates.CA, certificates.Admin)
	if err != nil {
		return nil, err
	}

	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, DialTimeout: dialTimeout, TLS: tlsConfig, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithSharedWriteBuffer(true)},
	})
	if err != nil {
		return nil, fmt.Errorf("error building etcd client: %w", err)
	}

	return client, nil
}

// LocalClient is a client of this member alone.
func (m *Member) LocalClient() (*clientv3.Client, error) {
	return m.client([]string{m.Endpoint()})
}

func clientTLS(ca []byte, admin *x509.PEMEncodedCertificateAndKey) (*tls.Config, error) {
	certificate, err := tls.X509KeyPair(admin.Crt, admin.Key)
	if err != nil {
		return nil, err
	}

	roots := stdx509.NewCertPool()
	roots.AppendCertsFromPEM(ca)

	return &tls.Config{Certificates: []tls.Certificate{certificate}, RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

// Health fails unless the cluster has a quorum that this member can reach.
func (m *Member) Health(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

	_, err := client.Get(ctx, "health")
	if errors.Is(err, rpctypes.ErrPermissionDenied) {
		return nil
	}

	return err
}

// ID is the member's id.
func (m *Member) ID(ctx context.Context) (uint64, error) {
	m.mu.Lock()
	id := m.id
	m.mu.Unlock()

	if id != 0 {
		return id, nil
	}

	client, err := m.LocalClient()
	if err != nil {
		return 0, err
	}

	defer client.Close() //nolint:errcheck

	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()

	status, err := client.Status(ctx, m.Endpoint())
	if err != nil {
		return 0, fmt.Errorf("error getting etcd member ID: %w", err)
	}

	m.mu.Lock()
	m.id = status.Header.MemberId
	m.mu.Unlock()

	return status.Header.MemberId, nil
}

// Advertise tells the cluster the addresses at which the member is now.
func (m *Member) Advertise(ctx context.Context, client *clientv3.Client, addresses []netip.Addr) error {
	id, err := m.ID(ctx)
	if err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

	list, err := client.MemberList(ctx)
	if err != nil {
		return fmt.Errorf("error getting member list: %w", err)
	}

	wanted := urls(addresses, constants.EtcdPeerPort)

	for _, member := range list.Members {
		if member.ID == id && !slices.Equal(member.PeerURLs, wanted) {
			if _, err = client.MemberUpdate(ctx, id, wanted); err != nil {
				return fmt.Errorf("error updating member: %w", err)
			}
		}
	}

	return nil
}

// Leave removes this member from the cluster, stops it and deletes its data.
func (m *Member) Leave(ctx context.Context, endpoints []netip.Addr) error {
	id, err := m.ID(ctx)
	if err != nil {
		return err
	}

	client, err := m.Client(endpoints)
	if err != nil {
		return fmt.Errorf("failed to create etcd client: %w", err)
	}

	defer client.Close() //nolint:errcheck

	ctx = clientv3.WithRequireLeader(ctx)

	// once it is removed, etcd ends by itself
	m.setDismissed(true)

	for {
		err := removeMember(ctx, client, id)
		if err == nil || errors.Is(err, rpctypes.ErrMemberNotFound) {
			break
		}

		// unhealthy: not yet connected with a quorum; stopped: shutting down
		if !errors.Is(err, rpctypes.ErrUnhealthy) && !errors.Is(err, rpctypes.ErrStopped) {
			m.setDismissed(false)

			return fmt.Errorf("failed to leave cluster: %w", err)
		}

		select {
		case <-ctx.Done():
			m.setDismissed(false)

			return fmt.Errorf("failed to leave cluster: %w", err)
		case <-time.After(time.Second):
		}
	}

	m.Stop()

	return os.RemoveAll(m.config.DataDir)
}

func (m *Member) setDismissed(dismissed bool) {
	m.mu.Lock()
	m.dismissed = dismissed
	m.mu.Unlock()
}

func removeMember(ctx context.Context, client *clientv3.Client, id uint64) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

	if _, err := client.MemberRemove(ctx, id); err != nil {
		return fmt.Errorf("failed to remove member %d: %w", id, err)
	}

	return nil
}

// ForfeitLeadership hands the leadership to another member, when this one has
// it, and returns the name of the new leader.
func (m *Member) ForfeitLeadership(ctx context.Context) (string, error) {
	client, err := m.LocalClient()
	if err != nil {
		return "", err
	}

	defer client.Close() //nolint:errcheck

	list, err := client.MemberList(ctx)
	if err != nil {
		return "", fmt.Errorf("failed to list etcd members: %w", err)
	}

	if len(list.Members) == 1 {
		return "", errors.New("cannot forfeit leadership, only one member")
	}

	id, err := m.ID(ctx)
	if err != nil {
		return "", err
	}

	status, err := client.Status(ctx, m.Endpoint())
	if err != nil {
		return "", err
	}

	if status.Leader != id {
		return "", nil
	}

	next := successor(list.Members, id)
	if next == nil {
		return "", nil
	}

	if _, err := client.MoveLeader(ctx, next.ID); err != nil && !errors.Is(err, rpctypes.ErrNotLeader) {
		return "", err
	}

	return next.Name, nil
}

func successor(members []*etcdserverpb.Member, leader uint64) *etcdserverpb.Member {
	for _, member := range members {
		if member.ID != leader && !member.IsLearner {
			return member
		}
	}

	return nil
}
