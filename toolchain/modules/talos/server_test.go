package main

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	secretsToken    = "talos:machine/secrets:Secrets"
	applyToken      = "talos:machine/configurationApply:ConfigurationApply"
	bootstrapToken  = "talos:machine/bootstrap:Bootstrap"
	kubeconfigToken = "talos:cluster/kubeconfig:Kubeconfig"
)

func urnOf(token string) string { return "urn:pulumi:stack::project::" + token + "::name" }

func testServer(t *testing.T) *server {
	t.Helper()

	s, err := newServer(nil)
	if err != nil {
		t.Fatal(err)
	}

	return s
}

// Making the keys of a bundle takes seconds, so the tests share two: their own cluster's and another one's.
var sharedBundle, foreignBundle = sync.OnceValue(newBundle), sync.OnceValue(newBundle)

func newBundle() *secrets.Bundle {
	bundle, err := secrets.NewBundle(secrets.NewClock(), config.TalosVersion1_13)
	if err != nil {
		panic(err)
	}

	return bundle
}

func credentialsOf(t *testing.T, bundle *secrets.Bundle) resource.PropertyValue {
	t.Helper()

	client, err := newClientConfiguration(bundle)
	if err != nil {
		t.Fatal(err)
	}

	return client
}

func configurationFor(t *testing.T, bundle *secrets.Bundle) string {
	t.Helper()

	machineSecrets, err := secretsOf(bundle)
	if err != nil {
		t.Fatal(err)
	}

	result, err := machineConfigurationFunction{}.call(resource.PropertyMap{
		"clusterName": text("c"), "clusterEndpoint": text("https://10.5.0.2:6443"), "machineType": text("controlplane"),
		"machineSecrets": machineSecrets,
	})
	if err != nil {
		t.Fatal(err)
	}

	return stringAt(result, "machineConfiguration")
}

func wire(t *testing.T, m resource.PropertyMap) *structpb.Struct {
	t.Helper()

	s, err := marshal(m)
	if err != nil {
		t.Fatal(err)
	}

	return s
}

func unwire(t *testing.T, s *structpb.Struct, keepSecrets bool) resource.PropertyMap {
	t.Helper()

	m, err := unmarshal(s, keepSecrets)
	if err != nil {
		t.Fatal(err)
	}

	return m
}

func create(t *testing.T, s *server, token string, inputs resource.PropertyMap, preview bool) (resource.PropertyMap, error) {
	t.Helper()

	answer, err := s.Create(t.Context(), &pulumirpc.CreateRequest{
		Urn: urnOf(token), Properties: wire(t, inputs), Preview: preview,
	})
	if err != nil {
		return nil, err
	}

	return unwire(t, answer.GetProperties(), false), nil
}

func mustCreate(t *testing.T, s *server, token string, inputs resource.PropertyMap, preview bool) resource.PropertyMap {
	t.Helper()

	state, err := create(t, s, token, inputs, preview)
	if err != nil {
		t.Fatal(err)
	}

	return state
}

func mustUpdate(
	t *testing.T, s *server, token string, prior, inputs resource.PropertyMap, preview bool,
) resource.PropertyMap {
	t.Helper()

	answer, err := s.Update(t.Context(), &pulumirpc.UpdateRequest{
		Urn: urnOf(token), Olds: wire(t, prior), News: wire(t, inputs), Preview: preview,
	})
	if err != nil {
		t.Fatal(err)
	}

	return unwire(t, answer.GetProperties(), false)
}

// diff is what changed and what of it forces a replacement, both as words.
func diff(t *testing.T, s *server, token string, prior, inputs resource.PropertyMap) (changed, replaces string) {
	t.Helper()

	answer, err := s.Diff(t.Context(), &pulumirpc.DiffRequest{
		Urn: urnOf(token), Olds: wire(t, prior), News: wire(t, inputs),
	})
	if err != nil {
		t.Fatal(err)
	}

	if some := answer.GetChanges() == pulumirpc.DiffResponse_DIFF_SOME; some != (len(answer.GetDiffs()) > 0) {
		t.Errorf("changes %v with diffs %v", answer.GetChanges(), answer.GetDiffs())
	}

	return strings.Join(answer.GetDiffs(), " "), strings.Join(answer.GetReplaces(), " ")
}

