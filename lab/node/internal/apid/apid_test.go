package apid

import (
	"context"
	"crypto/tls"
	"fmt"
	"testing"

	"github.com/siderolabs/grpc-proxy/proxy"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"cluster-stack/lab/node/internal/pki"
)

func TestWhereACallGoes(t *testing.T) {
	controlPlane, worker := &pki.Identity{Client: &tls.Certificate{}}, &pki.Identity{}

	const version, cosi = "/machine.MachineService/Version", "/cosi.resource.State/Get"

	for name, test := range map[string]struct {
		identity    *pki.Identity
		maintenance bool
		method      string
		metadata    metadata.MD
		expected    string
	}{
		"no node":                    {controlPlane, false, version, nil, "one [machined]"},
		"one node":                   {controlPlane, false, cosi, metadata.Pairs("node", "10.5.0.12"), "one [10.5.0.12]"},
		"many nodes":                 {controlPlane, false, version, metadata.Pairs("nodes", "10.5.0.12", "nodes", "cp3"), "many [10.5.0.12 cp3]"},
		"many nodes, resources":      {controlPlane, false, cosi, metadata.Pairs("nodes", "10.5.0.12"), "InvalidArgument"},
		"two of one node":            {controlPlane, false, version, metadata.Pairs("node", "a", "node", "b"), "InvalidArgument"},
		"a node with a port":         {controlPlane, false, version, metadata.Pairs("node", "10.5.0.12:50000"), "Internal"},
		"from another node":          {controlPlane, false, version, metadata.Pairs("node", "10.5.0.12", "proxyfrom", "cp2"), "one [machined]"},
		"a worker":                   {worker, false, version, metadata.Pairs("node", "10.5.0.12"), "PermissionDenied"},
		"a worker, many nodes":       {worker, false, version, metadata.Pairs("nodes", "10.5.0.21", "nodes", "10.5.0.12"), "PermissionDenied"},
		"a worker, itself":           {worker, false, version, metadata.Pairs("node", "10.5.0.21"), "one [machined]"},
		"a worker, itself in a list": {worker, false, version, metadata.Pairs("nodes", "10.5.0.21"), "one [machined]"},
		"maintenance":                {worker, true, version, metadata.Pairs("nodes", "10.5.0.12"), "one [machined]"},
	} {
		t.Run(name, func(t *testing.T) {
			identity := func() *pki.Identity { return test.identity }
			router := &router{
				local: &local{}, remotes: newRemotes(identity),
				server: &Server{
					Identity: identity, Maintenance: test.maintenance,
					Local: func(target string) bool { return target == "10.5.0.21" },
				},
			}

			mode, backends, err := router.direct(metadata.NewIncomingContext(context.Background(), test.metadata), test.method)

			seen := map[proxy.Mode]string{proxy.One2One: "one", proxy.One2Many: "many"}[mode] + " " + fmt.Sprint(backends)
			if err != nil {
				seen = status.Code(err).String()
			}

			if seen != test.expected {
				t.Error(seen)
			}
		})
	}
}

func TestAnswersAreMerged(t *testing.T) {
	var merged []byte

	for _, target := range []string{"10.5.0.11", "10.5.0.12"} {
		answer, err := proto.Marshal(&machine.HostnameResponse{Messages: []*machine.Hostname{{Hostname: "name of " + target}}})
		if err != nil {
			t.Fatal(err)
		}

		named, err := (&remote{target: target}).AppendInfo(false, answer)
		if err != nil {
			t.Fatal(err)
		}

		merged = append(merged, named...)
	}

	failed, err := (&remote{target: "10.5.0.13"}).BuildError(false, status.Error(codes.Unavailable, "gone"))
	if err != nil {
		t.Fatal(err)
	}

	var response machine.HostnameResponse
	if err := proto.Unmarshal(append(merged, failed...), &response); err != nil {
		t.Fatal(err)
	}

	if len(response.Messages) != 3 {
		t.Fatal(&response)
	}

	for i, target := range []string{"10.5.0.11", "10.5.0.12", "10.5.0.13"} {
		message := response.Messages[i]
		if message.Metadata.Hostname != target || (i < 2 && message.Hostname != "name of "+target) {
			t.Error(message)
		}
	}

	if problem := response.Messages[2].Metadata; codes.Code(problem.Status.Code) != codes.Unavailable { //nolint:gosec
		t.Error(problem)
	}
}

func TestStreamsAreKnownByName(t *testing.T) {
	for method, expected := range map[string]bool{
		"/machine.MachineService/Events": true, "/machine.MachineService/Kubeconfig": true,
		"/cluster.ClusterService/HealthCheck": true, "/machine.ImageService/PullStream": true,
		"/machine.MachineService/EtcdSnapshot": true, "/machine.MachineService/Version": false,
		"/machine.MachineService/ReadMore": false,
	} {
		if streamed.MatchString(method) != expected {
			t.Error(method)
		}
	}
}
