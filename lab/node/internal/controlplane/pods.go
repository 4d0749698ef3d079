package controlplane

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/siderolabs/go-kubernetes/kubernetes/compatibility"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/resources/k8s"
	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	systemCritical = 2000000000
	// memoryForGo is how much of a container's memory limit its collector may let the heap take, in percent.
	memoryForGo = 95

	managerPort   = 10257
	schedulerPort = 10259
)

// Versions are those of what a pod was made from: where one changes, the pod
// starts anew.
type Versions struct {
	Secrets string
	Files   string
	// Configuration is the version of each server's own, by the pod's name.
	Configuration map[string]string
}

// Pods are the static pods of a control plane, those that are not disabled.
func (c *Configuration) Pods(versions Versions) ([]Pod, error) {
	apiServer, err := c.apiServer(versions)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k8s.APIServerID, err)
	}

	pods := []Pod{apiServer}

	if c.ControllerManager.Enabled {
		manager, err := c.controllerManager(versions)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k8s.ControllerManagerID, err)
		}

		pods = append(pods, manager)
	}

	if c.Scheduler.Enabled {
		scheduler, err := c.scheduler(versions)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k8s.SchedulerID, err)
		}

		pods = append(pods, scheduler)
	}

	return pods, nil
}

func (c *Configuration) apiServer(versions Versions) (Pod, error) {
	spec := c.APIServer
	secret := func(name string) []string {
		return []string{filepath.Join(constants.KubernetesAPIServerSecretsDir, name)}
	}
	file := func(name string) []string {
		return []string{filepath.Join(constants.KubernetesAPIServerConfigDir, name)}
	}

	arguments := arguments{
		"admission-control-config-file": file(admissionFile), "allow-privileged": {"true"}, "anonymous-auth": {"false"},
		"api-audiences": {spec.ControlPlaneEndpoint}, "bind-address": {"0.0.0.0"}, "client-ca-file": secret(authorityFile),
		"enable-admission-plugins": {"NodeRestriction"}, "requestheader-client-ca-file": secret(aggregatorAuthorityFile),
		"requestheader-allowed-names": {frontProxyName}, "requestheader-extra-headers-prefix": {"X-Remote-Extra-"},
		"requestheader-group-headers": {"X-Remote-Group"}, "requestheader-username-headers": {"X-Remote-User"},
		"proxy-client-cert-file": secret(frontProxyName + ".crt"), "proxy-client-key-file": secret(frontProxyName + ".key"),
		"enable-bootstrap-token-auth": {"true"}, "tls-min-version": {"VersionTLS12"}, "tls-cipher-suites": {cipherSuites},
		"encryption-provider-config": secret(encryptionFile), "audit-policy-file": file(auditFile),
		"audit-log-path":   {filepath.Join(constants.KubernetesAuditLogDir, "kube-apiserver.log")},
		"audit-log-maxage": {"30"}, "audit-log-maxbackup": {"10"}, "audit-log-maxsize": {"100"}, "profiling": {"false"},
		"etcd-cafile": secret("etcd-client-ca.crt"), "etcd-certfile": secret("etcd-client.crt"), "etcd-keyfile": secret("etcd-client.key"),
		"etcd-servers":               {strings.Join(spec.EtcdServers, ",")},
		"kubelet-client-certificate": secret(kubeletClientName + ".crt"), "kubelet-client-key": secret(kubeletClientName + ".key"),
		"secure-port": {strconv.Itoa(spec.LocalPort)}, "service-account-issuer": {spec.ControlPlaneEndpoint},
		"service-account-key-file": secret("service-account.pub"), "service-account-signing-key-file": secret("service-account.key"),
		"service-cluster-ip-range": {strings.Join(spec.ServiceCIDRs, ",")},
		"tls-cert-file":            secret("apiserver.crt"), "tls-private-key-file": secret("apiserver.key"),
		"kubelet-preferred-address-types": {"InternalIP,ExternalIP,Hostname"},
	}

	if spec.AdvertisedAddress != "" {
		arguments["advertise-address"] = []string{spec.AdvertisedAddress}
	}

	version := compatibility.VersionFromImageRef(spec.Image)

	if spec.CloudProvider != "" && !version.CloudProviderFlagRemoved() {
		arguments["cloud-provider"] = []string{spec.CloudProvider}
	}

	c.authorization(arguments, version)

	policies := policiesOf(denied,
		"etcd-servers", "client-ca-file", "requestheader-client-ca-file", "proxy-client-cert-file", "proxy-client-key-file",
		"encryption-provider-config", "etcd-cafile", "etcd-certfile", "etcd-keyfile", "kubelet-client-certificate",
		"kubelet-client-key", "service-account-key-file", "service-account-signing-key-file", "tls-cert-file",
		"tls-private-key-file", "authorization-config")
	maps.Copy(policies, policiesOf(additive, "enable-admission-plugins", "feature-gates", "authorization-mode", "tls-cipher-suites"))

	return pod(server{
		name: k8s.APIServerID, image: spec.Image, arguments: arguments, extra: spec.ExtraArgs, policies: policies,
		environment: spec.EnvironmentVariables, resources: spec.Resources, cpu: "200m", memory: "512Mi", extraVolumes: spec.ExtraVolumes,
		user: constants.KubernetesAPIServerRunUser, group: constants.KubernetesAPIServerRunGroup,
		capabilities: []string{"NET_BIND_SERVICE"},
		volumes: []k8s.ExtraVolume{
			volume("secrets", constants.KubernetesAPIServerSecretsDir), volume("config", constants.KubernetesAPIServerConfigDir),
			{Name: "audit", HostPath: constants.KubernetesAuditLogDir, MountPath: constants.KubernetesAuditLogDir},
		},
		annotations: map[string]string{constants.AnnotationStaticPodConfigFileVersion: versions.Files},
	}, versions)
}

