package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"go.yaml.in/yaml/v4"
)

func TestImportOfSecretsFile(t *testing.T) {
	for contract, want := range map[*config.VersionContract]string{config.TalosVersion1_13: "v1.3", config.TalosVersion1_2: "v1.2"} {
		bundle, err := secrets.NewBundle(secrets.NewClock(), contract)
		if err != nil {
			t.Fatal(err)
		}

		content, err := yaml.Marshal(bundle)
		if err != nil {
			t.Fatal(err)
		}

		path := filepath.Join(t.TempDir(), "secrets.yaml")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}

		answer, err := testServer(t).Read(t.Context(), &pulumirpc.ReadRequest{Id: path, Urn: urnOf(secretsToken)})
		if err != nil {
			t.Fatal(err)
		}

		state, inputs := unwire(t, answer.GetProperties(), false), unwire(t, answer.GetInputs(), false)

		if answer.GetId() != "machine_secrets" || stringAt(inputs, "talosVersion") != want {
			t.Errorf("id %s, inputs %v", answer.GetId(), inputs)
		}

		again, err := bundleOf(objectAt(state, "machineSecrets"))
		if err != nil {
			t.Fatal(err)
		}

		if again.Cluster.ID != bundle.Cluster.ID || string(again.Certs.OS.Key) != string(bundle.Certs.OS.Key) ||
			again.Secrets.AESCBCEncryptionSecret != bundle.Secrets.AESCBCEncryptionSecret {
			t.Error("the imported secrets are others")
		}

		if stringAt(state, "clientConfiguration", "clientCertificate") == "" {
			t.Error("no client certificate was issued")
		}
	}
}

func TestImportOfABrokenSecretsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.yaml")
	if err := os.WriteFile(path, []byte("cluster: {id: x}\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	_, err := testServer(t).Read(t.Context(), &pulumirpc.ReadRequest{Id: path, Urn: urnOf(secretsToken)})
	if err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("got %v", err)
	}
}

func TestImportOfABootstrapTakesAnyID(t *testing.T) {
	answer, err := testServer(t).Read(t.Context(), &pulumirpc.ReadRequest{Id: "x", Urn: urnOf(bootstrapToken)})
	if err != nil || answer.GetId() != "machine_bootstrap" {
		t.Errorf("got %v, %v", answer, err)
	}
}
