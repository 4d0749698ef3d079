// Package etcd runs the etcd member of a control plane: the real server,
// embedded, with mutual TLS from the machine configuration's etcd authority. It
// knows how a member starts, joins, leaves and is asked; when to do so is
// decided by the machine.
package etcd

import (
	"context"
	"crypto/tls"
	stdx509 "crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/siderolabs/crypto/x509"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.etcd.io/etcd/pkg/v3/featuregate"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/features"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"

	"cluster-stack/lab/node/internal/network"
	"cluster-stack/lab/node/internal/pki"
)

// What keeps a member small: a lab cluster holds megabytes, not gigabytes.
const (
	quotaBytes       = 256 << 20
	snapshotCount    = 1000
	catchUpEntries   = 500
	maxRequestBytes  = 3 << 19
	stopTimeout      = 10 * time.Second
	dialTimeout      = 5 * time.Second
	callTimeout      = 15 * time.Second
	recoveryFile     = "etcd.snapshot"
	stateNew         = "new"
	stateExisting    = "existing"
	privateFile      = os.FileMode(0o600)
	privateDirectory = os.FileMode(0o700)
)

// Config is what a member is made of.
type Config struct {
	Name    string
	Address netip.Addr
	DataDir string // on the EPHEMERAL partition
	PKIDir  string // etcd reads its certificates from files
	PKI     *pki.Etcd
	Log     func(line string)
	Dialer  network.Dialer
}

// Member is the etcd member of this machine, running or not.
type Member struct {
	config Config

	mu     sync.Mutex
	server *embed.Etcd
}

// NewMember prepares a member and writes its certificates.
func NewMember(config Config) (*Member, error) {
	member := &Member{config: config}

	if err := os.MkdirAll(config.PKIDir, privateDirectory); err != nil {
		return nil, err
	}

	for name, data := range map[string][]byte{
		"ca.crt":     config.PKI.CA,
		"server.crt": config.PKI.Server.Crt, "server.key": config.PKI.Server.Key,
		"peer.crt": config.PKI.Peer.Crt, "peer.key": config.PKI.Peer.Key,
	} {
		if err := os.WriteFile(filepath.Join(config.PKIDir, name), data, privateFile); err != nil {
			return nil, err
		}
	}

	return member, os.MkdirAll(config.DataDir, privateDirectory)
}

// HasData reports whether the data directory holds anything: the member
// belongs to a cluster already.
func HasData(dataDir string) bool {
	entries, err := os.ReadDir(dataDir)

	return err == nil && len(entries) > 0
}

// URL is the address of a port of the member.
func memberURL(address netip.Addr, port int) url.URL {
	return url.URL{Scheme: "https", Host: net.JoinHostPort(address.String(), strconv.Itoa(port))}
}

func (m *Member) peerURL() string {
	address := memberURL(m.config.Address, constants.EtcdPeerPort)

	return address.String()
}

// Endpoint is the member's own client endpoint.
func (m *Member) Endpoint() string {
	address := memberURL(m.config.Address, constants.EtcdClientPort)

	return address.String()
}

// Bootstrap starts a new cluster of one member.
func (m *Member) Bootstrap() error {
	return m.start(m.config.Name+"="+m.peerURL(), stateNew)
}

// Resume starts a member that has data.
func (m *Member) Resume() error { return m.start("", stateExisting) }

// Recover makes the data directory from an uploaded snapshot and starts a new
// cluster of one member with it.
func (m *Member) Recover(skipHashCheck bool) error {
	path := m.RecoveryPath()

	if err := snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath: path, Name: m.config.Name, OutputDataDir: m.config.DataDir,
		PeerURLs: []string{m.peerURL()}, InitialCluster: m.config.Name + "=" + m.peerURL(), SkipHashCheck: skipHashCheck,
	}); err != nil {
		return fmt.Errorf("error recovering from the snapshot: %w", err)
	}

	if err := os.Remove(path); err != nil {
		return fmt.Errorf("error deleting snapshot: %w", err)
	}

	return m.Resume()
}

