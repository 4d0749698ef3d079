package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	sidero "github.com/siderolabs/crypto/x509"
	"github.com/siderolabs/talos/pkg/machinery/api/common"
	machineapi "github.com/siderolabs/talos/pkg/machinery/api/machine"
	storageapi "github.com/siderolabs/talos/pkg/machinery/api/storage"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// fakeMachine is as much of Talos' API as the resources call, behind real TLS on the loopback device: without client
// certificates in maintenance mode, with them (from the cluster's authority) when it runs.
type fakeMachine struct {
	machineapi.UnimplementedMachineServiceServer
	storageapi.UnimplementedStorageServiceServer

	address string

	// What the calls answer; nil means success.
	apply     func(ctx context.Context, call int) error
	bootstrap func(ctx context.Context, call int) error
	// The mode that a dry run answers.
	dryRunMode machineapi.ApplyConfigurationRequest_Mode
	kubeconfig []byte
	bootIDs    []string
	events     []proto.Message

	mu         sync.Mutex
	calls      []call
	resetAsked chan struct{}
}

// call is one request that reached the machine.
type call struct {
	method  string
	node    string
	role    string
	request proto.Message
}

func startMachine(t *testing.T, bundle *secrets.Bundle, maintenance bool) *fakeMachine {
	t.Helper()

	m := &fakeMachine{resetAsked: make(chan struct{})}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	m.address = listener.Addr().String()

	config := &tls.Config{Certificates: []tls.Certificate{serverCertificate(t, bundle.Certs.OS)}}
	if !maintenance {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(bundle.Certs.OS.Crt)
		config.ClientCAs = pool
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}

	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	machineapi.RegisterMachineServiceServer(server, m)
	storageapi.RegisterStorageServiceServer(server, m)

	go server.Serve(listener) //nolint:errcheck
	t.Cleanup(server.Stop)

	return m
}

func serverCertificate(t *testing.T, authority *sidero.PEMEncodedCertificateAndKey) tls.Certificate {
	t.Helper()

	ca, err := tls.X509KeyPair(authority.Crt, pkcs8(authority.Key))
	if err != nil {
		t.Fatal(err)
	}

	issuer, err := x509.ParseCertificate(ca.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}

	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "node"},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(time.Hour),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}, issuer, public, ca.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}

	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}

// pkcs8 renames the PEM block of a Talos key to the one that crypto/tls knows.
func pkcs8(key []byte) []byte {
	return bytes.ReplaceAll(key, []byte("ED25519 PRIVATE KEY"), []byte("PRIVATE KEY"))
}

func (m *fakeMachine) record(ctx context.Context, method string, request proto.Message) int {
	c := call{method: method, request: request}

	if md, ok := metadata.FromIncomingContext(ctx); ok && len(md.Get("node")) > 0 {
		c.node = md.Get("node")[0]
	}

	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.PeerCertificates) > 0 {
			c.role = info.State.PeerCertificates[0].Subject.Organization[0]
		}
	}

	m.mu.Lock()
	defer m.mu.Unlock()

	m.calls = append(m.calls, c)

	return len(m.callsOf(method))
}

func (m *fakeMachine) callsOf(method string) []call {
	return slices.DeleteFunc(slices.Clone(m.calls), func(c call) bool { return c.method != method })
}

// requests are the calls of a method so far.
func (m *fakeMachine) requests(method string) []call {
	m.mu.Lock()
	defer m.mu.Unlock()

	return m.callsOf(method)
}

func (m *fakeMachine) Disks(context.Context, *emptypb.Empty) (*storageapi.DisksResponse, error) {
	return &storageapi.DisksResponse{Messages: []*storageapi.Disks{{}}}, nil
}

func (m *fakeMachine) ApplyConfiguration(
	ctx context.Context, request *machineapi.ApplyConfigurationRequest,
) (*machineapi.ApplyConfigurationResponse, error) {
	n := m.record(ctx, "ApplyConfiguration", request)

	if m.apply != nil {
		if err := m.apply(ctx, n); err != nil {
			return nil, err
		}
	}

	mode := request.GetMode()
	if request.GetDryRun() {
		mode = m.dryRunMode
	}

	return &machineapi.ApplyConfigurationResponse{Messages: []*machineapi.ApplyConfiguration{{Mode: mode}}}, nil
}

func (m *fakeMachine) Bootstrap(
	ctx context.Context, request *machineapi.BootstrapRequest,
) (*machineapi.BootstrapResponse, error) {
	n := m.record(ctx, "Bootstrap", request)

	if m.bootstrap != nil {
		if err := m.bootstrap(ctx, n); err != nil {
			return nil, err
		}
	}

	return &machineapi.BootstrapResponse{Messages: []*machineapi.Bootstrap{{}}}, nil
}

// Kubeconfig sends an archive as Talos does: the gzip stream is ended, the tar in it is not.
func (m *fakeMachine) Kubeconfig(_ *emptypb.Empty, stream machineapi.MachineService_KubeconfigServer) error {
	m.record(stream.Context(), "Kubeconfig", nil)

	var archive bytes.Buffer

	compressed := gzip.NewWriter(&archive)
	w := tar.NewWriter(compressed)

	if err := w.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: "kubeconfig", Size: int64(len(m.kubeconfig)), Mode: 0o600,
	}); err != nil {
		return err
	}

	if _, err := w.Write(m.kubeconfig); err != nil {
		return err
	}

	if err := compressed.Close(); err != nil {
		return err
	}

	return stream.Send(&common.Data{Bytes: archive.Bytes()})
}

func (m *fakeMachine) Read(_ *machineapi.ReadRequest, stream machineapi.MachineService_ReadServer) error {
	n := m.record(stream.Context(), "Read", nil)

	return stream.Send(&common.Data{Bytes: []byte(m.bootIDs[min(n, len(m.bootIDs))-1] + "\n")})
}

func (m *fakeMachine) Reset(ctx context.Context, request *machineapi.ResetRequest) (*machineapi.ResetResponse, error) {
	m.record(ctx, "Reset", request)
	close(m.resetAsked)

	return &machineapi.ResetResponse{Messages: []*machineapi.Reset{{ActorId: "actor"}}}, nil
}

func (m *fakeMachine) Events(_ *machineapi.EventsRequest, stream machineapi.MachineService_EventsServer) error {
	m.record(stream.Context(), "Events", nil)

	if err := stream.Send(&machineapi.Event{}); err != nil {
		return err
	}

	select {
	case <-m.resetAsked:
	case <-stream.Context().Done():
		return nil
	}

	for _, event := range m.events {
		data, err := proto.Marshal(event)
		if err != nil {
			return err
		}

		if err := stream.Send(&machineapi.Event{ActorId: "actor", Data: &anypb.Any{
			TypeUrl: "talos/runtime/" + string(event.ProtoReflect().Descriptor().FullName()),
			Value:   data,
		}}); err != nil {
			return err
		}
	}

	<-stream.Context().Done()

	return nil
}

func newStatus(message string) *common.Error {
	return &common.Error{Code: common.Code_FATAL, Message: message}
}
