// Package discovery is both sides of cluster discovery: the client by which a
// node tells the others about itself and learns about them, and the public
// service that they meet at. Both are the official libraries.
package discovery

import (
	"context"
	"crypto/aes"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/siderolabs/discovery-api/api/v1alpha1/client/pb"
	"github.com/siderolabs/discovery-client/pkg/client"
	"github.com/siderolabs/discovery-service/pkg/service"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"
	"github.com/siderolabs/talos/pkg/machinery/resources/cluster"
	"go.uber.org/zap"
)

const ttl = 30 * time.Minute

// Serve runs the discovery service.
func Serve(ctx context.Context, listen, certificate, key string, logger *zap.Logger) error {
	return service.Run(ctx, service.Options{
		ListenAddr: listen, CertificatePath: certificate, KeyPath: key, GCInterval: time.Minute,
	}, logger)
}

// NewNodeID makes the identity that a node keeps on its STATE partition.
func NewNodeID() (string, error) {
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return "", err
	}

	return new(big.Int).SetBytes(raw).Text(62), nil
}

// Endpoint is where a configuration's discovery service is: host:port, and
// whether it speaks plain text. ok is false when discovery is off.
func Endpoint(settings config.ClusterConfig) (endpoint string, insecure, ok bool, err error) {
	registry := settings.Discovery().Registries().Service()
	if !settings.Discovery().Enabled() || !registry.Enabled() {
		return "", false, false, nil
	}

	address, err := url.ParseRequestURI(registry.Endpoint())
	if err != nil {
		return "", false, false, fmt.Errorf("discovery service endpoint: %w", err)
	}

	port := address.Port()
	if port == "" {
		port = "443"
		if address.Scheme == "http" {
			port = "80"
		}
	}

	return net.JoinHostPort(address.Hostname(), port), address.Scheme == "http", true, nil
}

// Client is a running discovery client.
type Client struct {
	client *client.Client
	done   chan struct{}
	cancel context.CancelFunc
	last   string
	news   atomic.Bool
}

// Start starts a client; changed is signalled whenever the affiliates change.
func Start(
	ctx context.Context, settings config.ClusterConfig, nodeID, version string, changed chan<- struct{},
) (*Client, error) {
	endpoint, insecure, ok, err := Endpoint(settings)
	if err != nil || !ok {
		return nil, err
	}

	secret, err := base64.StdEncoding.DecodeString(settings.Secret())
	if err != nil {
		return nil, fmt.Errorf("cluster secret: %w", err)
	}

	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, fmt.Errorf("cluster secret: %w", err)
	}

	inner, err := client.NewClient(client.Options{
		Cipher: block, Endpoint: endpoint, ClusterID: settings.ID(), AffiliateID: nodeID, TTL: ttl, Insecure: insecure,
		ClientVersion: version,
		TLSConfig:     func() *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS12} },
	})
	if err != nil {
		return nil, fmt.Errorf("error initializing discovery client: %w", err)
	}

	ctx, cancel := context.WithCancel(ctx)
	running := &Client{client: inner, done: make(chan struct{}), cancel: cancel}

	heard := make(chan struct{}, 1)

	go running.listen(ctx, heard, changed)

	go func() {
		defer close(running.done)

		for ctx.Err() == nil {
			// the client reconnects by itself; it returns only when the
			// service refuses it for good, and then tries once more later
			inner.Run(ctx, zap.NewNop(), heard) //nolint:errcheck

			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}()

	return running, nil
}

// listen remembers that there is news, and tells it on.
func (c *Client) listen(ctx context.Context, heard <-chan struct{}, changed chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-heard:
		}

		c.news.Store(true)

		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// News reports whether the affiliates may have changed since it was last asked.
func (c *Client) News() bool { return c.news.Swap(false) }

// Stop ends the client.
func (c *Client) Stop() {
	c.cancel()
	<-c.done
}

// Announce tells the others about this node, when that has changed.
func (c *Client) Announce(local *cluster.AffiliateSpec) error {
	affiliate := &pb.Affiliate{
		NodeId: local.NodeID, Hostname: local.Hostname, Nodename: local.Nodename,
		MachineType: local.MachineType.String(), OperatingSystem: local.OperatingSystem,
	}

	for _, address := range local.Addresses {
		affiliate.Addresses = append(affiliate.Addresses, address.AsSlice())
	}

	if local.ControlPlane != nil {
		affiliate.ControlPlane = &pb.ControlPlane{ApiServerPort: uint32(local.ControlPlane.APIServerPort)} //nolint:gosec // a port
	}

	text := affiliate.String()
	if text == c.last {
		return nil
	}

	if err := c.client.SetLocalData(&client.Affiliate{Affiliate: affiliate}, nil); err != nil {
		return fmt.Errorf("error setting local affiliate data: %w", err)
	}

	c.last = text

	return nil
}

// Withdraw takes this node out of the cluster's affiliates.
func (c *Client) Withdraw() { c.client.DeleteLocalAffiliate() }

// Affiliates are the other nodes.
func (c *Client) Affiliates() []cluster.AffiliateSpec {
	discovered := c.client.GetAffiliates()
	affiliates := make([]cluster.AffiliateSpec, 0, len(discovered))

	for _, item := range discovered {
		remote := item.Affiliate
		affiliate := cluster.AffiliateSpec{
			NodeID: remote.NodeId, Hostname: remote.Hostname, Nodename: remote.Nodename,
			OperatingSystem: remote.OperatingSystem,
		}

		for _, raw := range remote.Addresses {
			if address, ok := netip.AddrFromSlice(raw); ok {
				affiliate.Addresses = append(affiliate.Addresses, address)
			}
		}

		affiliate.MachineType, _ = machine.ParseType(remote.MachineType) //nolint:errcheck // unknown to an older node

		if remote.ControlPlane != nil {
			affiliate.ControlPlane = &cluster.ControlPlane{APIServerPort: int(remote.ControlPlane.ApiServerPort)}
		}

		affiliates = append(affiliates, affiliate)
	}

	return affiliates
}
