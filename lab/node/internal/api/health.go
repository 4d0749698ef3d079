package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cosi-project/runtime/api/v1alpha1"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/protobuf/client"
	"github.com/siderolabs/talos/pkg/machinery/api/cluster"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	clusterres "github.com/siderolabs/talos/pkg/machinery/resources/cluster"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"cluster-stack/lab/node/internal/authz"
)

const healthPoll = time.Second

// HealthCheck runs Talos' own cluster checks: those of etcd, of the machines and
// of Kubernetes. On a site without Kubernetes it ends where these would begin,
// with an error.
func (s *Server) HealthCheck(in *cluster.HealthCheckRequest, stream grpc.ServerStreamingServer[cluster.HealthCheckProgress]) error {
	if err := s.node.CheckControlPlane("health check"); err != nil {
		return err
	}

	ctx, cancel := s.until(stream.Context())
	defer cancel()

	if timeout := in.WaitTimeout.AsDuration(); timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}

	checked, err := s.dialNodes(ctx, in.ClusterInfo)
	if err != nil {
		return err
	}

	defer checked.close()

	say := func(format string, args ...any) error {
		return stream.Send(&cluster.HealthCheckProgress{Message: fmt.Sprintf(format, args...)})
	}

	if err := say("discovered nodes: %q", checked.names()); err != nil {
		return err
	}

	for _, check := range []struct {
		name string
		run  func(ctx context.Context) error
	}{
		{"etcd to be healthy", checked.serviceHealthy("etcd", true)},
		{"etcd members to be consistent across nodes", checked.membersConsistent},
		{"etcd members to be control plane nodes", checked.membersAreControlPlanes},
		{"apid to be ready", checked.apidReady},
		{"kubelet to be healthy", checked.serviceHealthy("kubelet", false)},
		{"all nodes to finish boot sequence", checked.booted},
	} {
		if err := waitFor(ctx, check.name, check.run, say); err != nil {
			return err
		}
	}

	if !s.node.Hardware.RunsKubernetes() {
		return status.Error(codes.FailedPrecondition, "waiting for all k8s nodes to report: this site runs no Kubernetes, so the checks end here")
	}

	kubernetes, err := newKubernetesChecks(s.node.Config(), checked)
	if err != nil {
		return err
	}

	defer kubernetes.close()

	for _, check := range []struct {
		name string
		run  func(ctx context.Context) error
	}{
		{"all k8s nodes to report", kubernetes.reported},
		{"all control plane static pods to be running", kubernetes.staticPods},
		{"all control plane components to be ready", kubernetes.components},
		{"all k8s nodes to report ready", kubernetes.nodesReady},
		{"kube-proxy to report ready", kubernetes.proxyReady},
		{"coredns to report ready", kubernetes.dnsReady},
		{"all k8s nodes to report schedulable", kubernetes.nodesSchedulable},
	} {
		if err := waitFor(ctx, check.name, check.run, say); err != nil {
			return err
		}
	}

	return nil
}

func waitFor(ctx context.Context, name string, check func(context.Context) error, say func(string, ...any) error) error {
	last := "..."

	for {
		if err := say("waiting for %s: %s", name, last); err != nil {
			return err
		}

		failed := check(ctx)

		switch {
		case failed == nil:
			return say("waiting for %s: OK", name)
		case errors.Is(failed, errNotApplicable):
			return say("waiting for %s: SKIP", name)
		}

		last = failed.Error()

		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", name, failed)
		case <-time.After(healthPoll):
		}
	}
}

// checkedNode is a connection to one node's API with the caller's roles.
type checkedNode struct {
	address      netip.Addr
	controlPlane bool
	connection   *grpc.ClientConn
}

func (n checkedNode) machine() machine.MachineServiceClient {
	return machine.NewMachineServiceClient(n.connection)
}

type checkedNodes struct {
	nodes []checkedNode
	roles metadata.MD
}

