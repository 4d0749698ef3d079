// Package apid is the API daemon: it terminates TLS, reads the caller's roles
// from the certificate and sends each call to the node or nodes that it is for:
// the local machined, or other nodes' apid. It knows no method but by name.
package apid

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/siderolabs/grpc-proxy/proxy"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"cluster-stack/lab/node/internal/authz"
	"cluster-stack/lab/node/internal/pki"
)

// streamed are the methods whose answers are streams: a proxy in the middle
// cannot tell. Names that end in Stream are streams as well.
var streamed = regexp.MustCompile(`^/(machine\.MachineService/` +
	`(Copy|DiskUsage|Dmesg|EtcdSnapshot|Events|ImageList|Kubeconfig|List|Logs|PacketCapture|Read)|` +
	`machine\.LifecycleService/(Install|Upgrade)|cluster\.ClusterService/HealthCheck)$|Stream$`)

// oneToMany are the services whose answers can be put together from several
// nodes.
var oneToMany = []string{
	"/machine.MachineService/", "/cluster.ClusterService/", "/inspect.InspectService/", "/storage.StorageService/",
	"/time.TimeService/",
}

// Server is the API daemon of one machine.
type Server struct {
	// Identity is the current TLS identity: certificates may change while serving.
	Identity func() *pki.Identity
	// Local tells whether an address or a name is this machine.
	Local func(target string) bool
	// Maintenance serves everybody as a reader and routes nothing.
	Maintenance bool
	// Machined is the machine's own API.
	Machined *grpc.Server
	// Log takes a line for each call.
	Log func(line string)
}

const pipeBytes = 64 << 10

// ErrTerminated is why the context ends where the daemon is asked to end: it
// takes no call any more, and answers those that are there. Otherwise it is gone at once.
var ErrTerminated = errors.New("terminated")

// Serve serves on the listener until the context ends.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	pipe := bufconn.Listen(pipeBytes)
	defer pipe.Close() //nolint:errcheck

	go s.Machined.Serve(pipe) //nolint:errcheck // ends with the pipe

	defer s.Machined.Stop()

	connection, err := grpc.NewClient("passthrough:///machined",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return pipe.DialContext(ctx) }),
		callOptions())
	if err != nil {
		return err
	}

	defer connection.Close() //nolint:errcheck

	remotes := newRemotes(s.Identity)
	defer remotes.close()

	router := &router{local: &local{connection: connection}, remotes: remotes, server: s}

	source := authz.Certificate
	if s.Maintenance {
		source = authz.Reader
	}

	tlsConfig := &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return s.Identity().ServerConfig(), nil
		},
	}

	server := grpc.NewServer(append(authz.Interceptors(source, nil),
		grpc.Creds(credentials.NewTLS(tlsConfig)),
		grpc.ForceServerCodecV2(proxy.Codec()),
		grpc.UnknownServiceHandler(proxy.TransparentHandler(router.direct, proxy.WithStreamedDetector(streamed.MatchString))),
		grpc.MaxRecvMsgSize(constants.GRPCMaxMessageSize),
		grpc.SharedWriteBuffer(true),
		grpc.ChainStreamInterceptor(s.logged),
	)...)

	stop := context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), ErrTerminated) {
			stopGracefully(server)
		} else {
			server.Stop()
		}
	})
	defer stop()

	return server.Serve(listener)
}

// answerTime is how long the calls that are there may take; Talos gives them ten seconds.
const answerTime = 250 * time.Millisecond

func stopGracefully(server *grpc.Server) {
	timer := time.AfterFunc(answerTime, server.Stop)
	defer timer.Stop()

	server.GracefulStop()
}

func callOptions() grpc.DialOption {
	return grpc.WithDefaultCallOptions(
		grpc.MaxCallRecvMsgSize(constants.GRPCMaxMessageSize), grpc.ForceCodecV2(proxy.Codec()))
}

// logged writes each call into the daemon's log when it has ended, as Talos does.
func (s *Server) logged(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	began := time.Now()
	err := handler(server, stream)

	if s.Log != nil {
		s.Log(fmt.Sprintf("%s [%s] %s stream %s", status.Code(err), info.FullMethod, time.Since(began), errorText(err)))
	}

	return err
}

func errorText(err error) string {
	if err == nil {
		return "Success"
	}

	return err.Error()
}

type router struct {
	local   *local
	remotes *remotes
	server  *Server
}

// direct decides where a call goes.
func (r *router) direct(ctx context.Context, method string) (proxy.Mode, []proxy.Backend, error) {
	here := []proxy.Backend{r.local}

	md, _ := metadata.FromIncomingContext(ctx)
	if r.server.Maintenance || len(md.Get("proxyfrom")) > 0 {
		return proxy.One2One, here, nil
	}

	nodes, node := md.Get("nodes"), md.Get("node")

	if len(node) > 1 {
		return proxy.One2One, nil, status.Error(codes.InvalidArgument, "node metadata must be single-valued")
	}

	forwarding := r.server.Identity().Client != nil

	// a machine that may not forward still answers for itself
	if !forwarding {
		if len(node) == 1 && r.server.Local(node[0]) {
			node = nil
		}

		if len(nodes) == 1 && r.server.Local(nodes[0]) {
			nodes = nil
		}
	}

	switch {
	case len(nodes) > 0:
		if !slices.ContainsFunc(oneToMany, func(service string) bool { return strings.HasPrefix(method, service) }) {
			return proxy.One2One, nil, status.Errorf(codes.InvalidArgument, "one-2-many proxying is not supported for method %s", method)
		}
	case len(node) == 1:
	default:
		return proxy.One2One, here, nil
	}

	if !forwarding {
		return proxy.One2One, nil, status.Error(codes.PermissionDenied, "no request forwarding")
	}

	if len(nodes) == 0 {
		backend, err := r.remotes.get(node[0])
		if err != nil {
			return proxy.One2One, nil, status.Error(codes.Internal, err.Error())
		}

		return proxy.One2One, []proxy.Backend{backend}, nil
	}

	backends := make([]proxy.Backend, 0, len(nodes))

	for _, target := range nodes {
		backend, err := r.remotes.get(target)
		if err != nil {
			return proxy.One2Many, nil, status.Error(codes.Internal, err.Error())
		}

		backends = append(backends, backend)
	}

	return proxy.One2Many, backends, nil
}
