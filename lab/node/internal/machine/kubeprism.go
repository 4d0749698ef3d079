package machine

import (
	"context"
	"net"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/siderolabs/go-loadbalancer/controlplane"
	"github.com/siderolabs/go-loadbalancer/upstream"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/resources/k8s"
	"go.uber.org/zap"

	"cluster-stack/lab/node/internal/node"
)

const (
	httpsPort = 443

	// kubePrismInterval is how often an API server is asked whether it is there; Talos takes 20 seconds.
	kubePrismInterval = 2 * time.Second
)

// kubePrism is the machine's own way to the API servers: a load balancer on
// loopback that asks each of them whether it is there.
type kubePrism struct {
	port      int
	balancer  *controlplane.LoadBalancer
	upstreams chan []string
	last      []string
}

// runKubePrism keeps the load balancer as the configuration has it.
func (l *life) runKubePrism(ctx context.Context) {
	var running *kubePrism

	defer func() { running.stop() }()

	ticker := time.NewTicker(poll)
	defer ticker.Stop()

	for {
		port := 0
		if prism := l.node.Config().Machine().Features().KubePrism(); prism.Enabled() {
			port = prism.Port()
		}

		if running != nil && running.port != port {
			running.stop()
			running = nil
		}

		if running == nil && port != 0 {
			var err error

			if running, err = startKubePrism(port); err != nil {
				l.node.Logs.Printf("failed to start KubePrism: %s", err)

				running = nil
			}
		}

		if running != nil {
			running.follow(ctx, l.apiServers(l.node.Config()))
		}

		if err := l.node.PublishKubePrism(running.status()); err != nil {
			l.node.Logs.Printf("%s", err)
		}

		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func startKubePrism(port int) (*kubePrism, error) {
	balancer, err := controlplane.NewLoadBalancer("127.0.0.1", port, zap.NewNop(),
		controlplane.WithDialTimeout(constants.KubePrismDialTimeout),
		controlplane.WithKeepAlivePeriod(constants.KubePrismKeepAlivePeriod),
		controlplane.WithTCPUserTimeout(constants.KubePrismTCPUserTimeout),
		controlplane.WithHealthCheckOptions(
			upstream.WithHealthcheckInterval(kubePrismInterval),
			upstream.WithHealthcheckTimeout(constants.KubePrismHealthCheckTimeout),
		),
	)
	if err != nil {
		return nil, err
	}

	prism := &kubePrism{port: port, balancer: balancer, upstreams: make(chan []string)}

	return prism, balancer.Start(prism.upstreams)
}

func (p *kubePrism) stop() {
	if p != nil {
		p.balancer.Shutdown() //nolint:errcheck // it is on its way out
	}
}

// follow tells the load balancer where the API servers are now.
func (p *kubePrism) follow(ctx context.Context, endpoints []k8s.KubePrismEndpoint) {
	upstreams := make([]string, 0, len(endpoints))
	for _, endpoint := range endpoints {
		upstreams = append(upstreams, net.JoinHostPort(endpoint.Host, strconv.FormatUint(uint64(endpoint.Port), 10)))
	}

	if slices.Equal(upstreams, p.last) {
		return
	}

	select {
	case <-ctx.Done():
	case p.upstreams <- upstreams:
		p.last = upstreams
	}
}

func (p *kubePrism) status() *node.KubePrism {
	if p == nil {
		return nil
	}

	healthy, err := p.balancer.Healthy()

	return &node.KubePrism{Endpoint: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)), Healthy: err == nil && healthy}
}

// apiServers are where API servers may be: the cluster's endpoint, this
// machine, and the control planes that discovery knows.
func (l *life) apiServers(settings config.Config) []k8s.KubePrismEndpoint {
	var endpoints []k8s.KubePrismEndpoint

	add := func(host string, port uint32) {
		endpoint := k8s.KubePrismEndpoint{Host: host, Port: port}
		if !slices.Contains(endpoints, endpoint) {
			endpoints = append(endpoints, endpoint)
		}
	}

	add(settings.Cluster().Endpoint().Hostname(), portOf(settings.Cluster().Endpoint()))

	if l.node.IsControlPlane() {
		add("localhost", uint32(settings.Cluster().LocalAPIServerPort())) //nolint:gosec // a port
	}

	for _, affiliate := range l.node.ControlPlaneMembers() {
		for _, address := range affiliate.Addresses {
			add(address.String(), uint32(affiliate.ControlPlane.APIServerPort)) //nolint:gosec // a port
		}
	}

	return endpoints
}

func portOf(endpoint *url.URL) uint32 {
	port, err := strconv.ParseUint(endpoint.Port(), 10, 16)
	if err != nil {
		return httpsPort
	}

	return uint32(port)
}