func wantDiff(t *testing.T, s *server, token string, prior, inputs resource.PropertyMap, changed, replaces string) {
	t.Helper()

	gotChanged, gotReplaces := diff(t, s, token, prior, inputs)
	if gotChanged != changed || gotReplaces != replaces {
		t.Errorf("diff is %q replacing %q, want %q replacing %q", gotChanged, gotReplaces, changed, replaces)
	}
}

func problems(t *testing.T, s *server, token string, inputs resource.PropertyMap) string {
	t.Helper()

	answer, err := s.Check(t.Context(), &pulumirpc.CheckRequest{Urn: urnOf(token), News: wire(t, inputs)})
	if err != nil {
		t.Fatal(err)
	}

	var list []string
	for _, f := range answer.GetFailures() {
		list = append(list, strings.TrimPrefix(f.GetProperty()+": "+f.GetReason(), ": "))
	}

	return strings.Join(list, "\n")
}

func with(m resource.PropertyMap, key resource.PropertyKey, v resource.PropertyValue) resource.PropertyMap {
	m = m.Copy()
	m[key] = v

	return m
}

func TestFunctionThatIsNotImplementedNamesTheReleasedPlugin(t *testing.T) {
	_, err := testServer(t).Invoke(t.Context(), &pulumirpc.InvokeRequest{Tok: "talos:cluster/getHealth:getHealth"})
	if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "released pulumi-resource-talos 0.8.1") {
		t.Errorf("got %v", err)
	}
}

func TestResourceThatNoTalosPluginHasIsRefused(t *testing.T) {
	_, err := testServer(t).Check(t.Context(), &pulumirpc.CheckRequest{Urn: urnOf("talos:machine/nope:Nope")})
	if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "talos:machine/nope:Nope") {
		t.Errorf("got %v", err)
	}
}

func TestSchemaNamesWhatTheServerHas(t *testing.T) {
	s := testServer(t)

	for token := range s.schema.Resources {
		if _, ok := s.resources[token]; !ok {
			t.Errorf("no code for %s", token)
		}
	}

	for token := range s.schema.Functions {
		if _, ok := s.functions[token]; !ok {
			t.Errorf("no code for %s", token)
		}
	}

	if len(s.resources) != len(s.schema.Resources) || len(s.functions) != len(s.schema.Functions) {
		t.Error("schema.json and the server have different types")
	}
}

