package apid

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	talosnet "github.com/siderolabs/net"
	"github.com/siderolabs/talos/pkg/machinery/api/common"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"cluster-stack/lab/node/internal/authz"
	"cluster-stack/lab/node/internal/pki"
)

// local is the machine's own machined.
type local struct {
	connection *grpc.ClientConn
}

func (l *local) String() string { return "machined" }

func (l *local) GetConnection(ctx context.Context, _ string) (context.Context, *grpc.ClientConn, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	md = md.Copy()

	authz.SetMetadata(md, authz.Roles(ctx))
	delete(md, ":authority")

	return metadata.NewOutgoingContext(ctx, md), l.connection, nil
}

func (l *local) AppendInfo(_ bool, answer []byte) ([]byte, error) { return answer, nil }

func (l *local) BuildError(bool, error) ([]byte, error) { return nil, nil }

// remotes are the other nodes' API daemons, by target.
type remotes struct {
	identity func() *pki.Identity

	mu      sync.Mutex
	targets map[string]*remote
}

func newRemotes(identity func() *pki.Identity) *remotes {
	return &remotes{identity: identity, targets: map[string]*remote{}}
}

func (r *remotes) get(target string) (*remote, error) {
	if target == "" || talosnet.AddressContainsPort(target) {
		return nil, fmt.Errorf("invalid target %q", target)
	}

	r.mu.Lock()
	defer r.mu.Unlock()

	backend, ok := r.targets[target]
	if !ok {
		backend = &remote{target: target, identity: r.identity}
		r.targets[target] = backend
	}

	return backend, nil
}

func (r *remotes) close() {
	r.mu.Lock()
	defer r.mu.Unlock()

	for _, backend := range r.targets {
		backend.close()
	}
}

// remote is another node's API daemon. The answers of several nodes are put
// together on the wire: an answer is a list of messages, so that answers one
// after the other are one longer list, and each message has a field for the
// name of its node.
type remote struct {
	target   string
	identity func() *pki.Identity

	mu         sync.Mutex
	connection *grpc.ClientConn
	usedBy     *pki.Identity
}

func (r *remote) String() string { return r.target }

const (
	maxBackoff     = 15 * time.Second
	connectTimeout = 20 * time.Second
)

func (r *remote) GetConnection(ctx context.Context, _ string) (context.Context, *grpc.ClientConn, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	md = md.Copy()

	authz.SetMetadata(md, authz.Roles(ctx))

	from := md.Get(":authority")
	if len(from) == 0 {
		from = []string{"unknown"}
	}

	md.Set("proxyfrom", from...)
	delete(md, ":authority")
	delete(md, "nodes")
	delete(md, "node")

	ctx = metadata.NewOutgoingContext(ctx, md)

	r.mu.Lock()
	defer r.mu.Unlock()

	identity := r.identity()
	if r.connection != nil && r.usedBy == identity {
		return ctx, r.connection, nil
	}

	if r.connection != nil {
		r.connection.Close() //nolint:errcheck // the certificates have changed
	}

	delays := backoff.DefaultConfig
	delays.MaxDelay = maxBackoff

	connection, err := grpc.NewClient(net.JoinHostPort(r.target, strconv.Itoa(constants.ApidPort)),
		grpc.WithTransportCredentials(credentials.NewTLS(identity.ClientConfig())),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: delays, MinConnectTimeout: connectTimeout}),
		grpc.WithSharedWriteBuffer(true),
		callOptions())

	r.connection, r.usedBy = connection, identity

	return ctx, connection, err
}

func (r *remote) close() {
	r.mu.Lock()
	defer r.mu.Unlock()

	if r.connection != nil {
		r.connection.Close() //nolint:errcheck
	}
}

const firstFieldMessage = protowire.Number(1)

// AppendInfo writes the node's name into an answer.
func (r *remote) AppendInfo(streaming bool, answer []byte) ([]byte, error) {
	name, err := proto.Marshal(&common.Empty{Metadata: &common.Metadata{Hostname: r.target}})
	if err != nil || streaming {
		return append(answer, name...), err
	}

	field, kind, tagLength := protowire.ConsumeTag(answer)
	if tagLength < 0 {
		return nil, protowire.ParseError(tagLength)
	}

	if field != firstFieldMessage || kind != protowire.BytesType {
		return nil, fmt.Errorf("unexpected message format: %d", field)
	}

	message, length := protowire.ConsumeBytes(answer[tagLength:])
	if length < 0 {
		return nil, protowire.ParseError(length)
	}

	named := protowire.AppendTag(nil, firstFieldMessage, protowire.BytesType)
	named = protowire.AppendBytes(named, slices.Concat(message, name))

	return append(named, answer[tagLength+length:]...), nil
}

// BuildError makes an answer out of a node's failure, so that it stands beside
// the answers of the others.
func (r *remote) BuildError(streaming bool, failure error) ([]byte, error) {
	message := &common.Empty{Metadata: &common.Metadata{
		Hostname: r.target, Error: failure.Error(), Status: status.Convert(failure).Proto(),
	}}

	if streaming {
		return proto.Marshal(message)
	}

	return proto.Marshal(&common.EmptyResponse{Messages: []*common.Empty{message}})
}
