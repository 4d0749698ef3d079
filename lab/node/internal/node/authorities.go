package node

import (
	"net/netip"
	"net/url"
	"slices"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/siderolabs/crypto/x509"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/resources/secrets"

	"cluster-stack/lab/node/internal/controlplane"
)

// publishAuthorities publishes the authorities of the configuration: that of
// Talos on every machine, those of Kubernetes and etcd on control planes only.
func (n *Node) publishAuthorities(settings config.Config) error {
	var system, kubernetes, etcd []resource.Resource

	if settings.Machine() != nil && settings.Cluster() != nil {
		root := secrets.NewOSRoot(secrets.OSRootID)
		*root.TypedSpec() = osRoot(settings)
		system = append(system, root)

		if settings.Machine().Type().IsControlPlane() {
			if authority, err := kubernetesRoot(settings); err != nil {
				n.Logs.ControllerFailed("secrets.RootKubernetesController: " + err.Error())
			} else {
				root := secrets.NewKubernetesRoot(secrets.KubernetesRootID)
				*root.TypedSpec() = authority
				kubernetes = append(kubernetes, root)
			}

			if ca := settings.Cluster().Etcd().CA(); ca != nil {
				root := secrets.NewEtcdRoot(secrets.EtcdRootID)
				root.TypedSpec().EtcdCA = ca
				etcd = append(etcd, root)
			}
		}
	}

	for kind, wanted := range map[resource.Type][]resource.Resource{
		secrets.OSRootType: system, secrets.KubernetesRootType: kubernetes, secrets.EtcdRootType: etcd,
	} {
		if err := n.replace(secrets.NamespaceName, kind, wanted); err != nil {
			return err
		}
	}

	return nil
}

func osRoot(settings config.Config) secrets.OSRootSpec {
	machine := settings.Machine()
	security := machine.Security()
	root := secrets.OSRootSpec{Token: security.Token()}

	root.IssuingCA, root.AcceptedCAs = authorities(security.IssuingCA(), security.AcceptedCAs())

	for _, name := range security.CertSANs() {
		if address, err := netip.ParseAddr(name); err == nil {
			root.CertSANIPs = append(root.CertSANIPs, address)
		} else {
			root.CertSANDNSNames = append(root.CertSANDNSNames, name)
		}
	}

	root.CertSANDNSNames = append(root.CertSANDNSNames, talosServiceNames(machine)...)

	return root
}

func kubernetesRoot(settings config.Config) (secrets.KubernetesRootSpec, error) {
	cluster := settings.Cluster()

	local, err := url.Parse(controlplane.LocalServer(settings))
	if err != nil {
		return secrets.KubernetesRootSpec{}, err
	}

	addresses, err := cluster.Network().APIServerIPs()
	if err != nil {
		return secrets.KubernetesRootSpec{}, err
	}

	root := secrets.KubernetesRootSpec{
		Name: cluster.Name(), Endpoint: cluster.Endpoint(), LocalEndpoint: local, CertSANs: cluster.CertSANs(),
		APIServerIPs: addresses, DNSDomain: cluster.Network().DNSDomain(), ServiceAccount: cluster.ServiceAccount(),
		AggregatorCA: cluster.AggregatorCA(), AESCBCEncryptionSecret: cluster.AESCBCEncryptionSecret(),
		SecretboxEncryptionSecret: cluster.SecretboxEncryptionSecret(),
		BootstrapTokenID:          cluster.Token().ID(), BootstrapTokenSecret: cluster.Token().Secret(),
	}

	root.IssuingCA, root.AcceptedCAs = authorities(cluster.IssuingCA(), cluster.AcceptedCAs())

	return root, nil
}

// authorities are the one that issues certificates and those that are accepted.
// A worker knows the first without its key: there it issues nothing.
func authorities(
	issuing *x509.PEMEncodedCertificateAndKey, accepted []*x509.PEMEncodedCertificate,
) (*x509.PEMEncodedCertificateAndKey, []*x509.PEMEncodedCertificate) {
	if issuing == nil {
		return nil, accepted
	}

	accepted = append(slices.Clone(accepted), &x509.PEMEncodedCertificate{Crt: issuing.Crt})

	if len(issuing.Key) == 0 {
		return nil, accepted
	}

	return issuing, accepted
}
