// Package trustd is the trust daemon of control planes: it signs the server
// certificates of workers that know the machine token. Both sides speak Talos'
// own security API.
package trustd

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	stdx509 "crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/siderolabs/crypto/x509"
	"github.com/siderolabs/talos/pkg/machinery/api/security"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"cluster-stack/lab/node/internal/pki"
)

const tokenKey = "token"

// Server signs certificate requests.
type Server struct {
	security.UnimplementedSecurityServiceServer

	// Machine is the current configuration of the machine.
	Machine func() config.MachineConfig
	// Identity is the current server certificate.
	Identity func() *tls.Certificate
	// Logf writes to the service's log.
	Logf func(format string, args ...any)
}

// Serve serves on the listener until the context ends.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	tlsConfig := &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.Identity(), nil
		},
	}

	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(tlsConfig)), grpc.UnaryInterceptor(s.authenticate))
	security.RegisterSecurityServiceServer(server, s)

	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()

	return server.Serve(listener)
}

func (s *Server) authenticate(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	md, _ := metadata.FromIncomingContext(ctx)

	tokens := md.Get(tokenKey)
	if len(tokens) == 0 {
		return nil, status.Error(codes.Unauthenticated, "missing token")
	}

	given, expected := sha256.Sum256([]byte(tokens[0])), sha256.Sum256([]byte(s.Machine().Security().Token()))
	if subtle.ConstantTimeCompare(given[:], expected[:]) != 1 {
		return nil, status.Error(codes.Unauthenticated, "invalid token")
	}

	return handler(ctx, request)
}

// Certificate signs a request: for a server only, whoever it says it is.
func (s *Server) Certificate(_ context.Context, in *security.CertificateRequest) (*security.CertificateResponse, error) {
	block, _ := pem.Decode(in.Csr)
	if block == nil {
		return nil, status.Error(codes.InvalidArgument, "failed to decode CSR")
	}

	request, err := stdx509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "failed to parse CSR: %s", err)
	}

	s.Logf("received CSR signing request: subject %s dns names %s addresses %s", request.Subject, request.DNSNames, request.IPAddresses)

	machine := s.Machine()
	ca := machine.Security().IssuingCA()

	signed, err := x509.NewCertificateFromCSRBytes(ca.Crt, ca.Key, in.Csr,
		x509.KeyUsage(stdx509.KeyUsageDigitalSignature),
		x509.ExtKeyUsage([]stdx509.ExtKeyUsage{stdx509.ExtKeyUsageServerAuth}),
		// roles are organizations: a signed request never carries one
		x509.OverrideSubject(func(subject *pkix.Name) { subject.Organization = nil }))
	if err != nil {
		return nil, status.Errorf(codes.Internal, "failed to sign CSR: %s", err)
	}

	return &security.CertificateResponse{Ca: pki.AcceptedCAs(machine), Crt: signed.X509CertificatePEM}, nil
}

func endpoint(address netip.Addr) string {
	return net.JoinHostPort(address.String(), strconv.Itoa(constants.TrustdPort))
}

// Request asks the control planes in turn to sign a worker's certificate.
func Request(ctx context.Context, machine config.MachineConfig, addresses []netip.Addr, csr []byte) (ca, crt []byte, err error) {
	if len(addresses) == 0 {
		return nil, nil, errors.New("no control plane endpoints are known yet")
	}

	for _, address := range addresses {
		ca, crt, err = requestFrom(ctx, machine, address, csr)
		if err == nil {
			return ca, crt, nil
		}

		err = fmt.Errorf("trustd at %s: %w", address, err)
	}

	return nil, nil, err
}

const attemptTimeout = 5 * time.Second

func requestFrom(
	ctx context.Context, machine config.MachineConfig, address netip.Addr, csr []byte,
) (ca, crt []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()

	roots := stdx509.NewCertPool()
	roots.AppendCertsFromPEM(pki.AcceptedCAs(machine))

	connection, err := grpc.NewClient("passthrough:///"+endpoint(address),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})))
	if err != nil {
		return nil, nil, err
	}

	defer connection.Close() //nolint:errcheck

	ctx = metadata.AppendToOutgoingContext(ctx, tokenKey, machine.Security().Token())

	response, err := security.NewSecurityServiceClient(connection).Certificate(ctx, &security.CertificateRequest{Csr: csr})
	if err != nil {
		return nil, nil, err
	}

	return response.Ca, response.Crt, nil
}
