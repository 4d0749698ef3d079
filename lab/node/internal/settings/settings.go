// Package settings decodes and judges machine configurations as a node of the
// booted version does: with the official library, plus what that library does
// not know about older releases. It owns no state.
package settings

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configdiff"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/container"
	"github.com/siderolabs/talos/pkg/machinery/config/types/v1alpha1"

	"cluster-stack/lab/node/internal/talos"
)

// Decode decodes a machine configuration.
func Decode(data []byte, version talos.Version) (config.Provider, error) {
	if err := checkDialect(data, version); err != nil {
		return nil, err
	}

	return configloader.NewFromBytes(data)
}

// Mode is how the platform of the booted image runs Talos.
type Mode struct {
	platform  string
	installed bool
}

// NewMode returns the mode of a platform: metal is installed by Talos itself,
// everything else boots from an image that is already the installed system.
func NewMode(platform string, installed bool) Mode {
	return Mode{platform: platform, installed: installed}
}

// String is the mode's name.
func (m Mode) String() string {
	if m.platform == "metal" {
		return "metal"
	}

	return "cloud"
}

// RequiresInstall reports whether a configuration must say where to install.
func (m Mode) RequiresInstall() bool { return m.platform == "metal" && !m.installed }

// InContainer is always false: the lab's nodes are virtual machines.
func (m Mode) InContainer() bool { return false }

// Diff shows how two configurations differ, as a dry run does.
func Diff(current, next config.Provider) (string, error) {
	var old config.Encoder
	if current != nil {
		old = current
	}

	diff, err := configdiff.DiffConfigs(old, next)
	if err != nil {
		return "", err
	}

	if diff == "" {
		diff = "No changes."
	}

	return "Config diff:\n\n" + diff, nil
}

// CanApplyImmediate tells why a change needs a reboot, or nil. Only the
// v1alpha1 document counts: other documents never need one.
func CanApplyImmediate(current, next config.Provider) error {
	if current == nil {
		return errors.New("no current config")
	}

	before := current.RawV1Alpha1()
	if before == nil {
		return errors.New("current config is not v1alpha1")
	}

	if next.RawV1Alpha1() == nil {
		return errors.New("new config is not v1alpha1")
	}

	after := next.RawV1Alpha1().DeepCopy()
	ignoreImmediate(before, after)

	if reflect.DeepEqual(before, after) {
		return nil
	}

	diff, err := configdiff.DiffConfigs(container.NewV1Alpha1(before), container.NewV1Alpha1(after))
	if err != nil {
		return fmt.Errorf("error calculating diff: %w", err)
	}

	return fmt.Errorf("this config change can't be applied in immediate mode\ndiff:\n%s", diff)
}

// immediateMachine and immediateFeatures name the parts of .machine and
// .machine.features that take effect without a reboot.
var (
	immediateMachine = []string{
		"MachineCA", "MachineAcceptedCAs", "MachineTime", "MachineCertSANs", "MachineInstall", "MachineNetwork",
		"MachineSysfs", "MachineSysctls", "MachineLogging", "MachineControlPlane", "MachineKubelet", "MachineKernel",
		"MachineRegistries", "MachinePods", "MachineSeccompProfiles", "MachineNodeAnnotations", "MachineNodeLabels",
		"MachineNodeTaints",
	}
	immediateFeatures = []string{
		"KubernetesTalosAPIAccessConfig", "KubePrismSupport", "HostDNSSupport", "ImageCacheSupport",
		"FeatureNodeAddressSortAlgorithm",
	}
)

// ignoreImmediate makes after equal to before wherever no reboot is needed.
func ignoreImmediate(before, after *v1alpha1.Config) {
	after.ConfigDebug = before.ConfigDebug
	after.ClusterConfig = before.ClusterConfig

	if before.MachineConfig == nil || after.MachineConfig == nil {
		return
	}

	copyFields(before.MachineConfig, after.MachineConfig, immediateMachine)

	if before.MachineConfig.MachineFeatures != nil && after.MachineConfig.MachineFeatures != nil {
		copyFields(before.MachineConfig.MachineFeatures, after.MachineConfig.MachineFeatures, immediateFeatures)
	}
}

func copyFields(from, to any, names []string) {
	source, target := reflect.ValueOf(from).Elem(), reflect.ValueOf(to).Elem()

	for _, name := range names {
		target.FieldByName(name).Set(source.FieldByName(name))
	}
}
