package controlplane

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/siderolabs/crypto/x509"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"sigs.k8s.io/yaml"

	"cluster-stack/lab/node/internal/pki"
)

// Subject is whom the certificate of the API server is for: what clients may
// call it.
func Subject(settings config.Config, hostname, fqdn string, addresses []netip.Addr) (pki.Subject, error) {
	cluster := settings.Cluster()
	subject := pki.Subject{CommonName: "kube-apiserver"}

	services, err := cluster.Network().APIServerIPs()
	if err != nil {
		return subject, fmt.Errorf("error building API service IPs: %w", err)
	}

	names := []string{cluster.Endpoint().Hostname()}
	names = append(names, cluster.CertSANs()...)
	names = append(names, "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc."+cluster.Network().DNSDomain(), "localhost", hostname, fqdn)

	for _, name := range names {
		if address, err := netip.ParseAddr(name); err == nil {
			subject.AddAddresses(address)
		} else {
			subject.AddNames(name)
		}
	}

	subject.AddAddresses(services...)
	subject.AddAddresses(addresses...)
	subject.AddAddresses(netip.AddrFrom4([4]byte{127, 0, 0, 1}))

	return subject, nil
}

// Secrets are the files with keys and certificates, by their path on the machine.
type Secrets map[string][]byte

// SecretsKey changes when the servers' secrets have to be made anew.
func SecretsKey(settings config.Config) string {
	cluster := settings.Cluster()
	digest := sha256.New()

	fmt.Fprintln(digest, LocalServer(settings), cluster.Name(), cluster.AESCBCEncryptionSecret(), cluster.SecretboxEncryptionSecret())

	for _, pair := range []*x509.PEMEncodedCertificateAndKey{cluster.IssuingCA(), cluster.AggregatorCA(), cluster.Etcd().CA()} {
		digest.Write(pair.Crt) //nolint:errcheck // a digest takes everything
		digest.Write(pair.Key) //nolint:errcheck // as above
	}

	digest.Write(pki.KubernetesCAs(cluster))   //nolint:errcheck // as above
	digest.Write(cluster.ServiceAccount().Key) //nolint:errcheck // as above

	return string(digest.Sum(nil))
}

// NewSecrets issues what the servers need.
func NewSecrets(settings config.Config, subject pki.Subject) (Secrets, error) {
	cluster := settings.Cluster()

	certificates, err := pki.NewKubernetes(cluster, subject)
	if err != nil {
		return nil, err
	}

	serviceAccounts, err := cluster.ServiceAccount().GetKey()
	if err != nil {
		return nil, fmt.Errorf("error parsing service account key: %w", err)
	}

	encryption, err := encryptionConfiguration(cluster)
	if err != nil {
		return nil, err
	}

	secrets := Secrets{}
	put := func(directory, name string, content []byte) { secrets[filepath.Join(directory, name)] = content }
	pair := func(directory, name string, pair *x509.PEMEncodedCertificateAndKey) {
		put(directory, name+".crt", pair.Crt)
		put(directory, name+".key", pair.Key)
	}

	apiServer := constants.KubernetesAPIServerSecretsDir
	pair(apiServer, "apiserver", certificates.APIServer)
	pair(apiServer, kubeletClientName, certificates.KubeletClient)
	pair(apiServer, frontProxyName, certificates.FrontProxy)
	pair(apiServer, "etcd-client", certificates.EtcdClient)
	put(apiServer, "etcd-client-ca.crt", cluster.Etcd().CA().Crt)
	put(apiServer, authorityFile, pki.KubernetesCAs(cluster))
	put(apiServer, aggregatorAuthorityFile, cluster.AggregatorCA().Crt)
	put(apiServer, "service-account.pub", serviceAccounts.GetPublicKeyPEM())
	put(apiServer, "service-account.key", serviceAccounts.GetPrivateKeyPEM())
	put(apiServer, encryptionFile, encryption)

	manager := constants.KubernetesControllerManagerSecretsDir
	put(manager, authorityFile, cluster.IssuingCA().Crt)
	put(manager, authorityKeyFile, cluster.IssuingCA().Key)
	put(manager, "service-account.key", serviceAccounts.GetPrivateKeyPEM())

	server := LocalServer(settings)

	for directory, user := range map[string]string{
		manager:                                 constants.KubernetesControllerManagerOrganization,
		constants.KubernetesSchedulerSecretsDir: constants.KubernetesSchedulerOrganization,
	} {
		kubeconfig, err := pki.LocalKubeconfig(cluster, server, user)
		if err != nil {
			return nil, err
		}

		put(directory, kubeconfigFile, kubeconfig)
	}

	return secrets, nil
}

// encryptionConfiguration says how secrets are encrypted in etcd.
func encryptionConfiguration(cluster config.ClusterConfig) ([]byte, error) {
	providers := []object{}

	if secret := cluster.SecretboxEncryptionSecret(); secret != "" {
		providers = append(providers, object{"secretbox": object{"keys": []object{{"name": "key2", "secret": secret}}}})
	}

	if secret := cluster.AESCBCEncryptionSecret(); secret != "" {
		providers = append(providers, object{"aescbc": object{"keys": []object{{"name": "key1", "secret": secret}}}})
	}

	providers = append(providers, object{"identity": object{}})

	encoded, err := json.Marshal(object{
		"apiVersion": "v1", "kind": "EncryptionConfig",
		"resources": []object{{"resources": []string{"secrets"}, "providers": providers}},
	})
	if err != nil {
		return nil, err
	}

	return yaml.JSONToYAML(encoded)
}
