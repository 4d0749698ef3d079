package talosaccess

import (
	"crypto/x509"
	"slices"
	"testing"
	"time"

	clientconfig "github.com/siderolabs/talos/pkg/machinery/client/config"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/role"

	"cluster-stack/lab/node/internal/kubeletapi"
)

var began = time.Now().Truncate(time.Second)

// at is the issuer with a certificate authority, at a moment.
func at(authority kubeletapi.Authority, moment time.Time) issuer {
	return newIssuer(authority, func() time.Time { return moment })
}

func newAuthority(t *testing.T) kubeletapi.Authority {
	t.Helper()

	made, err := secrets.NewTalosCA(began)
	if err != nil {
		t.Fatal(err)
	}

	return kubeletapi.Authority{Certificate: string(made.CrtPEM), Key: string(made.KeyPEM)}
}

func TestATalosconfigHasTheRolesAndTheServiceAndIsShort(t *testing.T) {
	authority := newAuthority(t)

	talosconfig, err := at(authority, began).issue(role.MakeSet(role.Reader, role.EtcdBackup))
	if err != nil {
		t.Fatal(err)
	}

	config, err := clientconfig.FromBytes(talosconfig)
	if err != nil {
		t.Fatal(err)
	}

	current := config.Contexts[config.Context]
	if !slices.Equal(current.Endpoints, []string{"talos.default"}) || len(current.Nodes) != 0 {
		t.Errorf("endpoints %v, nodes %v", current.Endpoints, current.Nodes)
	}

	certificate := certificateIn(current.Crt)
	if roles := slices.Sorted(slices.Values(certificate.Subject.Organization)); !slices.Equal(roles, []string{"os:etcd:backup", "os:reader"}) {
		t.Errorf("roles %v", roles)
	}

	if lasts := certificate.NotAfter.Sub(began); lasts != 6*time.Hour {
		t.Errorf("lasts %s", lasts)
	}

	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(authority.Certificate))

	if _, err := certificate.Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: began, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		t.Error(err)
	}
}

func TestATalosconfigIsRenewedWhenItNoLongerHolds(t *testing.T) {
	authority := newAuthority(t)
	reader := role.MakeSet(role.Reader)

	talosconfig, err := at(authority, began).issue(reader)
	if err != nil {
		t.Fatal(err)
	}

	for what, one := range map[string]struct {
		issuer      issuer
		talosconfig []byte
		roles       role.Set
		holds       bool
	}{
		"new":                     {at(authority, began), talosconfig, reader, true},
		"an hour is left":         {at(authority, began.Add(5*time.Hour)), talosconfig, reader, true},
		"less than an hour":       {at(authority, began.Add(5*time.Hour+time.Second)), talosconfig, reader, false},
		"from the future":         {at(authority, began.Add(-time.Second)), talosconfig, reader, false},
		"other roles":             {at(authority, began), talosconfig, role.MakeSet(role.Reader, role.EtcdBackup), false},
		"another authority":       {at(newAuthority(t), began), talosconfig, reader, false},
		"nothing":                 {at(authority, began), nil, reader, false},
		"no talosconfig":          {at(authority, began), []byte("contexts: ["), reader, false},
		"a context without a crt": {at(authority, began), []byte("context: default\ncontexts: {default: {}}"), reader, false},
	} {
		if holds := one.issuer.holds(one.talosconfig, one.roles); holds != one.holds {
			t.Errorf("%s: %t", what, holds)
		}
	}
}
