package node

import (
	"os"
	"slices"

	"github.com/siderolabs/talos/pkg/machinery/config/config"
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

	return n.publishProbeSpecs(settings)
}