// authorization says how requests are authorized: by a file, unless the machine
// configuration has its say in arguments, or the server is too old.
func (c *Configuration) authorization(arguments arguments, version compatibility.Version) {
	byArguments := !version.KubeAPIServerSupportsAuthorizationConfigFile()

	for name := range c.APIServer.ExtraArgs {
		byArguments = byArguments || name == "authorization-mode" || strings.HasPrefix(name, "authorization-webhook-")
	}

	if byArguments {
		arguments["authorization-mode"] = []string{"Node,RBAC"}

		return
	}

	if !version.FeatureFlagStructuredAuthorizationConfigurationEnabledByDefault() {
		arguments["feature-gates"] = []string{"StructuredAuthorizationConfiguration=true"}
	}

	arguments["authorization-config"] = []string{filepath.Join(constants.KubernetesAPIServerConfigDir, authorizationFile)}
}

func (c *Configuration) controllerManager(versions Versions) (Pod, error) {
	spec := c.ControllerManager
	secret := func(name string) []string {
		return []string{filepath.Join(constants.KubernetesControllerManagerSecretsDir, name)}
	}

	arguments := arguments{
		"allocate-node-cidrs": {"true"}, "bind-address": {"127.0.0.1"}, "cluster-cidr": {strings.Join(spec.PodCIDRs, ",")},
		"service-cluster-ip-range":  {strings.Join(spec.ServiceCIDRs, ",")},
		"cluster-signing-cert-file": secret(authorityFile), "cluster-signing-key-file": secret(authorityKeyFile),
		"controllers": {"*,tokencleaner"}, "configure-cloud-routes": {"false"},
		"kubeconfig": secret(kubeconfigFile), "authentication-kubeconfig": secret(kubeconfigFile),
		"authorization-kubeconfig": secret(kubeconfigFile), "leader-elect": {"true"}, "root-ca-file": secret(authorityFile),
		"service-account-private-key-file": secret("service-account.key"), "profiling": {"false"}, "tls-min-version": {"VersionTLS13"},
	}

	if spec.CloudProvider != "" && !compatibility.VersionFromImageRef(spec.Image).CloudProviderFlagRemoved() {
		arguments["cloud-provider"] = []string{spec.CloudProvider}
	}

	policies := policiesOf(denied, "cluster-signing-cert-file", "cluster-signing-key-file", "authentication-kubeconfig",
		"authorization-kubeconfig", "root-ca-file", "service-account-private-key-file")
	maps.Copy(policies, policiesOf(additive, "service-cluster-ip-range", "controllers"))

	health := HTTPGet{Path: "/healthz", Host: "localhost", Port: managerPort, Scheme: "HTTPS"}

	return pod(server{
		name: k8s.ControllerManagerID, image: spec.Image, options: []string{"--use-service-account-credentials"},
		arguments: arguments, extra: spec.ExtraArgs, policies: policies,
		environment: spec.EnvironmentVariables, resources: spec.Resources, cpu: "50m", memory: "256Mi", extraVolumes: spec.ExtraVolumes,
		user: constants.KubernetesControllerManagerRunUser, group: constants.KubernetesControllerManagerRunGroup,
		volumes:  []k8s.ExtraVolume{volume("secrets", constants.KubernetesControllerManagerSecretsDir)},
		startup:  &Probe{HTTPGet: health, PeriodSeconds: 5, FailureThreshold: 12},
		liveness: &Probe{HTTPGet: health, TimeoutSeconds: 15},
	}, versions)
}

