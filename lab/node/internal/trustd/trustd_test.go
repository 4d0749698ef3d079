package trustd_test

import (
	"context"
	"crypto/tls"
	stdx509 "crypto/x509"
	"encoding/pem"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"
	"github.com/siderolabs/talos/pkg/machinery/constants"

	"cluster-stack/lab/node/internal/pki"
	"cluster-stack/lab/node/internal/trustd"
)

func machines(t *testing.T) (controlPlane, worker config.MachineConfig) {
	t.Helper()

	input, err := generate.NewInput("home", "https://127.79.0.1:6443", "1.33.0")
	if err != nil {
		t.Fatal(err)
	}

	first, err := input.Config(machine.TypeControlPlane)
	if err != nil {
		t.Fatal(err)
	}

	second, err := input.Config(machine.TypeWorker)
	if err != nil {
		t.Fatal(err)
	}

	return first.Machine(), second.Machine()
}

func TestAWorkerGetsAServerCertificateAndNoMore(t *testing.T) {
	controlPlane, worker := machines(t)
	_, stranger := machines(t)
	address, own := netip.MustParseAddr("127.79.0.1"), netip.MustParseAddr("127.79.0.2")

	certificate, err := pki.Trustd(controlPlane, pki.Subject{CommonName: "cp1", Addresses: []netip.Addr{address}})
	if err != nil {
		t.Fatal(err)
	}

	listener, err := net.Listen("tcp", netip.AddrPortFrom(address, constants.TrustdPort).String())
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	server := &trustd.Server{
		Machine:  func() config.MachineConfig { return controlPlane },
		Identity: func() *tls.Certificate { return &certificate },
		Logf:     t.Logf,
	}

	go server.Serve(ctx, listener) //nolint:errcheck

	csr, key, err := pki.WorkerRequest(worker, pki.Subject{CommonName: "worker1", Addresses: []netip.Addr{own}})
	if err != nil {
		t.Fatal(err)
	}

	// the first endpoint is down: the next one is asked
	ca, crt, err := trustd.Request(ctx, worker, []netip.Addr{netip.MustParseAddr("127.79.0.9"), address}, csr)
	if err != nil {
		t.Fatal(err)
	}

	if _, err := pki.Worker(crt, key, ca); err != nil {
		t.Error(err)
	}

	block, _ := pem.Decode(crt)

	signed, err := stdx509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}

	if len(signed.ExtKeyUsage) != 1 || signed.ExtKeyUsage[0] != stdx509.ExtKeyUsageServerAuth || len(signed.Subject.Organization) > 0 {
		t.Errorf("%v, %v", signed.ExtKeyUsage, signed.Subject)
	}

	if _, _, err := trustd.Request(ctx, tokenOf{worker, stranger.Security().Token()}, []netip.Addr{address}, csr); err == nil ||
		!strings.Contains(err.Error(), "Unauthenticated desc = invalid token") {
		t.Error(err)
	}

	if _, _, err := trustd.Request(ctx, stranger, []netip.Addr{address}, csr); err == nil ||
		!strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}

	if _, _, err := trustd.Request(ctx, worker, nil, csr); err == nil {
		t.Error("a request to nobody succeeds")
	}
}

// tokenOf is a machine with another token.
type tokenOf struct {
	config.MachineConfig

	token string
}

func (m tokenOf) Security() config.Security { return securityOf{m.MachineConfig.Security(), m.token} }

type securityOf struct {
	config.Security

	token string
}

func (s securityOf) Token() string { return s.token }
