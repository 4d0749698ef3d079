// Package authz decides who may call what: roles from the client's certificate
// (apid) or from the metadata that apid passes on (machined), and the table of
// roles per method.
package authz

import (
	"context"

	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/role"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// ErrNotAuthorized is the answer to a caller without a role that the method needs.
var ErrNotAuthorized = status.Error(codes.PermissionDenied, "not authorized")

type contextKey struct{}

// Roles are the caller's roles.
func Roles(ctx context.Context) role.Set {
	roles, _ := ctx.Value(contextKey{}).(role.Set)

	return roles
}

// WithRoles stores the caller's roles.
func WithRoles(ctx context.Context, roles role.Set) context.Context {
	return context.WithValue(ctx, contextKey{}, roles)
}

// SetMetadata passes roles on to the next server.
func SetMetadata(md metadata.MD, roles role.Set) {
	md.Set(constants.APIAuthzRoleMetadataKey, roles.Strings()...)
}

func fromMetadata(ctx context.Context) (role.Set, bool) {
	md, _ := metadata.FromIncomingContext(ctx)

	values := md.Get(constants.APIAuthzRoleMetadataKey)
	if len(values) == 0 {
		return role.Zero, false
	}

	roles, _ := role.Parse(values)

	return roles, true
}

// Source finds the roles of a caller.
type Source func(ctx context.Context) role.Set

// Reader gives everybody the reader role: maintenance mode.
func Reader(context.Context) role.Set { return role.MakeSet(role.Reader) }

// Metadata trusts the metadata: calls that come from the machine's own apid.
func Metadata(ctx context.Context) role.Set {
	roles, _ := fromMetadata(ctx)

	return roles
}

// Certificate reads the roles from the organizations of the client's
// certificate; another node (os:impersonator) may pass on its client's roles.
func Certificate(ctx context.Context) role.Set {
	client, ok := peer.FromContext(ctx)
	if !ok {
		return role.Zero
	}

	info, ok := client.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 {
		return role.Zero
	}

	roles, _ := role.Parse(info.State.PeerCertificates[0].Subject.Organization)

	if roles.Includes(role.Impersonator) {
		if passed, ok := fromMetadata(ctx); ok {
			return passed
		}
	}

	return roles
}

// Interceptors put the caller's roles into the context and, with a table,
// refuse the call when none of them is enough.
func Interceptors(source Source, rules map[string]role.Set) []grpc.ServerOption {
	authorize := func(ctx context.Context, method string) (context.Context, error) {
		roles := source(ctx)

		if rules != nil {
			allowed, ok := rules[method]
			if !ok {
				allowed = role.MakeSet(role.Admin)
			}

			if !allowed.IncludesAny(roles) {
				return nil, ErrNotAuthorized
			}
		}

		return WithRoles(ctx, roles), nil
	}

	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			ctx, err := authorize(ctx, info.FullMethod)
			if err != nil {
				return nil, err
			}

			return handler(ctx, request)
		}),
		grpc.ChainStreamInterceptor(func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			ctx, err := authorize(stream.Context(), info.FullMethod)
			if err != nil {
				return err
			}

			return handler(server, &serverStream{ServerStream: stream, ctx: ctx})
		}),
	}
}

type serverStream struct {
	grpc.ServerStream

	ctx context.Context //nolint:containedctx // a gRPC stream carries its context
}

func (s *serverStream) Context() context.Context { return s.ctx }