func (c *Configuration) scheduler(versions Versions) (Pod, error) {
	spec := c.Scheduler
	kubeconfig := []string{filepath.Join(constants.KubernetesSchedulerSecretsDir, kubeconfigFile)}

	arguments := arguments{
		"config":                                 {filepath.Join(constants.KubernetesSchedulerConfigDir, schedulerFile)},
		"authentication-tolerate-lookup-failure": {"false"}, "authentication-kubeconfig": kubeconfig,
		"authorization-kubeconfig": kubeconfig, "bind-address": {"127.0.0.1"}, "leader-elect": {"true"}, "profiling": {"false"},
		"tls-min-version": {"VersionTLS13"},
	}

	version := compatibility.VersionFromImageRef(spec.Image)
	probe := func(path string) *Probe {
		return &Probe{HTTPGet: HTTPGet{Path: path, Host: "localhost", Port: schedulerPort, Scheme: "HTTPS"}}
	}

	return pod(server{
		name: k8s.SchedulerID, image: spec.Image, arguments: arguments, extra: spec.ExtraArgs,
		policies:    policiesOf(denied, "kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig", "config"),
		environment: spec.EnvironmentVariables, resources: spec.Resources, cpu: "10m", memory: "64Mi", extraVolumes: spec.ExtraVolumes,
		user: constants.KubernetesSchedulerRunUser, group: constants.KubernetesSchedulerRunGroup,
		volumes: []k8s.ExtraVolume{
			volume("secrets", constants.KubernetesSchedulerSecretsDir), volume("config", constants.KubernetesSchedulerConfigDir),
		},
		startup:   probe(version.KubeSchedulerHealthStartupEndpoint()),
		liveness:  probe(version.KubeSchedulerHealthLivenessEndpoint()),
		readiness: probe(version.KubeSchedulerHealthReadinessEndpoint()),
	}, versions)
}

func policiesOf(all policy, names ...string) map[string]policy {
	policies := map[string]policy{}
	for _, name := range names {
		policies[name] = all
	}

	return policies
}

func volume(name, path string) k8s.ExtraVolume {
	return k8s.ExtraVolume{Name: name, HostPath: path, MountPath: path, ReadOnly: true}
}

// server is what the three pods differ in.
type server struct {
	name, image  string
	options      []string // that stand before the arguments
	arguments    arguments
	extra        map[string]k8s.ArgValues
	policies     map[string]policy
	environment  map[string]string
	resources    k8s.Resources
	cpu, memory  string // asked for, unless the machine configuration says otherwise
	volumes      []k8s.ExtraVolume
	extraVolumes []k8s.ExtraVolume
	user, group  int64
	capabilities []string
	annotations  map[string]string

	startup, liveness, readiness *Probe
}

