// Package pki issues the certificates of a node from the authorities in its
// machine configuration: API server and client, trustd, etcd, and the admin
// kubeconfig. It keeps nothing; key material stays in memory except what etcd
// must read from files.
package pki

import (
	"bytes"
	"crypto/tls"
	stdx509 "crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/siderolabs/crypto/x509"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/role"

	"cluster-stack/lab/node/internal/clock"
)

// Subject is whom a server certificate is for.
type Subject struct {
	CommonName string
	Addresses  []netip.Addr
	DNSNames   []string
}

// AddAddresses adds those that are not there yet.
func (s *Subject) AddAddresses(addresses ...netip.Addr) {
	for _, address := range addresses {
		if !slices.Contains(s.Addresses, address) {
			s.Addresses = append(s.Addresses, address)
		}
	}
}

// AddNames adds those that are not there yet.
func (s *Subject) AddNames(names ...string) {
	for _, name := range names {
		if name != "" && !slices.Contains(s.DNSNames, name) {
			s.DNSNames = append(s.DNSNames, name)
		}
	}
}

func (s Subject) options() []x509.Option {
	addresses := make([]net.IP, 0, len(s.Addresses))
	for _, address := range s.Addresses {
		addresses = append(addresses, net.IP(address.AsSlice()))
	}

	return []x509.Option{x509.CommonName(s.CommonName), x509.IPAddresses(addresses), x509.DNSNames(s.DNSNames)}
}

// Identity is the TLS identity of an API server.
type Identity struct {
	Server      tls.Certificate
	Client      *tls.Certificate // nil on workers: only control planes may speak for others
	AcceptedCAs []byte           // PEM
	VerifyPeers bool
}

func pair(keyPair *x509.PEMEncodedCertificateAndKey) (tls.Certificate, error) {
	return tls.X509KeyPair(keyPair.Crt, keyPair.Key)
}

func issue(ca *x509.PEMEncodedCertificateAndKey, options ...x509.Option) (*x509.PEMEncodedCertificateAndKey, error) {
	authority, err := x509.NewCertificateAuthorityFromCertificateAndKey(ca)
	if err != nil {
		return nil, fmt.Errorf("failed to parse CA certificate: %w", err)
	}

	keyPair, err := x509.NewKeyPair(authority, options...)
	if err != nil {
		return nil, err
	}

	return x509.NewCertificateAndKeyFromKeyPair(keyPair), nil
}

// validFrom is how long what is issued at a time is valid.
func validFrom(issued time.Time) []x509.Option {
	return []x509.Option{x509.NotBefore(issued), x509.NotAfter(issued.Add(x509.DefaultCertificateValidityDuration))}
}

func serverOptions(subject Subject, usage stdx509.KeyUsage, issued time.Time) []x509.Option {
	return slices.Concat(subject.options(), validFrom(issued), []x509.Option{x509.KeyUsage(usage),
		x509.ExtKeyUsage([]stdx509.ExtKeyUsage{stdx509.ExtKeyUsageServerAuth})})
}

// Maintenance makes the identity of a machine without a configuration: a
// certificate of an authority made up at boot, and clients are not verified.
func Maintenance(subject Subject) (*Identity, error) {
	authority, err := x509.NewSelfSignedCertificateAuthority()
	if err != nil {
		return nil, err
	}

	subject.CommonName = constants.MaintenanceServiceCommonName
	ca := x509.NewCertificateAndKeyFromCertificateAuthority(authority)

	server, err := issue(ca, serverOptions(subject, stdx509.KeyUsageDigitalSignature, clock.Now())...)
	if err != nil {
		return nil, err
	}

	certificate, err := pair(server)
	if err != nil {
		return nil, err
	}

	return &Identity{Server: certificate, AcceptedCAs: ca.Crt}, nil
}

// AcceptedCAs are the authorities whose clients are accepted, in PEM.
func AcceptedCAs(machine config.MachineConfig) []byte {
	var accepted [][]byte

	for _, ca := range machine.Security().AcceptedCAs() {
		accepted = append(accepted, ca.Crt)
	}

	if ca := machine.Security().IssuingCA(); ca != nil {
		accepted = append(accepted, ca.Crt)
	}

	return bytes.Join(accepted, []byte("\n"))
}

// ControlPlane makes a control plane's identity with the configuration's CA. Its
// API shows a certificate that was issued at the time given.
func ControlPlane(machine config.MachineConfig, subject Subject, issued time.Time) (*Identity, error) {
	ca := machine.Security().IssuingCA()

	server, err := issue(ca, serverOptions(subject, stdx509.KeyUsageDigitalSignature, issued)...)
	if err != nil {
		return nil, fmt.Errorf("failed to generate API server cert: %w", err)
	}

	client, err := issue(ca, append(validFrom(clock.Now()),
		x509.CommonName(subject.CommonName), x509.Organization(string(role.Impersonator)),
		x509.KeyUsage(stdx509.KeyUsageDigitalSignature), x509.ExtKeyUsage([]stdx509.ExtKeyUsage{stdx509.ExtKeyUsageClientAuth}))...)
	if err != nil {
		return nil, fmt.Errorf("failed to generate API client cert: %w", err)
	}

	serverPair, err := pair(server)
	if err != nil {
		return nil, err
	}

	clientPair, err := pair(client)
	if err != nil {
		return nil, err
	}

	return &Identity{Server: serverPair, Client: &clientPair, AcceptedCAs: AcceptedCAs(machine), VerifyPeers: true}, nil
}

