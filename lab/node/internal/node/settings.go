package node

import (
	"os"
	"slices"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	configres "github.com/siderolabs/talos/pkg/machinery/resources/config"
	"github.com/siderolabs/talos/pkg/machinery/resources/kubeaccess"
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

	if err := n.publishKubernetesAccess(settings); err != nil {
		return err
	}

	return n.publishProbeSpecs(settings)
}

// publishKubernetesAccess publishes which pods may have Talos' API, on control planes.
func (n *Node) publishKubernetesAccess(settings config.Config) error {
	var wanted []resource.Resource

	if machine := settings.Machine(); machine != nil && machine.Type().IsControlPlane() {
		feature := machine.Features().KubernetesTalosAPIAccess()
		access := kubeaccess.NewConfig(configres.NamespaceName, kubeaccess.ConfigID)
		*access.TypedSpec() = kubeaccess.ConfigSpec{
			Enabled: feature.Enabled(), AllowedAPIRoles: feature.AllowedRoles(),
			AllowedKubernetesNamespaces: feature.AllowedKubernetesNamespaces(),
		}
		wanted = append(wanted, access)
	}

	return n.replace(configres.NamespaceName, kubeaccess.ConfigType, wanted)
}

// talosServiceNames are the names by which pods call Talos' API, where they may.
func talosServiceNames(machine config.MachineConfig) []string {
	if !machine.Features().KubernetesTalosAPIAccess().Enabled() {
		return nil
	}

	name := constants.KubernetesTalosAPIServiceName

	return []string{name, name + "." + constants.KubernetesTalosAPIServiceNamespace}
}
