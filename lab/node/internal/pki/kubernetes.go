package pki

import (
	"bytes"
	stdx509 "crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/siderolabs/crypto/x509"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"gopkg.in/yaml.v3"
)

// Kubernetes are the certificates of a control plane's API server.
type Kubernetes struct {
	APIServer     *x509.PEMEncodedCertificateAndKey
	KubeletClient *x509.PEMEncodedCertificateAndKey
	FrontProxy    *x509.PEMEncodedCertificateAndKey
	EtcdClient    *x509.PEMEncodedCertificateAndKey
}

// kubernetesLifetime is how long Talos lets the certificates of its control
// planes hold.
const kubernetesLifetime = 365 * 24 * time.Hour

// NewKubernetes issues the certificates of an API server that clients know as
// the subject.
func NewKubernetes(cluster config.ClusterConfig, subject Subject) (*Kubernetes, error) {
	var certificates Kubernetes

	common := []x509.Option{
		x509.NotAfter(time.Now().Add(kubernetesLifetime)),
		x509.KeyUsage(stdx509.KeyUsageDigitalSignature | stdx509.KeyUsageKeyEncipherment),
	}
	server := x509.ExtKeyUsage([]stdx509.ExtKeyUsage{stdx509.ExtKeyUsageServerAuth})
	client := x509.ExtKeyUsage([]stdx509.ExtKeyUsage{stdx509.ExtKeyUsageClientAuth})

	for _, wanted := range []struct {
		name    string
		into    **x509.PEMEncodedCertificateAndKey
		ca      *x509.PEMEncodedCertificateAndKey
		options []x509.Option
	}{
		{
			"API server", &certificates.APIServer, cluster.IssuingCA(),
			append(subject.options(), x509.Organization("kube-master"), server),
		},
		{
			"kubelet client", &certificates.KubeletClient, cluster.IssuingCA(),
			[]x509.Option{
				x509.CommonName(constants.KubernetesAPIServerKubeletClientCommonName),
				x509.Organization(constants.KubernetesAdminCertOrganization), client,
			},
		},
		{"front proxy", &certificates.FrontProxy, cluster.AggregatorCA(), []x509.Option{x509.CommonName("front-proxy-client"), client}},
		{"etcd client", &certificates.EtcdClient, cluster.Etcd().CA(), []x509.Option{x509.CommonName("kube-apiserver"), client}},
	} {
		issued, err := issue(wanted.ca, slices.Concat(common, wanted.options)...)
		if err != nil {
			return nil, fmt.Errorf("failed to generate the %s certificate: %w", wanted.name, err)
		}

		*wanted.into = issued
	}

	return &certificates, nil
}

// KubernetesCAs are the authorities of the cluster's Kubernetes, in PEM.
func KubernetesCAs(cluster config.ClusterConfig) []byte {
	var authorities []byte

	for _, ca := range cluster.AcceptedCAs() {
		authorities = append(authorities, ca.Crt...)
	}

	if ca := cluster.IssuingCA(); ca != nil && !bytes.Contains(authorities, ca.Crt) {
		authorities = append(authorities, ca.Crt...)
	}

	return authorities
}

const allowedTimeSkew = 10 * time.Second

// client issues a client's certificate for Kubernetes.
func client(cluster config.ClusterConfig, name, organization string, lifetime time.Duration) (*x509.PEMEncodedCertificateAndKey, error) {
	certificate, err := issue(cluster.IssuingCA(), x509.CommonName(name), x509.Organization(organization),
		x509.NotBefore(time.Now().Add(-allowedTimeSkew)), x509.NotAfter(time.Now().Add(lifetime)),
		x509.KeyUsage(stdx509.KeyUsageDigitalSignature|stdx509.KeyUsageKeyEncipherment),
		x509.ExtKeyUsage([]stdx509.ExtKeyUsage{stdx509.ExtKeyUsageClientAuth}))
	if err != nil {
		return nil, fmt.Errorf("error generating Kubernetes client certificate: %w", err)
	}

	return certificate, nil
}

// TalosAdministrator is the certificate by which a control plane itself changes
// what is in Kubernetes.
func TalosAdministrator(cluster config.ClusterConfig) (*x509.PEMEncodedCertificateAndKey, error) {
	return client(cluster, constants.KubernetesTalosAdminCertCommonName, constants.KubernetesAdminCertOrganization, kubernetesLifetime)
}

// Kubeconfig makes the admin kubeconfig of a cluster.
func Kubeconfig(cluster config.ClusterConfig) ([]byte, error) {
	admin := cluster.AdminKubeconfig()

	certificate, err := client(cluster, admin.CommonName(), admin.CertOrganization(), admin.CertLifetime())
	if err != nil {
		return nil, err
	}

	return kubeconfig(cluster, cluster.Endpoint().String(), "admin", certificate)
}

// LocalKubeconfig makes the kubeconfig of one of the control plane's own servers.
func LocalKubeconfig(cluster config.ClusterConfig, server, user string) ([]byte, error) {
	certificate, err := client(cluster, user, user, kubernetesLifetime)
	if err != nil {
		return nil, err
	}

	return kubeconfig(cluster, server, user, certificate)
}

func kubeconfig(cluster config.ClusterConfig, server, user string, certificate *x509.PEMEncodedCertificateAndKey) ([]byte, error) {
	name, user := cluster.Name(), user+"@"+cluster.Name()

	type object = map[string]any

	return yaml.Marshal(object{
		"apiVersion": "v1",
		"kind":       "Config",
		"clusters": []object{{
			"name": name,
			"cluster": object{
				"server": server, "certificate-authority-data": base64.StdEncoding.EncodeToString(KubernetesCAs(cluster)),
			},
		}},
		"users": []object{{
			"name": user,
			"user": object{
				"client-certificate-data": base64.StdEncoding.EncodeToString(certificate.Crt),
				"client-key-data":         base64.StdEncoding.EncodeToString(certificate.Key),
			},
		}},
		"contexts": []object{{
			"name":    user,
			"context": object{"cluster": name, "namespace": "default", "user": user},
		}},
		"current-context": user,
	})
}
