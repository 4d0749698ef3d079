package main

import (
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	clientconfig "github.com/siderolabs/talos/pkg/machinery/client/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
)

func invoke(t *testing.T, token string, args resource.PropertyMap) (result resource.PropertyMap, failures string) {
	t.Helper()

	answer, err := testServer(t).Invoke(t.Context(), &pulumirpc.InvokeRequest{Tok: token, Args: wire(t, args)})
	if err != nil {
		t.Fatal(err)
	}

	var list []string
	for _, f := range answer.GetFailures() {
		list = append(list, f.GetProperty()+": "+f.GetReason())
	}

	if answer.GetReturn() != nil {
		result = unwire(t, answer.GetReturn(), true)
	}

	return result, strings.Join(list, "\n")
}

func configurationArgs(t *testing.T) resource.PropertyMap {
	t.Helper()

	machineSecrets, err := secretsOf(sharedBundle())
	if err != nil {
		t.Fatal(err)
	}

	return resource.PropertyMap{
		"clusterName": text("c"), "clusterEndpoint": text("https://10.5.0.2:6443"), "machineType": text("worker"),
		"machineSecrets": resource.MakeSecret(machineSecrets),
	}
}

func TestMachineConfigurationOfEveryContract(t *testing.T) {
	for _, machineType := range []string{"controlplane", "worker"} {
		for _, contract := range []string{"v1.10", "1.11.5", "v1.12", "v1.13.0"} {
			args := with(configurationArgs(t), "talosVersion", text(contract))
			args["machineType"] = text(machineType)
			result, failures := invoke(t, "talos:machine/getConfiguration:getConfiguration", args)

			if failures != "" {
				t.Fatal(failures)
			}

			if result["machineConfiguration"].IsSecret() {
				t.Error("the result of an invoke is marked as secret")
			}

			generated := stringAt(result, "machineConfiguration")

			provider, err := configloader.NewFromBytes([]byte(generated))
			if err != nil {
				t.Fatal(err)
			}

			if image := provider.Machine().Install().Image(); image != "ghcr.io/siderolabs/installer:v1.13.0" {
				t.Errorf("%s: install image %s", contract, image)
			}

			if got := provider.Machine().Type().String(); got != machineType {
				t.Errorf("type %s, want %s", got, machineType)
			}

			// From 1.12 on the host name has a document of its own.
			if has := strings.Contains(generated, "kind: HostnameConfig"); has != (contract >= "v1.12") {
				t.Errorf("%s: HostnameConfig is %v", contract, has)
			}

			if strings.Contains(generated, "#") {
				t.Error("comments without docs and examples")
			}
		}
	}
}

func TestMachineConfigurationDefaults(t *testing.T) {
	result, failures := invoke(t, "talos:machine/getConfiguration:getConfiguration", configurationArgs(t))
	if failures != "" {
		t.Fatal(failures)
	}

	if stringAt(result, "kubernetesVersion") != "1.36.0" || stringAt(result, "talosVersion") != "v1.13" || stringAt(result, "id") != "c" {
		t.Errorf("kubernetes %v, talos %v", result["kubernetesVersion"], result["talosVersion"])
	}

	if _, ok := result["docs"]; ok {
		t.Error("docs has a value that nobody gave")
	}

	documented, _ := invoke(t, "talos:machine/getConfiguration:getConfiguration",
		with(configurationArgs(t), "docs", resource.NewBoolProperty(true)))
	if !strings.Contains(stringAt(documented, "machineConfiguration"), "# ") {
		t.Error("docs made no comments")
	}
}

func TestMachineConfigurationArgumentsAreChecked(t *testing.T) {
	for name, test := range map[string]struct {
		key  resource.PropertyKey
		v    resource.PropertyValue
		want string
	}{
		"no scheme":         {"clusterEndpoint", text("10.5.0.2:6443"), `no scheme in the cluster endpoint URL; try "https://10.5.0.2:6443"`},
		"no scheme or port": {"clusterEndpoint", text("10.5.0.2"), `no scheme in the cluster endpoint URL; try "https://10.5.0.2:6443"`},
		"wrong scheme":      {"clusterEndpoint", text("http://10.5.0.2:6443"), `should have the scheme https; try "https://10.5.0.2:6443"`},
		"type":              {"machineType", text("master"), `machineType: Expected controlplane or worker, got "master"`},
		"no name":           {"clusterName", text(""), "clusterName: must not be empty"},
		"patch":             {"configPatches", textList([]string{"machine: {nope: 1}"}), "unknown keys found during decoding"},
		"contract":          {"talosVersion", text("x"), "talosVersion: Invalid version"},
		"kubernetes":        {"kubernetesVersion", text("1.20.0"), "too old to be used with Talos 1.13"},
		"no secrets":        {"machineSecrets", resource.NewNullProperty(), "machineSecrets: Missing required property"},
	} {
		t.Run(name, func(t *testing.T) {
			_, failures := invoke(t, "talos:machine/getConfiguration:getConfiguration", with(configurationArgs(t), test.key, test.v))
			if !strings.Contains(failures, test.want) {
				t.Errorf("got %q", failures)
			}
		})
	}
}

func TestSecretsThatAreNoBase64AreNotPrinted(t *testing.T) {
	args := configurationArgs(t)
	machineSecrets := bare(args["machineSecrets"]).ObjectValue()
	certs := objectAt(machineSecrets, "certs").Copy()
	certs["os"] = object(map[string]resource.PropertyValue{"cert": text("?"), "key": text("$ecret")})
	args["machineSecrets"] = resource.NewObjectProperty(with(machineSecrets, "certs", resource.NewObjectProperty(certs)))

	_, err := testServer(t).Invoke(t.Context(), &pulumirpc.InvokeRequest{
		Tok: "talos:machine/getConfiguration:getConfiguration", Args: wire(t, args),
	})
	if err == nil || !strings.Contains(err.Error(), "machineSecrets.certs.os.") || strings.Contains(err.Error(), "$ecret") {
		t.Errorf("got %v", err)
	}
}

func TestClientConfiguration(t *testing.T) {
	credentials := credentialsOf(t, sharedBundle())
	args := resource.PropertyMap{"clusterName": text("c"), "clientConfiguration": credentials}

	for _, endpoints := range [][]string{nil, {"10.5.0.2", "10.5.0.3"}} {
		if endpoints != nil {
			args["endpoints"] = textList(endpoints)
		}

		result, failures := invoke(t, "talos:client/getConfiguration:getConfiguration", args)
		if failures != "" {
			t.Fatal(failures)
		}

		config, err := clientconfig.FromString(stringAt(result, "talosConfig"))
		if err != nil {
			t.Fatal(err)
		}

		context := config.Contexts["c"]
		if config.Context != "c" || strings.Join(context.Endpoints, " ") != strings.Join(endpoints, " ") || context.Nodes != nil ||
			context.Crt != stringAt(credentials.ObjectValue(), "clientCertificate") {
			t.Errorf("got %v", config)
		}
	}
}