// RecoveryPath is where an uploaded snapshot waits for the bootstrap.
func (m *Member) RecoveryPath() string {
	return filepath.Join(filepath.Dir(m.config.DataDir), recoveryFile)
}

// Join adds this machine as a learner to the cluster that the endpoints belong
// to and starts it. It returns the learner's id, to be promoted.
func (m *Member) Join(ctx context.Context, endpoints []netip.Addr) (uint64, error) {
	initial, id, err := m.addLearner(ctx, endpoints)
	if err != nil {
		return 0, err
	}

	return id, m.start(initial, stateExisting)
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
		if member.Name == m.config.Name || (member.Name == "" && len(member.PeerURLs) == 1 && member.PeerURLs[0] == m.peerURL()) {
			if _, err := client.MemberRemove(ctx, member.ID); err != nil {
				return "", 0, fmt.Errorf("error removing self from the member list: %w", err)
			}
		}
	}

	added, err := client.MemberAddAsLearner(ctx, []string{m.peerURL()})
	if err != nil {
		return "", 0, fmt.Errorf("error adding member: %w", err)
	}

	var initial []string

	for _, member := range added.Members {
		name := member.Name
		if member.ID == added.Member.ID {
			name = m.config.Name
		}

		for _, peer := range member.PeerURLs {
			initial = append(initial, name+"="+peer)
		}
	}

	return strings.Join(initial, ","), added.Member.ID, nil
}

// Promote makes a learner a voting member; it fails until the learner has
// caught up with the leader.
func (m *Member) Promote(ctx context.Context, id uint64, endpoints []netip.Addr) error {
	var failed error

	for _, endpoint := range endpoints {
		if endpoint == m.config.Address {
			continue
		}

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

func (m *Member) start(initialCluster, clusterState string) error {
	m.mu.Lock()
	defer m.mu.Unlock()

	if m.server != nil {
		return errors.New("etcd is already running")
	}

	server, err := embed.StartEtcd(m.serverConfig(initialCluster, clusterState))
	if err != nil {
		return err
	}

	m.server = server

	return nil
}

func (m *Member) serverConfig(initialCluster, clusterState string) *embed.Config {
	file := func(name string) string { return filepath.Join(m.config.PKIDir, name) }
	tlsInfo := func(kind string) transport.TLSInfo {
		return transport.TLSInfo{
			CertFile: file(kind + ".crt"), KeyFile: file(kind + ".key"), TrustedCAFile: file("ca.crt"), ClientCertAuth: true,
		}
	}

	peer := memberURL(m.config.Address, constants.EtcdPeerPort)
	client := memberURL(m.config.Address, constants.EtcdClientPort)

	config := embed.NewConfig()
	config.Name = m.config.Name
	config.Dir = m.config.DataDir
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ClientTLSInfo, config.PeerTLSInfo = tlsInfo("server"), tlsInfo("peer")
	config.ClusterState = clusterState

	if initialCluster == "" {
		// ignored by a member with data, but must name the member
		initialCluster = m.config.Name + "=" + peer.String()
	}

	config.InitialCluster = initialCluster
	config.QuotaBackendBytes = quotaBytes
	config.SnapshotCount = snapshotCount
	config.SnapshotCatchUpEntries = catchUpEntries
	config.MaxRequestBytes = maxRequestBytes

	// peers are told apart by where their connections come from
	if err := config.ServerFeatureGate.(featuregate.MutableFeatureGate).SetFromMap(
		map[string]bool{string(features.SetMemberLocalAddr): true},
	); err != nil {
		panic(err) // the feature is of this very version
	}

	// A killed process loses nothing that it has written; only a power cut of
	// the whole host would, and then the lab starts anew.
	config.UnsafeNoFsync = true

	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.ISO8601TimeEncoder
	core := zapcore.NewCore(zapcore.NewJSONEncoder(encoder), zapcore.AddSync(lineWriter(m.config.Log)), zapcore.InfoLevel)
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(core))

	return config
}

type lineWriter func(line string)

func (w lineWriter) Write(data []byte) (int, error) {
	w(strings.TrimRight(string(data), "\n"))

	return len(data), nil
}

// Running reports whether the member runs.
func (m *Member) Running() bool {
	m.mu.Lock()
	defer m.mu.Unlock()

	return m.server != nil
}

// Stopped is closed when the running member stops, wanted or not.
func (m *Member) Stopped() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()

	if m.server == nil {
		stopped := make(chan struct{})
		close(stopped)

		return stopped
	}

	return m.server.Server.StopNotify()
}