// Trustd makes the server certificate of trustd.
func Trustd(machine config.MachineConfig, subject Subject) (tls.Certificate, error) {
	server, err := issue(machine.Security().IssuingCA(),
		serverOptions(subject, stdx509.KeyUsageDigitalSignature|stdx509.KeyUsageKeyEncipherment, clock.Now())...)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("failed to generate trustd server cert: %w", err)
	}

	return pair(server)
}

// WorkerRequest makes the key of a worker's API server and the request to have
// it signed by a control plane.
func WorkerRequest(machine config.MachineConfig, subject Subject) (csr, key []byte, err error) {
	template, err := lastCA(machine)
	if err != nil {
		return nil, nil, err
	}

	request, identity, err := x509.NewCSRAndIdentityFromCA(template, subject.options()...)
	if err != nil {
		return nil, nil, fmt.Errorf("failed to generate API server CSR: %w", err)
	}

	return request.X509CertificateRequestPEM, identity.Key, nil
}

func lastCA(machine config.MachineConfig) (*stdx509.Certificate, error) {
	if ca := machine.Security().IssuingCA(); ca != nil {
		return ca.GetCert()
	}

	accepted := machine.Security().AcceptedCAs()
	if len(accepted) == 0 {
		return nil, errors.New("no accepted CAs")
	}

	return accepted[len(accepted)-1].GetCert()
}

// Worker puts a worker's identity together from what trustd answered.
func Worker(crt, key, acceptedCAs []byte) (*Identity, error) {
	certificate, err := tls.X509KeyPair(crt, key)
	if err != nil {
		return nil, err
	}

	return &Identity{Server: certificate, AcceptedCAs: acceptedCAs, VerifyPeers: true}, nil
}

// ServerConfig is the TLS configuration of the API server.
func (i *Identity) ServerConfig() *tls.Config {
	config := &tls.Config{
		Certificates: []tls.Certificate{i.Server},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2"},
		Time:         clock.Now,
	}

	if i.VerifyPeers {
		config.ClientCAs = stdx509.NewCertPool()
		config.ClientCAs.AppendCertsFromPEM(i.AcceptedCAs)
		config.ClientAuth = tls.RequireAndVerifyClientCert
		config.VerifyPeerCertificate = onlyClientAuth
	}

	return config
}

// ClientConfig is the TLS configuration for calls to other nodes, or nil.
func (i *Identity) ClientConfig() *tls.Config {
	if i.Client == nil {
		return nil
	}

	roots := stdx509.NewCertPool()
	roots.AppendCertsFromPEM(i.AcceptedCAs)

	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{*i.Client}, MinVersion: tls.VersionTLS12, Time: clock.Now}
}

func onlyClientAuth(_ [][]byte, chains [][]*stdx509.Certificate) error {
	if len(chains) == 0 {
		return errors.New("no verified chains")
	}

	for _, certificate := range chains[0] {
		if certificate.IsCA {
			continue
		}

		if !slices.Equal(certificate.ExtKeyUsage, []stdx509.ExtKeyUsage{stdx509.ExtKeyUsageClientAuth}) {
			return fmt.Errorf("certificate %q is missing the client auth extended key usage", certificate.Subject)
		}
	}

	return nil
}

// Etcd are the certificates of an etcd member.
type Etcd struct {
	Subject Subject
	CA      []byte
	Server  *x509.PEMEncodedCertificateAndKey
	Peer    *x509.PEMEncodedCertificateAndKey
	Admin   *x509.PEMEncodedCertificateAndKey
}

// etcdLifetime is how long etcd's certificates hold, as Talos issues them.
const etcdLifetime = 87600 * time.Hour

// NewEtcd issues the certificates of a member whose peers know it as the subject.
func NewEtcd(ca *x509.PEMEncodedCertificateAndKey, subject Subject) (*Etcd, error) {
	common := []x509.Option{
		x509.NotAfter(time.Now().Add(etcdLifetime)),
		x509.KeyUsage(stdx509.KeyUsageDigitalSignature | stdx509.KeyUsageKeyEncipherment),
	}
	both := x509.ExtKeyUsage([]stdx509.ExtKeyUsage{stdx509.ExtKeyUsageServerAuth, stdx509.ExtKeyUsageClientAuth})

	local := subject
	local.Addresses = slices.Concat(subject.Addresses, loopback)
	local.DNSNames = slices.Concat(subject.DNSNames, []string{"localhost"})

	server, err := issue(ca, slices.Concat(common, local.options(), []x509.Option{both})...)
	if err != nil {
		return nil, fmt.Errorf("failed to generate etcd server cert: %w", err)
	}

	peer, err := issue(ca, slices.Concat(common, subject.options(), []x509.Option{both})...)
	if err != nil {
		return nil, fmt.Errorf("failed to generate etcd peer cert: %w", err)
	}

	admin, err := issue(ca, append(common, x509.CommonName("talos"),
		x509.ExtKeyUsage([]stdx509.ExtKeyUsage{stdx509.ExtKeyUsageClientAuth}))...)
	if err != nil {
		return nil, fmt.Errorf("failed to generate etcd admin cert: %w", err)
	}

	return &Etcd{Subject: subject, CA: ca.Crt, Server: server, Peer: peer, Admin: admin}, nil
}

var loopback = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
