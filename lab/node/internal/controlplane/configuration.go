// Package controlplane is what a Talos control plane runs Kubernetes with: it
// turns the machine configuration into the static pods of the API server, the
// controller manager and the scheduler, and into the files that they read. It
// starts nothing and writes nothing.
package controlplane

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/siderolabs/go-kubernetes/kubernetes/compatibility"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/config/types/v1alpha1"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/resources/k8s"
)

// Configuration is what the machine configuration says about the control plane.
type Configuration struct {
	APIServer         k8s.APIServerConfigSpec
	ControllerManager k8s.ControllerManagerConfigSpec
	Scheduler         k8s.SchedulerConfigSpec
	AdmissionControl  k8s.AdmissionControlConfigSpec
	AuditPolicy       k8s.AuditPolicyConfigSpec
	Authorization     k8s.AuthorizationConfigSpec
}

const externalCloudProvider = "external"

// NewConfiguration reads the machine configuration.
func NewConfiguration(settings config.Config) *Configuration {
	cluster, machine := settings.Cluster(), settings.Machine()

	provider := ""
	if cluster.ExternalCloudProvider().Enabled() {
		provider = externalCloudProvider
	}

	advertised := "$(POD_IP)"
	if machine.Kubelet().SkipNodeRegistration() {
		advertised = ""
	}

	apiServer, manager, scheduler := cluster.APIServer(), cluster.ControllerManager(), cluster.Scheduler()

	return &Configuration{
		APIServer: k8s.APIServerConfigSpec{
			Image: apiServer.Image(), CloudProvider: provider, ControlPlaneEndpoint: cluster.Endpoint().String(),
			EtcdServers: []string{"https://127.0.0.1:" + strconv.Itoa(constants.EtcdClientPort)},
			LocalPort:   cluster.LocalAPIServerPort(), ServiceCIDRs: cluster.Network().ServiceCIDRs(),
			ExtraArgs: values(apiServer.ExtraArgs()), ExtraVolumes: extraVolumes(apiServer.ExtraVolumes()),
			EnvironmentVariables: apiServer.Env(), AdvertisedAddress: advertised, Resources: resources(apiServer.Resources()),
		},
		ControllerManager: k8s.ControllerManagerConfigSpec{
			Enabled: !machine.Controlplane().ControllerManager().Disabled(), Image: manager.Image(), CloudProvider: provider,
			PodCIDRs: cluster.Network().PodCIDRs(), ServiceCIDRs: cluster.Network().ServiceCIDRs(),
			ExtraArgs: values(manager.ExtraArgs()), ExtraVolumes: extraVolumes(manager.ExtraVolumes()),
			EnvironmentVariables: manager.Env(), Resources: resources(manager.Resources()),
		},
		Scheduler: k8s.SchedulerConfigSpec{
			Enabled: !machine.Controlplane().Scheduler().Disabled(), Image: scheduler.Image(),
			ExtraArgs: values(scheduler.ExtraArgs()), ExtraVolumes: extraVolumes(scheduler.ExtraVolumes()),
			EnvironmentVariables: scheduler.Env(), Resources: resources(scheduler.Resources()), Config: scheduler.Config(),
		},
		AdmissionControl: k8s.AdmissionControlConfigSpec{Config: admissionPlugins(apiServer.AdmissionControl())},
		AuditPolicy:      k8s.AuditPolicyConfigSpec{Config: apiServer.AuditPolicy()},
		Authorization:    k8s.AuthorizationConfigSpec{Image: apiServer.Image(), Config: authorizers(apiServer)},
	}
}

func values(extra map[string][]string) map[string]k8s.ArgValues {
	converted := make(map[string]k8s.ArgValues, len(extra))
	for name, list := range extra {
		converted[name] = k8s.ArgValues{Values: list}
	}

	return converted
}

func extraVolumes(mounts []config.VolumeMount) []k8s.ExtraVolume {
	var volumes []k8s.ExtraVolume

	for _, mount := range mounts {
		volumes = append(volumes, k8s.ExtraVolume{
			Name: mount.Name(), HostPath: mount.HostPath(), MountPath: mount.MountPath(), ReadOnly: mount.ReadOnly(),
		})
	}

	return volumes
}

func resources(configured config.Resources) k8s.Resources {
	return k8s.Resources{
		Requests: quantities(configured.CPURequests(), configured.MemoryRequests()),
		Limits:   quantities(configured.CPULimits(), configured.MemoryLimits()),
	}
}

func quantities(cpu, memory string) map[string]string {
	set := map[string]string{}

	if cpu != "" {
		set["cpu"] = cpu
	}

	if memory != "" {
		set["memory"] = memory
	}

	return set
}

func admissionPlugins(configured []config.AdmissionPlugin) []k8s.AdmissionPluginSpec {
	var plugins []k8s.AdmissionPluginSpec

	for _, plugin := range configured {
		plugins = append(plugins, k8s.AdmissionPluginSpec{Name: plugin.Name(), Configuration: plugin.Configuration()})
	}

	return plugins
}

// authorizers are those of the machine configuration, with Node and RBAC in
// front where it names neither. Older API servers take none from a file.
func authorizers(apiServer config.APIServer) []k8s.AuthorizationAuthorizersSpec {
	if !compatibility.VersionFromImageRef(apiServer.Image()).KubeAPIServerSupportsAuthorizationConfigFile() {
		return nil
	}

	if apiServer.AuthorizationConfig() == nil {
		return v1alpha1.APIServerDefaultAuthorizationConfigAuthorizers
	}

	var list []k8s.AuthorizationAuthorizersSpec

	for _, authorizer := range apiServer.AuthorizationConfig() {
		list = append(list, k8s.AuthorizationAuthorizersSpec{
			Type: authorizer.Type(), Name: authorizer.Name(), Webhook: authorizer.Webhook(),
		})
	}

	for position, required := range []k8s.AuthorizationAuthorizersSpec{{Type: "Node", Name: "node"}, {Type: "RBAC", Name: "rbac"}} {
		if !slices.ContainsFunc(list, func(one k8s.AuthorizationAuthorizersSpec) bool { return one.Type == required.Type }) {
			list = slices.Insert(list, position, required)
		}
	}

	return list
}

// LocalServer is where the machine's own programs reach an API server.
func LocalServer(settings config.Config) string {
	if prism := settings.Machine().Features().KubePrism(); prism.Enabled() {
		return fmt.Sprintf("https://127.0.0.1:%d", prism.Port())
	}

	return fmt.Sprintf("https://localhost:%d", settings.Cluster().LocalAPIServerPort())
}