func TestCheckNamesEveryProblem(t *testing.T) {
	s := testServer(t)
	credentials := credentialsOf(t, sharedBundle())

	good := resource.PropertyMap{
		"node": text("10.5.0.2"), "clientConfiguration": credentials, "machineConfigurationInput": text("machine: {}"),
	}

	for name, test := range map[string]struct {
		token  string
		inputs resource.PropertyMap
		want   string
	}{
		"right":        {applyToken, good, ""},
		"unknown node": {applyToken, with(good, "node", unknown()), ""},
		"no node": {
			applyToken, resource.PropertyMap{"clientConfiguration": credentials, "machineConfigurationInput": text("")},
			"node: Missing required property",
		},
		"node of the wrong type": {
			applyToken, with(good, "node", resource.NewNumberProperty(1)), "node: Expected a string, got number",
		},
		"patch of the wrong type": {
			applyToken, with(good, "configPatches", resource.NewArrayProperty([]resource.PropertyValue{resource.NewBoolProperty(true)})),
			"configPatches[0]: Expected a string, got bool",
		},
		"mode": {
			applyToken, with(good, "applyMode", text("try")),
			`applyMode: Expected one of auto, reboot, no_reboot, staged, staged_if_needing_reboot, got "try"`,
		},
		"two inputs": {
			applyToken, with(good, "machineConfigurationInputWo", text("x")),
			"Only one of machineConfigurationInput or machineConfigurationInputWo can be set, not both",
		},
		"no credentials": {
			bootstrapToken, resource.PropertyMap{"node": text("10.5.0.2")},
			"Exactly one of clientConfiguration or clientConfigurationWo must be set",
		},
		"timeout": {
			applyToken, with(good, "timeouts", object(map[string]resource.PropertyValue{"delete": text("soon")})),
			`timeouts.delete: "soon" is not a duration such as 30s or 2h45m`,
		},
		"snake case": {
			kubeconfigToken, resource.PropertyMap{
				"node": text("10.5.0.2"), "clientConfiguration": object(map[string]resource.PropertyValue{
					"ca_certificate": text("x"), "clientCertificate": text("x"), "clientKey": text("x"),
				}),
			},
			"clientConfiguration.caCertificate: Missing required property",
		},
		"contract": {
			secretsToken, resource.PropertyMap{"talosVersion": text("new")},
			`talosVersion: Invalid version: error parsing version "vnew"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := problems(t, s, test.token, test.inputs); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestCheckNeverHandsASecretToTheEngineToPrint(t *testing.T) {
	s := testServer(t)

	answer, err := s.Check(t.Context(), &pulumirpc.CheckRequest{Urn: urnOf(applyToken), News: wire(t, resource.PropertyMap{
		"node":                      resource.MakeSecret(resource.NewNumberProperty(1)),
		"clientConfiguration":       resource.MakeSecret(credentialsOf(t, sharedBundle())),
		"machineConfigurationInput": resource.NewNumberProperty(2),
	})})
	if err != nil {
		t.Fatal(err)
	}

	if len(answer.GetFailures()) != 2 {
		t.Errorf("failures %v", answer.GetFailures())
	}

	for _, f := range answer.GetFailures() {
		if f.GetProperty() != "" {
			t.Errorf("the engine would print %s", f.GetProperty())
		}
	}
}

func TestCheckMarksSecretsOfTheSchemaAndKeepsOthers(t *testing.T) {
	s := testServer(t)

	answer, err := s.Check(t.Context(), &pulumirpc.CheckRequest{Urn: urnOf(applyToken), News: wire(t, resource.PropertyMap{
		"node": resource.MakeSecret(text("10.5.0.2")), "clientConfiguration": credentialsOf(t, sharedBundle()),
		"machineConfigurationInput": text("machine: {}"),
	})})
	if err != nil {
		t.Fatal(err)
	}

	inputs := unwire(t, answer.GetInputs(), true)
	client := inputs["clientConfiguration"].ObjectValue()

	for name, v := range map[string]resource.PropertyValue{
		"node": inputs["node"], "machineConfigurationInput": inputs["machineConfigurationInput"], "clientKey": client["clientKey"],
	} {
		if !v.IsSecret() {
			t.Errorf("%s is not secret", name)
		}
	}

	if client["caCertificate"].IsSecret() {
		t.Error("caCertificate is secret")
	}
}

func TestSecretsLifeCycle(t *testing.T) {
	s := testServer(t)

	preview := mustCreate(t, s, secretsToken, resource.PropertyMap{}, true)
	if stringAt(preview, "talosVersion") != "v1.13" || !isUnknown(preview["machineSecrets"]) ||
		!isUnknown(preview["clientConfiguration"]) || !isUnknown(preview["id"]) {
		t.Errorf("preview of a creation: %v", preview)
	}

	inputs := resource.PropertyMap{"talosVersion": text("v1.12")}
	state := mustCreate(t, s, secretsToken, inputs, false)

	if stringAt(state, "id") != "machine_secrets" || stringAt(state, metaKey) != `{"schema_version":"1"}` {
		t.Errorf("id %v, meta %v", state["id"], state[metaKey])
	}

	wantDiff(t, s, secretsToken, state, inputs, "", "")
	wantDiff(t, s, secretsToken, state, resource.PropertyMap{}, "", "")
	wantDiff(t, s, secretsToken, state, resource.PropertyMap{"talosVersion": text("1.13")},
		"clientConfiguration machineSecrets talosVersion", "")
	wantDiff(t, s, secretsToken, state, resource.PropertyMap{"talosVersion": text("v1.11")},
		"clientConfiguration machineSecrets talosVersion", "talosVersion")

	newer := mustUpdate(t, s, secretsToken, state, resource.PropertyMap{"talosVersion": text("v1.13")}, false)
	if stringAt(newer, "talosVersion") != "v1.13" || !newer["machineSecrets"].DeepEquals(state["machineSecrets"]) ||
		!newer["clientConfiguration"].DeepEquals(state["clientConfiguration"]) {
		t.Error("a newer contract changed more than itself")
	}
}

func TestSecretsRenewTheirClientCertificateInItsLastMonth(t *testing.T) {
	s := testServer(t)
	inputs := resource.PropertyMap{"talosVersion": text("v1.13")}
	state := mustCreate(t, s, secretsToken, inputs, false)

	t.Cleanup(func() { now = time.Now })

	now = func() time.Time { return time.Now().AddDate(1, 0, -40) }
	wantDiff(t, s, secretsToken, state, inputs, "", "")

	now = func() time.Time { return time.Now().AddDate(1, 0, -20) }
	wantDiff(t, s, secretsToken, state, inputs, "clientConfiguration", "")

	renewed := mustUpdate(t, s, secretsToken, state, inputs, false)
	if !renewed["machineSecrets"].DeepEquals(state["machineSecrets"]) {
		t.Error("the secrets changed")
	}

	old := stringAt(state, "clientConfiguration", "clientCertificate")
	if stringAt(renewed, "clientConfiguration", "clientCertificate") == old {
		t.Error("the certificate is the old one")
	}

	wantDiff(t, s, secretsToken, renewed, inputs, "", "")
}

func TestSecretsOutputsAreSecretWhereTheSchemaSaysSo(t *testing.T) {
	s := testServer(t)

	answer, err := s.Create(t.Context(), &pulumirpc.CreateRequest{Urn: urnOf(secretsToken), Properties: wire(t, nil)})
	if err != nil {
		t.Fatal(err)
	}

	var walk func(path string, v resource.PropertyValue)

	walk = func(path string, v resource.PropertyValue) {
		if v.IsObject() {
			for key, inner := range v.ObjectValue() {
				walk(path+"."+string(key), inner)
			}

			return
		}

		name := strings.ToLower(path[strings.LastIndex(path, ".")+1:])
		sensitive := strings.HasSuffix(name, "key") || strings.HasSuffix(name, "secret") || strings.HasSuffix(name, "token")

		if sensitive != v.IsSecret() {
			t.Errorf("%s: secret is %v", path, v.IsSecret())
		}
	}

	walk("", resource.NewObjectProperty(unwire(t, answer.GetProperties(), true)))
}

func TestRefreshReadsNothing(t *testing.T) {
	s := testServer(t)
	state := wire(t, resource.PropertyMap{"node": text("10.5.0.2"), "machineConfiguration": resource.MakeSecret(text("x"))})
	inputs := wire(t, resource.PropertyMap{"machineConfigurationInputWo": resource.MakeSecret(text("x"))})

	answer, err := s.Read(t.Context(), &pulumirpc.ReadRequest{
		Id: "machine_configuration_apply", Urn: urnOf(applyToken), Properties: state, Inputs: inputs,
	})
	if err != nil {
		t.Fatal(err)
	}

	if answer.GetId() != "machine_configuration_apply" || answer.GetProperties().String() != state.String() ||
		answer.GetInputs().String() != inputs.String() {
		t.Errorf("got %v", answer)
	}
}

func TestConfigureAcceptsSecretsAndPreviews(t *testing.T) {
	answer, err := testServer(t).Configure(t.Context(), &pulumirpc.ConfigureRequest{})
	if err != nil || !answer.GetAcceptSecrets() || !answer.GetSupportsPreview() {
		t.Errorf("got %v, %v", answer, err)
	}
}

func TestSchemaIsServed(t *testing.T) {
	answer, err := testServer(t).GetSchema(t.Context(), &pulumirpc.GetSchemaRequest{})
	if err != nil || !json.Valid([]byte(answer.GetSchema())) {
		t.Errorf("got %v", err)
	}
}

func TestCancelEndsOperations(t *testing.T) {
	s := testServer(t)

	ctx, done := s.operation(context.Background())
	defer done()

	if _, err := s.Cancel(t.Context(), &emptypb.Empty{}); err != nil {
		t.Fatal(err)
	}

	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
		t.Error("the operation goes on")
	}
}
