package main

import (
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/siderolabs/crypto/x509"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/role"
)

// secretsOf is machineSecrets for a secrets bundle.
func secretsOf(bundle *secrets.Bundle) (resource.PropertyValue, error) {
	if bundle.Cluster == nil || bundle.Secrets == nil || bundle.TrustdInfo == nil || bundle.Certs == nil {
		return resource.PropertyValue{}, errors.New("one of cluster, secrets, trustdinfo and certs is missing")
	}

	certs := bundle.Certs
	if certs.Etcd == nil || certs.K8s == nil || certs.OS == nil || certs.K8sServiceAccount == nil {
		return resource.PropertyValue{}, errors.New("one of certs.etcd, certs.k8s, certs.k8sserviceaccount and certs.os is missing")
	}

	kubernetes := map[string]resource.PropertyValue{
		"bootstrapToken":            text(bundle.Secrets.BootstrapToken),
		"secretboxEncryptionSecret": text(bundle.Secrets.SecretboxEncryptionSecret),
	}
	if bundle.Secrets.AESCBCEncryptionSecret != "" {
		kubernetes["aescbcEncryptionSecret"] = text(bundle.Secrets.AESCBCEncryptionSecret)
	}

	authorities := map[string]resource.PropertyValue{
		"etcd":              pairOf(certs.Etcd),
		"k8s":               pairOf(certs.K8s),
		"k8sServiceaccount": object(map[string]resource.PropertyValue{"key": encoded(certs.K8sServiceAccount.Key)}),
		"os":                pairOf(certs.OS),
	}
	if certs.K8sAggregator != nil && certs.K8sAggregator.Crt != nil {
		authorities["k8sAggregator"] = pairOf(certs.K8sAggregator)
	}

	return object(map[string]resource.PropertyValue{
		"certs": object(authorities),
		"cluster": object(map[string]resource.PropertyValue{
			"id": text(bundle.Cluster.ID), "secret": text(bundle.Cluster.Secret),
		}),
		"secrets":    object(kubernetes),
		"trustdinfo": object(map[string]resource.PropertyValue{"token": text(bundle.TrustdInfo.Token)}),
	}), nil
}

// bundleOf is the secrets bundle for machineSecrets.
func bundleOf(machineSecrets resource.PropertyMap) (*secrets.Bundle, error) {
	certs := objectAt(machineSecrets, "certs")

	var failed error

	decode := func(authority, field resource.PropertyKey) []byte {
		data, err := base64.StdEncoding.DecodeString(stringAt(certs, authority, field))
		if err != nil {
			// The error of the decoder would quote the value.
			failed = fmt.Errorf("machineSecrets.certs.%s.%s is not base64", authority, field)
		}

		return data
	}

	pair := func(authority resource.PropertyKey) *x509.PEMEncodedCertificateAndKey {
		return &x509.PEMEncodedCertificateAndKey{Crt: decode(authority, "cert"), Key: decode(authority, "key")}
	}

	bundle := &secrets.Bundle{
		Clock: secrets.NewClock(),
		Cluster: &secrets.Cluster{
			ID:     stringAt(machineSecrets, "cluster", "id"),
			Secret: stringAt(machineSecrets, "cluster", "secret"),
		},
		Secrets: &secrets.Secrets{
			BootstrapToken:            stringAt(machineSecrets, "secrets", "bootstrapToken"),
			AESCBCEncryptionSecret:    stringAt(machineSecrets, "secrets", "aescbcEncryptionSecret"),
			SecretboxEncryptionSecret: stringAt(machineSecrets, "secrets", "secretboxEncryptionSecret"),
		},
		TrustdInfo: &secrets.TrustdInfo{Token: stringAt(machineSecrets, "trustdinfo", "token")},
		Certs: &secrets.Certs{
			Etcd:              pair("etcd"),
			K8s:               pair("k8s"),
			K8sAggregator:     pair("k8sAggregator"),
			K8sServiceAccount: &x509.PEMEncodedKey{Key: decode("k8sServiceaccount", "key")},
			OS:                pair("os"),
		},
	}

	return bundle, failed
}

// newClientConfiguration issues an admin certificate of the Talos API from a bundle's authority.
func newClientConfiguration(bundle *secrets.Bundle) (resource.PropertyValue, error) {
	admin, err := bundle.GenerateTalosAPIClientCertificateWithTTL(
		role.MakeSet(role.Admin), constants.TalosAPIDefaultCertificateValidityDuration,
	)
	if err != nil {
		return resource.PropertyValue{}, err
	}

	return object(map[string]resource.PropertyValue{
		"caCertificate":     encoded(bundle.Certs.OS.Crt),
		"clientCertificate": encoded(admin.Crt),
		"clientKey":         encoded(admin.Key),
	}), nil
}

func pairOf(pair *x509.PEMEncodedCertificateAndKey) resource.PropertyValue {
	return object(map[string]resource.PropertyValue{"cert": encoded(pair.Crt), "key": encoded(pair.Key)})
}

func encoded(data []byte) resource.PropertyValue {
	return text(base64.StdEncoding.EncodeToString(data))
}
