package node

import (
	"os"
	"slices"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	networkres "github.com/siderolabs/talos/pkg/machinery/resources/network"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"
)

// publishSettings publishes what follows from the configuration alone.
func (n *Node) publishSettings(settings config.Config) error {
	environment := runtime.NewEnvironment("machined")
	environment.TypedSpec().Variables = []string{"PATH=" + os.Getenv("PATH")}

	if wanted := settings.Environment(); wanted != nil {
		for name, value := range wanted.Variables() {
			environment.TypedSpec().Variables = append(environment.TypedSpec().Variables, name+"="+value)
		}
	}

	slices.Sort(environment.TypedSpec().Variables)

	if err := n.put(environment); err != nil {
		return err
	}

	var probes []resource.Resource

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
			return err
		}

		probe := networkres.NewProbeSpec(networkres.NamespaceName, id)
		*probe.TypedSpec() = spec
		probes = append(probes, probe)
	}

	return n.replace(networkres.NamespaceName, networkres.ProbeSpecType, probes)
}
