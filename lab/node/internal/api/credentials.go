package api

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"strings"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/api/common"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	clientconfig "github.com/siderolabs/talos/pkg/machinery/client/config"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/role"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"cluster-stack/lab/node/internal/pki"
)

// Kubeconfig streams the admin kubeconfig in a compressed archive. As on a real
// node, the archive has neither padding nor end blocks.
func (s *Server) Kubeconfig(_ *emptypb.Empty, stream grpc.ServerStreamingServer[common.Data]) error {
	if err := s.node.CheckControlPlane("kubeconfig"); err != nil {
		return err
	}

	kubeconfig, err := pki.Kubeconfig(s.node.Config().Cluster())
	if err != nil {
		return err
	}

	var buffer bytes.Buffer

	compressed := gzip.NewWriter(&buffer)
	archive := tar.NewWriter(compressed)

	if err := archive.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: "kubeconfig", Size: int64(len(kubeconfig)), ModTime: time.Now(), Mode: 0o600,
	}); err != nil {
		return err
	}

	if _, err := archive.Write(kubeconfig); err != nil {
		return err
	}

	if err := compressed.Close(); err != nil {
		return err
	}

	return stream.Send(&common.Data{Bytes: buffer.Bytes()})
}

// GenerateClientConfiguration issues a talosconfig.
func (s *Server) GenerateClientConfiguration(
	_ context.Context, in *machine.GenerateClientConfigurationRequest,
) (*machine.GenerateClientConfigurationResponse, error) {
	if err := s.node.CheckControlPlane("generate client configuration"); err != nil {
		return nil, err
	}

	lifetime := in.CrtTtl.AsDuration()
	if lifetime <= 0 {
		return nil, status.Error(codes.InvalidArgument, "crt_ttl should be positive")
	}

	current := s.node.Config()
	roles, _ := role.Parse(in.Roles)
	bundle := secrets.NewBundleFromConfig(secrets.NewFixedClock(time.Now()), current)

	certificate, err := bundle.GenerateTalosAPIClientCertificateWithTTL(roles, lifetime)
	if err != nil {
		return nil, err
	}

	name := current.Cluster().Name()
	if names := roles.Strings(); len(names) == 1 {
		name = strings.TrimPrefix(names[0], role.Prefix) + "@" + name
	}

	talosconfig, err := clientconfig.NewConfig(name, nil, bundle.Certs.OS.Crt, certificate).Bytes()
	if err != nil {
		return nil, err
	}

	return &machine.GenerateClientConfigurationResponse{Messages: []*machine.GenerateClientConfiguration{{
		Ca: bundle.Certs.OS.Crt, Crt: certificate.Crt, Key: certificate.Key, Talosconfig: talosconfig,
	}}}, nil
}