func pod(server server, versions Versions) (Pod, error) {
	extra := arguments{}
	for name, given := range server.extra {
		extra[name] = given.Values
	}

	if err := server.arguments.merge(extra, server.policies); err != nil {
		return Pod{}, err
	}

	requirements, limit, err := requirements(server)
	if err != nil {
		return Pod{}, err
	}

	environment := []EnvVar{{Name: "POD_IP", ValueFrom: &EnvVarSource{FieldRef{"status.podIP"}}}}
	for _, name := range slices.Sorted(maps.Keys(server.environment)) {
		// Kubernetes replaces $(NAME) in values.
		environment = append(environment, EnvVar{Name: name, Value: strings.ReplaceAll(server.environment[name], "$", "$$")})
	}

	if limit > 0 {
		environment = append(environment, EnvVar{Name: "GOMEMLIMIT", Value: strconv.FormatInt(limit*memoryForGo/100, 10)})
	}

	annotations := map[string]string{
		constants.AnnotationStaticPodSecretsVersion: versions.Secrets,
		constants.AnnotationStaticPodConfigVersion:  versions.Configuration[server.name],
	}
	maps.Copy(annotations, server.annotations)

	result := Pod{
		APIVersion: "v1", Kind: "Pod",
		Metadata: Metadata{Name: server.name, Namespace: "kube-system", Annotations: annotations, Labels: map[string]string{
			"tier": "control-plane", "k8s-app": server.name, "component": server.name,
			"app.kubernetes.io/name": server.name, "app.kubernetes.io/version": Version(server.image),
			"app.kubernetes.io/component": "control-plane", "app.kubernetes.io/managed-by": "Talos",
		}},
		Spec: PodSpec{
			Priority: systemCritical, PriorityClassName: "system-cluster-critical", HostNetwork: true,
			SecurityContext: &PodSecurity{RunAsNonRoot: true, RunAsUser: server.user, RunAsGroup: server.group},
		},
	}

	container := Container{
		Name: server.name, Image: server.image, Env: environment, Resources: requirements,
		Command:      slices.Concat([]string{"/usr/local/bin/" + server.name}, server.options, server.arguments.list()),
		StartupProbe: server.startup, LivenessProbe: server.liveness, ReadinessProbe: server.readiness,
		SecurityContext: &ContainerSecurity{
			Capabilities:   Capabilities{Add: server.capabilities, Drop: []string{"ALL"}},
			SeccompProfile: SeccompProfile{"RuntimeDefault"},
		},
	}

	for _, volume := range slices.Concat(server.volumes, server.extraVolumes) {
		result.Spec.Volumes = append(result.Spec.Volumes, Volume{volume.Name, HostPathVolume{volume.HostPath}})
		container.VolumeMounts = append(container.VolumeMounts, VolumeMount{volume.Name, volume.MountPath, volume.ReadOnly})
	}

	result.Spec.Containers = []Container{container}

	return result, nil
}

// requirements are the resources of a server, and its memory limit in bytes.
func requirements(server server) (Requirements, int64, error) {
	result := Requirements{Requests: map[string]string{"cpu": server.cpu, "memory": server.memory}}
	maps.Copy(result.Requests, server.resources.Requests)

	if len(server.resources.Limits) > 0 {
		result.Limits = maps.Clone(server.resources.Limits)
	}

	var limit int64

	for _, set := range []map[string]string{result.Requests, result.Limits} {
		for name, value := range set {
			quantity, err := resource.ParseQuantity(value)
			if err != nil {
				return Requirements{}, 0, fmt.Errorf("the %s %q of resources: %w", name, value, err)
			}

			if name == "memory" {
				limit = quantity.Value()
			}
		}
	}

	if result.Limits["memory"] == "" {
		limit = 0
	}

	return result, limit, nil
}

// cipherSuites are those of an API server that everybody may reach.
const cipherSuites = "TLS_AES_128_GCM_SHA256,TLS_AES_256_GCM_SHA384,TLS_CHACHA20_POLY1305_SHA256," +
	"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305," +
	"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256," +
	"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305,TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
