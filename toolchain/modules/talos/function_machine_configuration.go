package main

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	sideronet "github.com/siderolabs/net"
	machineapi "github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/compatibility"
	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/bundle"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"
	"github.com/siderolabs/talos/pkg/machinery/config/encoder"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	machinetype "github.com/siderolabs/talos/pkg/machinery/config/machine"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/gendata"
)

// machineConfigurationFunction is talos:machine/getConfiguration:getConfiguration: it generates a machine
// configuration.
type machineConfigurationFunction struct{}

var machineTypes = map[string]machinetype.Type{
	"controlplane": machinetype.TypeControlPlane,
	"worker":       machinetype.TypeWorker,
}

func (machineConfigurationFunction) check(args resource.PropertyMap) []failure {
	failures := slices.Concat(checkClusterName(args), checkContract(args))

	if _, ok := machineTypes[stringAt(args, "machineType")]; !ok {
		failures = append(failures, failure{
			"machineType", fmt.Sprintf("Expected controlplane or worker, got %q", stringAt(args, "machineType")),
		})
	}

	if err := checkClusterEndpoint(stringAt(args, "clusterEndpoint")); err != nil {
		failures = append(failures, failure{"clusterEndpoint", err.Error()})
	}

	if _, err := configpatcher.LoadPatches(stringsAt(args, "configPatches")); err != nil {
		failures = append(failures, failure{"configPatches", err.Error()})
	}

	if version := stringAt(args, "kubernetesVersion"); version != "" && len(failures) == 0 {
		if err := checkKubernetesVersion(version, stringAt(args, "talosVersion")); err != nil {
			failures = append(failures, failure{"kubernetesVersion", err.Error()})
		}
	}

	return failures
}

func checkClusterEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil {
		// 10.0.0.1:6443 is no URL, but what is missing in it is plain.
		if strings.Contains(endpoint, "/") {
			return fmt.Errorf("not a URL: %w", err)
		}

		u = &url.URL{Host: endpoint}
	}

	if u.Scheme == "https" {
		return sideronet.ValidateEndpointURI(endpoint)
	}

	host := u.Host
	if host == "" {
		host = u.Path
	}

	suggestion := &url.URL{Scheme: "https", Host: host}
	if suggestion.Port() == "" {
		suggestion.Host = fmt.Sprintf("%s:%d", host, constants.DefaultControlPlanePort)
	}

	if u.Scheme == "" {
		return fmt.Errorf("no scheme in the cluster endpoint URL; try %q", suggestion)
	}

	return fmt.Errorf("the cluster endpoint URL should have the scheme https; try %q", suggestion)
}

func checkKubernetesVersion(kubernetes, talos string) error {
	if talos == "" {
		talos = gendata.VersionTag
	}

	k8s, err := compatibility.ParseKubernetesVersion(strings.TrimPrefix(kubernetes, "v"))
	if err != nil {
		return err
	}

	target, err := compatibility.ParseTalosVersion(&machineapi.VersionInfo{Tag: talos})
	if err != nil {
		return fmt.Errorf("talosVersion: %w", err)
	}

	return k8s.SupportedWith(target)
}

func (machineConfigurationFunction) call(args resource.PropertyMap) (resource.PropertyMap, error) {
	result := args.Copy()

	for key, value := range map[resource.PropertyKey]string{
		"kubernetesVersion": constants.DefaultKubernetesVersion,
		"talosVersion":      defaultContract(),
	} {
		if isNull(result[key]) {
			result[key] = text(value)
		}
	}

	generated, err := generateConfiguration(result)
	if err != nil {
		return nil, fmt.Errorf("failed to generate the machine configuration: %w", err)
	}

	result[idKey] = result["clusterName"]
	result["machineConfiguration"] = text(generated)

	return result, nil
}

func generateConfiguration(args resource.PropertyMap) (string, error) {
	secretsBundle, err := bundleOf(objectAt(args, "machineSecrets"))
	if err != nil {
		return "", err
	}

	versionContract, err := config.ParseContractFromVersion(stringAt(args, "talosVersion"))
	if err != nil {
		return "", err
	}

	patches, err := configpatcher.LoadPatches(stringsAt(args, "configPatches"))
	if err != nil {
		return "", fmt.Errorf("error parsing configPatches: %w", err)
	}

	machineType := machineTypes[stringAt(args, "machineType")]

	options := []bundle.Option{
		bundle.WithInputOptions(&bundle.InputOptions{
			ClusterName: stringAt(args, "clusterName"),
			Endpoint:    stringAt(args, "clusterEndpoint"),
			KubeVersion: strings.TrimPrefix(stringAt(args, "kubernetesVersion"), "v"),
			GenOptions: []generate.Option{
				generate.WithClusterDiscovery(true),
				generate.WithDNSDomain(constants.DefaultDNSDomain),
				generate.WithInstallDisk("/dev/sda"),
				generate.WithInstallImage(defaultInstallImage()),
				generate.WithSecretsBundle(secretsBundle),
				generate.WithVersionContract(versionContract),
			},
		}),
		bundle.WithVerbose(false),
	}

	switch machineType { //nolint:exhaustive // check lets only these two through
	case machinetype.TypeControlPlane:
		options = append(options, bundle.WithPatchControlPlane(patches))
	case machinetype.TypeWorker:
		options = append(options, bundle.WithPatchWorker(patches))
	default:
		return "", errors.New("unknown machineType")
	}

	configBundle, err := bundle.NewBundle(options...)
	if err != nil {
		return "", err
	}

	comments := encoder.CommentsDisabled
	if boolAt(args, "docs") {
		comments |= encoder.CommentsDocs
	}

	if boolAt(args, "examples") {
		comments |= encoder.CommentsExamples
	}

	encoded, err := configBundle.Serialize(comments, machineType)

	return string(encoded), err
}

// defaultInstallImage is the installer of the Talos release that this plugin is made for, whatever the contract.
func defaultInstallImage() string {
	return fmt.Sprintf("%s/%s/installer:%s", gendata.ImagesRegistry, gendata.ImagesUsername, gendata.VersionTag)
}
