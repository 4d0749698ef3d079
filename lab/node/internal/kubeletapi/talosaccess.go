package kubeletapi

import (
	"context"
	"time"
)

// TalosService asks for the Service by which pods find Talos' API.
type TalosService struct {
	Administrator Credentials `json:"administrator"`
}

// ServiceAccounts asks for a talosconfig for every service account of Talos that is allowed one.
type ServiceAccounts struct {
	Administrator Credentials `json:"administrator"`
	Rules         AccessRules `json:"rules"`
	// Authority signs the certificates in the talosconfigs.
	Authority Authority `json:"authority"`
	// ClockOffset is how far the machine's clock is ahead of the host's.
	ClockOffset time.Duration `json:"clockOffset,omitempty"`
}

// AccessRules say which service accounts of Talos are allowed a talosconfig.
type AccessRules struct {
	Namespaces []string `json:"namespaces"`
	Roles      []string `json:"roles"`
}

// Authority is a certificate and its key, PEM-encoded.
type Authority struct {
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
}

// KeepTalosService keeps the Service until the context ends, or something fails.
func (c *Client) KeepTalosService(ctx context.Context, service TalosService) error {
	return c.ask(ctx, Request{TalosService: &service})
}

// KeepServiceAccounts serves the service accounts until the context ends, or something fails.
func (c *Client) KeepServiceAccounts(ctx context.Context, accounts ServiceAccounts) error {
	return c.ask(ctx, Request{ServiceAccounts: &accounts})
}
