package controlplane

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/siderolabs/go-kubernetes/kubernetes/compatibility"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"sigs.k8s.io/yaml"
)

// The files that the servers read.
const (
	admissionFile     = "admission-control-config.yaml"
	auditFile         = "auditpolicy.yaml"
	authorizationFile = "authorization-config.yaml"
	schedulerFile     = "scheduler-config.yaml"
	encryptionFile    = "encryptionconfig.yaml"
	kubeconfigFile    = "kubeconfig"

	authorityFile           = "ca.crt"
	authorityKeyFile        = "ca.key"
	aggregatorAuthorityFile = "aggregator-ca.crt"

	frontProxyName    = "front-proxy-client"
	kubeletClientName = "apiserver-kubelet-client"
)

type object = map[string]any

// Files are the configuration files of the servers, by their path on the machine.
func (c *Configuration) Files() (map[string][]byte, error) {
	files := map[string][]byte{}

	for path, content := range map[string]object{
		filepath.Join(constants.KubernetesAPIServerConfigDir, admissionFile):     c.admissionControl(),
		filepath.Join(constants.KubernetesAPIServerConfigDir, auditFile):         c.AuditPolicy.Config,
		filepath.Join(constants.KubernetesAPIServerConfigDir, authorizationFile): c.authorizers(),
		filepath.Join(constants.KubernetesSchedulerConfigDir, schedulerFile):     c.schedulerConfiguration(),
	} {
		// by way of JSON, because the machine configuration's own values may be of any type
		encoded, err := json.Marshal(content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}

		if files[path], err = yaml.JSONToYAML(encoded); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}

	return files, nil
}

func (c *Configuration) admissionControl() object {
	plugins := []object{}
	for _, plugin := range c.AdmissionControl.Config {
		plugins = append(plugins, object{"name": plugin.Name, "configuration": plugin.Configuration})
	}

	return object{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins}
}

func (c *Configuration) authorizers() object {
	authorizers := []object{}

	for _, one := range c.Authorization.Config {
		authorizer := object{"type": one.Type, "name": one.Name}
		if one.Webhook != nil {
			authorizer["webhook"] = one.Webhook
		}

		authorizers = append(authorizers, authorizer)
	}

	return object{
		"apiVersion":  compatibility.VersionFromImageRef(c.Authorization.Image).KubeAPIServerAuthorizationConfigAPIVersion(),
		"kind":        "AuthorizationConfiguration",
		"authorizers": authorizers,
	}
}

func (c *Configuration) schedulerConfiguration() object {
	configuration := object{}
	for name, value := range c.Scheduler.Config {
		configuration[name] = value
	}

	connection := object{}
	if given, ok := configuration["clientConnection"].(object); ok {
		for name, value := range given {
			connection[name] = value
		}
	}

	connection["kubeconfig"] = filepath.Join(constants.KubernetesSchedulerSecretsDir, kubeconfigFile)
	configuration["apiVersion"] = "kubescheduler.config.k8s.io/v1"
	configuration["kind"] = "KubeSchedulerConfiguration"
	configuration["clientConnection"] = connection

	return configuration
}
