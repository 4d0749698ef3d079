package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/siderolabs/crypto/x509"
	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"
	"github.com/siderolabs/talos/pkg/machinery/config/types/v1alpha1"
	"github.com/siderolabs/talos/pkg/machinery/resources/secrets"
	"github.com/siderolabs/talos/pkg/machinery/role"

	"cluster-stack/lab/node/internal/authz"
	"cluster-stack/lab/node/internal/cosi"
)

// configurations are those of a control plane and a worker of one cluster. To
// make the keys of one takes seconds.
var configurations = sync.OnceValues(func() (map[machine.Type]config.Provider, error) {
	input, err := generate.NewInput("home", "https://10.5.0.11:6443", "1.36.1")
	if err != nil {
		return nil, err
	}

	made := map[machine.Type]config.Provider{}

	for _, kind := range []machine.Type{machine.TypeControlPlane, machine.TypeWorker} {
		if made[kind], err = input.Config(kind); err != nil {
			return nil, err
		}
	}

	return made, nil
})

func generated(t *testing.T) (controlPlane, worker config.Provider) {
	t.Helper()

	made, err := configurations()
	if err != nil {
		t.Fatal(err)
	}

	return made[machine.TypeControlPlane], made[machine.TypeWorker]
}

func patched(t *testing.T, given config.Provider, patch func(*v1alpha1.Config)) config.Provider {
	t.Helper()

	changed, err := given.PatchV1Alpha1(func(settings *v1alpha1.Config) error {
		patch(settings)

		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	return changed
}

func showing(t *testing.T, settings config.Provider, before ...config.Provider) *Node {
	t.Helper()

	resources, err := cosi.New(context.Background())
	if err != nil {
		t.Fatal(err)
	}

	node := &Node{Resources: resources}

	for _, one := range append(before, settings) {
		if err := node.publishAuthorities(one); err != nil {
			t.Fatal(err)
		}
	}

	return node
}

func certificates(list []*x509.PEMEncodedCertificate) []string {
	var text []string
	for _, one := range list {
		text = append(text, string(one.Crt))
	}

	return text
}

func TestAMachineShowsTheAuthoritiesThatItHas(t *testing.T) {
	controlPlane, worker := generated(t)

	other, err := x509.NewSelfSignedCertificateAuthority()
	if err != nil {
		t.Fatal(err)
	}

	first, second := controlPlane.Machine().Security().IssuingCA(), x509.NewCertificateAndKeyFromCertificateAuthority(other)

	swapped := patched(t, controlPlane, func(settings *v1alpha1.Config) {
		settings.MachineConfig.MachineAcceptedCAs = []*x509.PEMEncodedCertificate{{Crt: second.Crt}}
	})

	for name, test := range map[string]struct {
		settings config.Provider
		issues   bool
		accepted []string
	}{
		"a control plane":                        {controlPlane, true, []string{string(first.Crt)}},
		"a worker":                               {worker, false, []string{string(first.Crt)}},
		"one that accepts another one's clients": {swapped, true, []string{string(second.Crt), string(first.Crt)}},
	} {
		t.Run(name, func(t *testing.T) {
			root, err := safe.StateGetByID[*secrets.OSRoot](context.Background(), showing(t, test.settings).Resources, secrets.OSRootID)
			if err != nil {
				t.Fatal(err)
			}

			spec := root.TypedSpec()
			if (spec.IssuingCA != nil) != test.issues || !slices.Equal(certificates(spec.AcceptedCAs), test.accepted) {
				t.Errorf("issues: %t, accepts %q", spec.IssuingCA != nil, certificates(spec.AcceptedCAs))
			}

			if spec.Token != controlPlane.Machine().Security().Token() {
				t.Error("another token")
			}
		})
	}
}

func TestOnlyControlPlanesShowTheAuthoritiesOfKubernetesAndEtcd(t *testing.T) {
	controlPlane, worker := generated(t)
	ctx := context.Background()

	kubernetes, err := safe.StateGetByID[*secrets.KubernetesRoot](ctx, showing(t, controlPlane).Resources, secrets.KubernetesRootID)
	if err != nil {
		t.Fatal(err)
	}

	spec := kubernetes.TypedSpec()
	if spec.Name != "home" || spec.LocalEndpoint.String() != "https://127.0.0.1:7445" || spec.Endpoint.String() != "https://10.5.0.11:6443" ||
		string(spec.IssuingCA.Key) != string(controlPlane.Cluster().IssuingCA().Key) || len(spec.AcceptedCAs) != 1 {
		t.Errorf("%s at %s and %s", spec.Name, spec.LocalEndpoint, spec.Endpoint)
	}

	// what a control plane has shown goes when it becomes a worker
	become := showing(t, worker, controlPlane).Resources
	for _, pointer := range []resource.Pointer{
		secrets.NewKubernetesRoot(secrets.KubernetesRootID).Metadata(), secrets.NewEtcdRoot(secrets.EtcdRootID).Metadata(),
	} {
		if _, err := become.Get(ctx, pointer); !state.IsNotFoundError(err) {
			t.Errorf("%s: %v", pointer.Type(), err)
		}
	}
}

func TestAuthoritiesAreForAdministratorsOnly(t *testing.T) {
	controlPlane, _ := generated(t)
	shown := cosi.ForClients(showing(t, controlPlane).Resources)

	for _, pointer := range []resource.Pointer{
		secrets.NewOSRoot(secrets.OSRootID).Metadata(), secrets.NewKubernetesRoot(secrets.KubernetesRootID).Metadata(),
		secrets.NewEtcdRoot(secrets.EtcdRootID).Metadata(),
	} {
		for _, test := range []struct {
			role    role.Role
			allowed bool
		}{{role.Admin, true}, {role.Operator, false}, {role.Reader, false}} {
			_, err := shown.Get(authz.WithRoles(context.Background(), role.MakeSet(test.role)), pointer)
			if test.allowed != (err == nil) || (!test.allowed && !errors.Is(err, authz.ErrNotAuthorized)) {
				t.Errorf("%s, %s: %v", pointer.Type(), test.role, err)
			}
		}
	}
}