// Stop stops the member.
func (m *Member) Stop() {
	m.mu.Lock()
	server := m.server
	m.server = nil
	m.mu.Unlock()

	if server == nil {
		return
	}

	closed := make(chan struct{})

	go func() {
		defer close(closed)

		server.Close()
	}()

	select {
	case <-closed:
	case <-time.After(stopTimeout):
	}
}

// Client is a client of the members at the addresses.
func (m *Member) Client(addresses []netip.Addr) (*clientv3.Client, error) {
	if len(addresses) == 0 {
		return nil, errors.New("no control plane endpoints discovered")
	}

	endpoints := make([]string, 0, len(addresses))

	for _, address := range addresses {
		endpoint := memberURL(address, constants.EtcdClientPort)
		endpoints = append(endpoints, endpoint.String())
	}

	tlsConfig, err := clientTLS(m.config.PKI.CA, m.config.PKI.Admin)
	if err != nil {
		return nil, err
	}

	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, DialTimeout: dialTimeout, TLS: tlsConfig, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{m.config.Dialer.GRPC()},
	})
	if err != nil {
		return nil, fmt.Errorf("error building etcd client: %w", err)
	}

	return client, nil
}

// LocalClient is a client of this member alone.
func (m *Member) LocalClient() (*clientv3.Client, error) {
	return m.Client([]netip.Addr{m.config.Address})
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
func (m *Member) ID() (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()

	if m.server == nil {
		return 0, errors.New("etcd is not running")
	}

	return uint64(m.server.Server.MemberID()), nil
}

// Readdress tells the cluster the member's address after it has changed.
func (m *Member) Readdress(ctx context.Context, client *clientv3.Client) error {
	id, err := m.ID()
	if err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

	list, err := client.MemberList(ctx)
	if err != nil {
		return err
	}

	for _, member := range list.Members {
		if member.ID == id && (len(member.PeerURLs) != 1 || member.PeerURLs[0] != m.peerURL()) {
			_, err = client.MemberUpdate(ctx, id, []string{m.peerURL()})
		}
	}

	return err
}

// Leave removes this member from the cluster, stops it and deletes its data.
func (m *Member) Leave(ctx context.Context, endpoints []netip.Addr) error {
	id, err := m.ID()
	if err != nil {
		return err
	}

	client, err := m.Client(endpoints)
	if err != nil {
		return fmt.Errorf("failed to create etcd client: %w", err)
	}

	defer client.Close() //nolint:errcheck

	ctx = clientv3.WithRequireLeader(ctx)

	for {
		err := removeMember(ctx, client, id)
		if err == nil || errors.Is(err, rpctypes.ErrMemberNotFound) {
			break
		}

		// unhealthy: not yet connected with a quorum; stopped: shutting down
		if !errors.Is(err, rpctypes.ErrUnhealthy) && !errors.Is(err, rpctypes.ErrStopped) {
			return fmt.Errorf("failed to leave cluster: %w", err)
		}

		select {
		case <-ctx.Done():
			return fmt.Errorf("failed to leave cluster: %w", err)
		case <-time.After(time.Second):
		}
	}

	m.Stop()

	return os.RemoveAll(m.config.DataDir)
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

	id, err := m.ID()
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