// dialNodes connects to the nodes that the request names, else to all members.
func (s *Server) dialNodes(ctx context.Context, info *cluster.ClusterInfo) (*checkedNodes, error) {
	controlPlanes, workers := info.GetControlPlaneNodes(), info.GetWorkerNodes()

	if len(controlPlanes)+len(workers) == 0 {
		members, err := safe.StateListAll[*clusterres.Member](ctx, s.node.Resources)
		if err != nil {
			return nil, err
		}

		for member := range members.All() {
			spec := member.TypedSpec()

			switch {
			case len(spec.Addresses) == 0:
			case spec.MachineType.IsControlPlane():
				controlPlanes = append(controlPlanes, spec.Addresses[0].String())
			default:
				workers = append(workers, spec.Addresses[0].String())
			}
		}
	}

	checked := &checkedNodes{roles: metadata.MD{}}
	authz.SetMetadata(checked.roles, authz.Roles(ctx))

	tlsConfig := s.node.Identity.Load().ClientConfig()

	for i, text := range slices.Concat(controlPlanes, workers) {
		address, err := netip.ParseAddr(text)
		if err != nil {
			checked.close()

			return nil, status.Errorf(codes.InvalidArgument, "node %q: %s", text, err)
		}

		connection, err := grpc.NewClient("passthrough:///"+net.JoinHostPort(text, strconv.Itoa(constants.ApidPort)),
			grpc.WithTransportCredentials(credentials.NewTLS(tlsConfig)))
		if err != nil {
			checked.close()

			return nil, err
		}

		checked.nodes = append(checked.nodes, checkedNode{address, i < len(controlPlanes), connection})
	}

	return checked, nil
}

func (c *checkedNodes) close() {
	for _, node := range c.nodes {
		node.connection.Close() //nolint:errcheck
	}
}

func (c *checkedNodes) names() []string {
	names := make([]string, 0, len(c.nodes))
	for _, node := range c.nodes {
		names = append(names, node.address.String())
	}

	return names
}

// each asks the nodes, or only the control planes, in turn.
func (c *checkedNodes) each(ctx context.Context, controlPlanes bool, ask func(context.Context, checkedNode) error) error {
	ctx = metadata.NewOutgoingContext(ctx, c.roles)

	for _, node := range c.nodes {
		if controlPlanes && !node.controlPlane {
			continue
		}

		if err := ask(ctx, node); err != nil {
			return fmt.Errorf("%s: %w", node.address, err)
		}
	}

	return nil
}

func (c *checkedNodes) serviceHealthy(id string, controlPlanes bool) func(context.Context) error {
	return func(ctx context.Context) error {
		return c.each(ctx, controlPlanes, func(ctx context.Context, node checkedNode) error {
			answer, err := node.machine().ServiceList(ctx, &emptypb.Empty{})
			if err != nil {
				return err
			}

			for _, service := range answer.Messages[0].Services {
				if service.Id == id && service.State == "Running" && service.Health.Healthy {
					return nil
				}
			}

			return fmt.Errorf("service %q is not healthy", id)
		})
	}
}

func (c *checkedNodes) apidReady(ctx context.Context) error {
	return c.each(ctx, false, func(ctx context.Context, node checkedNode) error {
		_, err := node.machine().Version(ctx, &emptypb.Empty{})

		return err
	})
}

func (c *checkedNodes) booted(ctx context.Context) error {
	return c.each(ctx, false, func(ctx context.Context, node checkedNode) error {
		resources := state.WrapCore(client.NewAdapter(v1alpha1.NewStateClient(node.connection)))

		current, err := safe.StateGetByID[*runtime.MachineStatus](ctx, resources, runtime.MachineStatusID)
		if err != nil {
			return err
		}

		if stage := current.TypedSpec().Stage; stage != runtime.MachineStageRunning {
			return fmt.Errorf("the machine is %s", stage)
		}

		return nil
	})
}

// members are the etcd members as each control plane sees them.
func (c *checkedNodes) members(ctx context.Context, see func(checkedNode, []*machine.EtcdMember) error) error {
	return c.each(ctx, true, func(ctx context.Context, node checkedNode) error {
		answer, err := node.machine().EtcdMemberList(ctx, &machine.EtcdMemberListRequest{QueryLocal: true})
		if err != nil {
			return err
		}

		return see(node, answer.Messages[0].Members)
	})
}

func (c *checkedNodes) membersConsistent(ctx context.Context) error {
	var first string

	return c.members(ctx, func(_ checkedNode, members []*machine.EtcdMember) error {
		names := make([]string, 0, len(members))
		for _, member := range members {
			names = append(names, member.Hostname)
		}

		slices.Sort(names)

		switch seen := strings.Join(names, ", "); first {
		case "":
			first = seen
		case seen:
		default:
			return fmt.Errorf("etcd members are %s, another node sees %s", seen, first)
		}

		return nil
	})
}

func (c *checkedNodes) membersAreControlPlanes(ctx context.Context) error {
	return c.members(ctx, func(_ checkedNode, members []*machine.EtcdMember) error {
		for _, member := range members {
			for _, peer := range member.PeerUrls {
				address, err := url.Parse(peer)
				if err != nil {
					return err
				}

				if !slices.ContainsFunc(c.nodes, func(node checkedNode) bool {
					return node.controlPlane && node.address.String() == address.Hostname()
				}) {
					return fmt.Errorf("etcd member %s at %s is not a control plane node", member.Hostname, peer)
				}
			}
		}

		return nil
	})
}
