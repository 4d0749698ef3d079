package node

import (
	"maps"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	networkres "github.com/siderolabs/talos/pkg/machinery/resources/network"
)

// ProbeSpecs are the probes that a configuration asks for, by their ids.
func ProbeSpecs(settings config.Config) (map[string]networkres.ProbeSpecSpec, error) {
	specs := map[string]networkres.ProbeSpecSpec{}

	for _, document := range settings.NetworkProbeConfigs() {
		tcp, isTCP := document.(config.NetworkTCPProbeConfig)
		if !isTCP {
			continue
		}

		spec := networkres.ProbeSpecSpec{
			Interval: tcp.Interval(), FailureThreshold: tcp.FailureThreshold(),
			TCP:         networkres.TCPProbeSpec{Endpoint: tcp.Endpoint(), Timeout: tcp.Timeout()},
			ConfigLayer: networkres.ConfigMachineConfiguration,
		}

		id, err := spec.ID()
		if err != nil {
			return nil, err
		}

		specs[id] = spec
	}

	return specs, nil
}

func (n *Node) publishProbeSpecs(settings config.Config) error {
	specs, err := ProbeSpecs(settings)
	if err != nil {
		return err
	}

	var probes []resource.Resource

	for id, spec := range specs {
		probe := networkres.NewProbeSpec(networkres.NamespaceName, id)
		*probe.TypedSpec() = spec
		probes = append(probes, probe)
	}

	return n.replace(networkres.NamespaceName, networkres.ProbeSpecType, probes)
}

// SetProbes publishes how the probes went, by their ids.
func (n *Node) SetProbes(statuses map[string]networkres.ProbeStatusSpec) error {
	n.mu.Lock()
	n.probes = maps.Clone(statuses)
	n.mu.Unlock()

	var published []resource.Resource

	for id, spec := range statuses {
		status := networkres.NewProbeStatus(networkres.NamespaceName, id)
		*status.TypedSpec() = spec
		published = append(published, status)
	}

	if err := n.replace(networkres.NamespaceName, networkres.ProbeStatusType, published); err != nil {
		return err
	}

	return n.publishNetworkStatus()
}

// connected tells whether every probe succeeds; without any, a default route is
// connectivity, as Talos has it.
func (n *Node) connected(hasDefaultRoute bool) bool {
	n.mu.Lock()
	defer n.mu.Unlock()

	if len(n.probes) == 0 {
		return hasDefaultRoute
	}

	for _, status := range n.probes {
		if !status.Success {
			return false
		}
	}

	return true
}
