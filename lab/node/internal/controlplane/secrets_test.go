package controlplane_test

import (
	stdx509 "crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/siderolabs/crypto/x509"
	machineconfig "github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/config/container"
	"github.com/siderolabs/talos/pkg/machinery/config/types/v1alpha1"
	"github.com/siderolabs/talos/pkg/machinery/constants"

	"cluster-stack/lab/node/internal/controlplane"
)

func TestSecretsAreForWhomClientsCall(t *testing.T) {
	current := settings(t, `{"cluster": {"apiServer": {"certSANs": ["api.example.com", "10.9.9.9"]}}}`)

	subject, err := controlplane.Subject(current, "cp1", "cp1.example.com", []netip.Addr{netip.MustParseAddr("10.5.0.2")})
	if err != nil {
		t.Fatal(err)
	}

	if got, wanted := subject.DNSNames, []string{
		"api.example.com", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		"localhost", "cp1", "cp1.example.com",
	}; !slices.Equal(got, wanted) {
		t.Errorf("names %s", got)
	}

	addresses, _ := json.Marshal(subject.Addresses)
	if string(addresses) != `["10.5.0.9","10.9.9.9","10.96.0.1","10.5.0.2","127.0.0.1"]` {
		t.Errorf("addresses %s", addresses)
	}

	secrets, err := controlplane.NewSecrets(current, subject)
	if err != nil {
		t.Fatal(err)
	}

	if encryption := string(secrets["/system/secrets/kubernetes/kube-apiserver/encryptionconfig.yaml"]); !strings.Contains(encryption, "secretbox:") {
		t.Error("secrets are not encrypted with the secretbox of the configuration")
	}

	kubeconfig := string(secrets["/system/secrets/kubernetes/kube-scheduler/kubeconfig"])
	if !strings.Contains(kubeconfig, "server: https://127.0.0.1:7445") || !strings.Contains(kubeconfig, "name: system:kube-scheduler@test") {
		t.Error("the scheduler's kubeconfig is another one")
	}
}

func TestAnotherAuthorityIsForAllSecretsThatComeOfIt(t *testing.T) {
	made, err := x509.NewSelfSignedCertificateAuthority()
	if err != nil {
		t.Fatal(err)
	}

	before, other := settings(t), x509.NewCertificateAndKeyFromCertificateAuthority(made)
	old := before.Cluster().IssuingCA()

	change := func(given config.Config, change func(*v1alpha1.ClusterConfig)) config.Config {
		changed := given.(machineconfig.Provider).RawV1Alpha1().DeepCopy() //nolint:forcetypeassert // what was generated
		change(changed.ClusterConfig)

		return container.NewV1Alpha1(changed)
	}
	accepting := change(before, func(cluster *v1alpha1.ClusterConfig) {
		cluster.ClusterAcceptedCAs = []*x509.PEMEncodedCertificate{{Crt: other.Crt}}
	})
	swapped := change(before, func(cluster *v1alpha1.ClusterConfig) {
		cluster.ClusterCA, cluster.ClusterAcceptedCAs = other, []*x509.PEMEncodedCertificate{{Crt: old.Crt}}
	})
	after := change(before, func(cluster *v1alpha1.ClusterConfig) { cluster.ClusterCA = other })

	keys := map[string]bool{}

	for _, step := range []struct {
		settings config.Config
		issuer   *x509.PEMEncodedCertificateAndKey
		accepted []*x509.PEMEncodedCertificateAndKey
	}{
		{before, old, []*x509.PEMEncodedCertificateAndKey{old}},
		{accepting, old, []*x509.PEMEncodedCertificateAndKey{other, old}},
		{swapped, other, []*x509.PEMEncodedCertificateAndKey{old, other}},
		{after, other, []*x509.PEMEncodedCertificateAndKey{other}},
	} {
		keys[controlplane.SecretsKey(step.settings)] = true

		subject, err := controlplane.Subject(step.settings, "cp1", "cp1", nil)
		if err != nil {
			t.Fatal(err)
		}

		secrets, err := controlplane.NewSecrets(step.settings, subject)
		if err != nil {
			t.Fatal(err)
		}

		var accepted []byte
		for _, authority := range step.accepted {
			accepted = append(accepted, authority.Crt...)
		}

		apiServer, manager := constants.KubernetesAPIServerSecretsDir, constants.KubernetesControllerManagerSecretsDir

		for path, wanted := range map[string][]byte{
			filepath.Join(apiServer, "ca.crt"): accepted,
			filepath.Join(manager, "ca.crt"):   step.issuer.Crt,
			filepath.Join(manager, "ca.key"):   step.issuer.Key,
		} {
			if string(secrets[path]) != string(wanted) {
				t.Errorf("%s is of another authority", path)
			}
		}

		authority, err := step.issuer.GetCert()
		if err != nil {
			t.Fatal(err)
		}

		block, _ := pem.Decode(secrets[filepath.Join(apiServer, "apiserver.crt")])

		certificate, err := stdx509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}

		if err := certificate.CheckSignatureFrom(authority); err != nil {
			t.Error(err)
		}
	}

	if len(keys) != 4 {
		t.Errorf("%d of 4 steps start the servers anew", len(keys))
	}
}
