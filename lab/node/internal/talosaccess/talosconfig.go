package talosaccess

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"slices"
	"time"

	talosx509 "github.com/siderolabs/crypto/x509"
	clientconfig "github.com/siderolabs/talos/pkg/machinery/client/config"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/role"

	"cluster-stack/lab/node/internal/kubeletapi"
)

const (
	lifetime    = 6 * time.Hour
	renewBefore = time.Hour

	contextName = "default"
	endpoint    = constants.KubernetesTalosAPIServiceName + "." + constants.KubernetesTalosAPIServiceNamespace
)

// issuer makes talosconfigs.
type issuer struct {
	authority *talosx509.PEMEncodedCertificateAndKey
	now       func() time.Time
}

func newIssuer(given kubeletapi.Authority, now func() time.Time) issuer {
	return issuer{
		authority: &talosx509.PEMEncodedCertificateAndKey{Crt: []byte(given.Certificate), Key: []byte(given.Key)}, now: now,
	}
}

// issue makes a talosconfig with a new certificate for the roles.
func (i issuer) issue(roles role.Set) ([]byte, error) {
	certificate, err := secrets.NewAdminCertificateAndKey(i.now(), i.authority, roles, lifetime)
	if err != nil {
		return nil, err
	}

	return clientconfig.NewConfig(contextName, []string{endpoint}, i.authority.Crt, certificate).Bytes()
}

// holds says whether a talosconfig is still what issue would make of the roles, and for long enough.
func (i issuer) holds(talosconfig []byte, roles role.Set) bool {
	config, err := clientconfig.FromBytes(talosconfig)
	if err != nil {
		return false
	}

	current := config.Contexts[config.Context]
	if current == nil || current.CA != base64.StdEncoding.EncodeToString(i.authority.Crt) || !slices.Equal(current.Endpoints, []string{endpoint}) {
		return false
	}

	certificate := certificateIn(current.Crt)
	if certificate == nil {
		return false
	}

	left := certificate.NotAfter.Sub(i.now())

	return left >= renewBefore && left <= lifetime &&
		slices.Equal(slices.Sorted(slices.Values(certificate.Subject.Organization)), roles.Strings())
}

// certificateIn reads a certificate as a talosconfig has it, nil where it is none.
func certificateIn(encoded string) *x509.Certificate {
	text, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil
	}

	block, _ := pem.Decode(text)
	if block == nil {
		return nil
	}

	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}

	return certificate
}
