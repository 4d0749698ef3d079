package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	machineapi "github.com/siderolabs/talos/pkg/machinery/api/machine"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	nodeAddress = "10.5.0.2"
	hostPatch   = "machine: {install: {disk: /dev/vda}}"
)

// applyInputs configures a fake machine, with one patch.
func applyInputs(t *testing.T, m *fakeMachine, credentials resource.PropertyValue, configuration string) resource.PropertyMap {
	t.Helper()

	return resource.PropertyMap{
		"node": text(nodeAddress), "endpoint": text(m.address), "clientConfiguration": credentials,
		"machineConfigurationInput": text(configuration), "configPatches": textList([]string{hostPatch}),
	}
}

func onlyCall(t *testing.T, m *fakeMachine, method string) call {
	t.Helper()

	calls := m.requests(method)
	if len(calls) != 1 {
		t.Fatalf("%s was called %d times", method, len(calls))
	}

	return calls[0]
}

func TestMachineInMaintenanceIsConfiguredWithoutClientCertificate(t *testing.T) {
	bundle, s := sharedBundle(), testServer(t)
	m := startMachine(t, bundle, true)

	// The authority of another cluster: nothing of it may matter in maintenance mode.
	inputs := applyInputs(t, m, credentialsOf(t, foreignBundle()), configurationFor(t, bundle))
	state := mustCreate(t, s, applyToken, inputs, false)

	c := onlyCall(t, m, "ApplyConfiguration")
	request := c.request.(*machineapi.ApplyConfigurationRequest)

	if c.role != "" || c.node != nodeAddress || request.GetMode() != machineapi.ApplyConfigurationRequest_AUTO || request.GetDryRun() {
		t.Errorf("role %q, node %q, request mode %v", c.role, c.node, request.GetMode())
	}

	if string(request.GetData()) != stringAt(state, "machineConfiguration") || !strings.Contains(string(request.GetData()), "/dev/vda") {
		t.Error("the configuration sent is not the patched one of the state")
	}

	if stringAt(state, "machineConfigurationHash") != hashOf(string(request.GetData())) || stringAt(state, "resolvedApplyMode") != "auto" ||
		stringAt(state, "applyMode") != "auto" || stringAt(state, "id") != "machine_configuration_apply" {
		t.Errorf("state %v", state)
	}

	wantDiff(t, s, applyToken, state, inputs, "", "")
}

func TestRunningMachineIsConfiguredOverMutualTLS(t *testing.T) {
	bundle := sharedBundle()
	m := startMachine(t, bundle, false)
	inputs := applyInputs(t, m, credentialsOf(t, bundle), configurationFor(t, bundle))
	inputs["applyMode"] = text("no_reboot")

	mustCreate(t, testServer(t), applyToken, inputs, false)

	c := onlyCall(t, m, "ApplyConfiguration")
	if c.role != "os:admin" || c.request.(*machineapi.ApplyConfigurationRequest).GetMode() != machineapi.ApplyConfigurationRequest_NO_REBOOT {
		t.Errorf("role %q, request mode %v", c.role, c.request)
	}
}

func TestRunningMachineOfAnotherClusterIsNotConfigured(t *testing.T) {
	bundle := sharedBundle()
	m := startMachine(t, bundle, false)
	inputs := applyInputs(t, m, credentialsOf(t, foreignBundle()), configurationFor(t, bundle))
	inputs["timeouts"] = object(map[string]resource.PropertyValue{"create": text("700ms")})

	_, err := create(t, testServer(t), applyToken, inputs, false)
	if err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") ||
		!strings.Contains(err.Error(), "no success within 700ms") {
		t.Errorf("got %v", err)
	}

	if len(m.requests("ApplyConfiguration")) != 0 {
		t.Error("the configuration was sent")
	}
}

func TestInvalidArgumentIsFinal(t *testing.T) {
	bundle := sharedBundle()
	m := startMachine(t, bundle, false)
	m.apply = func(context.Context, int) error { return status.Error(codes.InvalidArgument, "bad configuration") }

	_, err := create(t, testServer(t), applyToken, applyInputs(t, m, credentialsOf(t, bundle), configurationFor(t, bundle)), false)
	if err == nil || !strings.Contains(err.Error(), "bad configuration") || !strings.Contains(err.Error(), nodeAddress) {
		t.Errorf("got %v", err)
	}

	onlyCall(t, m, "ApplyConfiguration")
}

func TestOtherErrorsAreRetried(t *testing.T) {
	bundle := sharedBundle()
	m := startMachine(t, bundle, false)
	m.apply = func(_ context.Context, call int) error {
		if call < 3 {
			return status.Error(codes.FailedPrecondition, "locked")
		}

		return nil
	}

	start := time.Now()

	mustCreate(t, testServer(t), applyToken, applyInputs(t, m, credentialsOf(t, bundle), configurationFor(t, bundle)), false)

	// Half a second, then a second.
	if passed := time.Since(start); passed < 1500*time.Millisecond || len(m.requests("ApplyConfiguration")) != 3 {
		t.Errorf("%d calls in %s", len(m.requests("ApplyConfiguration")), passed)
	}
}

func TestBootstrapOfABootstrappedMachineFailsAtItsTimeout(t *testing.T) {
	bundle, s := sharedBundle(), testServer(t)
	m := startMachine(t, bundle, false)
	m.bootstrap = func(context.Context, int) error {
		return status.Error(codes.AlreadyExists, "etcd data directory is not empty")
	}

	inputs := resource.PropertyMap{
		"node": text(nodeAddress), "endpoint": text(m.address), "clientConfiguration": credentialsOf(t, bundle),
		"timeouts": object(map[string]resource.PropertyValue{"create": text("800ms")}),
	}

	_, err := create(t, s, bootstrapToken, inputs, false)
	if err == nil || !strings.Contains(err.Error(), "etcd data directory is not empty") || len(m.requests("Bootstrap")) != 2 {
		t.Errorf("%d calls, %v", len(m.requests("Bootstrap")), err)
	}

	m.bootstrap = nil
	state := mustCreate(t, s, bootstrapToken, inputs, false)

	if stringAt(state, "id") != "machine_bootstrap" {
		t.Errorf("id %v", state["id"])
	}

	wantDiff(t, s, bootstrapToken, state, inputs, "", "")

	// Whatever changes later, the machine is not asked again.
	before := len(m.requests("Bootstrap"))
	moved := mustUpdate(t, s, bootstrapToken, state, with(inputs, "node", text("10.5.0.3")), false)

	if stringAt(moved, "node") != "10.5.0.3" || len(m.requests("Bootstrap")) != before {
		t.Errorf("node %v, %d calls", moved["node"], len(m.requests("Bootstrap"))-before)
	}
}

func TestCancelEndsWaitsAndCallsAtOnce(t *testing.T) {
	bundle := sharedBundle()

	for name, answer := range map[string]func(context.Context, int) error{
		"between two tries": func(context.Context, int) error { return status.Error(codes.Unavailable, "booting") },
		"inside a call": func(ctx context.Context, _ int) error {
			<-ctx.Done()

			return ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, m := testServer(t), startMachine(t, bundle, false)
			m.bootstrap = answer

			time.AfterFunc(2*time.Second, func() { s.Cancel(context.Background(), &emptypb.Empty{}) }) //nolint:errcheck

			start := time.Now()
			_, err := create(t, s, bootstrapToken, resource.PropertyMap{
				"node": text(nodeAddress), "endpoint": text(m.address), "clientConfiguration": credentialsOf(t, bundle),
			}, false)

			if passed := time.Since(start); passed > 3*time.Second || passed < 2*time.Second {
				t.Errorf("ended after %s", passed)
			}

			if err == nil || !strings.Contains(err.Error(), "canceled") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWriteOnlyInputsStayOutOfTheState(t *testing.T) {
	bundle, s := sharedBundle(), testServer(t)
	m := startMachine(t, bundle, false)
	configuration := configurationFor(t, bundle)

	inputs := resource.PropertyMap{
		"node": text(nodeAddress), "endpoint": text(m.address),
		"clientConfigurationWo":       resource.MakeSecret(credentialsOf(t, bundle)),
		"machineConfigurationInputWo": resource.MakeSecret(text(configuration)),
	}

	preview := mustCreate(t, s, applyToken, inputs, true)
	if stringAt(preview, "machineConfigurationHash") == "" || len(m.calls) != 0 {
		t.Errorf("preview %v after %d calls", preview, len(m.calls))
	}

	state := mustCreate(t, s, applyToken, inputs, false)
	for _, absent := range []resource.PropertyKey{"machineConfiguration", "machineConfigurationInputWo", "clientConfigurationWo"} {
		if v, ok := state[absent]; ok {
			t.Errorf("%s is %v", absent, v)
		}
	}

	if strings.Contains(fmt.Sprint(wire(t, state)), bundle.TrustdInfo.Token) {
		t.Error("the state has a token of the configuration")
	}

	wantDiff(t, s, applyToken, state, inputs, "", "")
	wantDiff(t, s, applyToken, state, with(inputs, "configPatches", textList([]string{hostPatch})),
		"configPatches machineConfigurationHash", "")

	changed := with(inputs, "machineConfigurationInputWo", text(strings.Replace(configuration, "/dev/sda", "/dev/vdb", 1)))
	wantDiff(t, s, applyToken, state, changed, "machineConfigurationHash", "")

	updated := mustUpdate(t, s, applyToken, state, changed, false)

	calls := m.requests("ApplyConfiguration")
	if !strings.Contains(string(calls[len(calls)-1].request.(*machineapi.ApplyConfigurationRequest).GetData()), "/dev/vdb") {
		t.Error("the change was not sent")
	}

	wantDiff(t, s, applyToken, updated, changed, "", "")

	// New credentials are no change: they are not in the state.
	wantDiff(t, s, applyToken, updated, with(changed, "clientConfigurationWo", credentialsOf(t, bundle)), "", "")
}

func TestPreviewOfAnApply(t *testing.T) {
	bundle, s := sharedBundle(), testServer(t)
	m := startMachine(t, bundle, false)
	inputs := applyInputs(t, m, credentialsOf(t, bundle), configurationFor(t, bundle))
	delete(inputs, "endpoint")

	known := mustCreate(t, s, applyToken, inputs, true)
	if stringAt(known, "endpoint") != nodeAddress || stringAt(known, "machineConfigurationHash") == "" ||
		stringAt(known, "resolvedApplyMode") != "auto" || !isUnknown(known["id"]) {
		t.Errorf("with known inputs: %v", known)
	}

	for name, v := range map[resource.PropertyKey]resource.PropertyValue{
		"node": unknown(), "machineConfigurationInput": unknown(),
		"configPatches": resource.NewArrayProperty([]resource.PropertyValue{unknown()}),
	} {
		planned := mustCreate(t, s, applyToken, with(inputs, name, v), true)
		for _, computed := range []resource.PropertyKey{"machineConfiguration", "machineConfigurationHash", "resolvedApplyMode"} {
			if !isUnknown(planned[computed]) {
				t.Errorf("%s unknown: %s is %v", name, computed, planned[computed])
			}
		}
	}

	for patch, want := range map[string]string{
		"machine: {nope: 1}":                                "unknown keys found during decoding",
		"kind: Nope\napiVersion: v1alpha1":                  "not registered",
		`[{"op": "add", "path": "/machine/x", "value": 1}]`: "JSON6902 patches are not supported",
	} {
		_, err := create(t, s, applyToken, with(inputs, "configPatches", textList([]string{patch})), true)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("patch %s: got %v", patch, err)
		}
	}

	if len(m.calls) != 0 {
		t.Errorf("%d calls in a preview", len(m.calls))
	}
}

func TestDiffOfAnApply(t *testing.T) {
	bundle, s := sharedBundle(), testServer(t)
	m := startMachine(t, bundle, false)
	inputs := applyInputs(t, m, credentialsOf(t, bundle), configurationFor(t, bundle))
	state := mustCreate(t, s, applyToken, inputs, false)

	wantDiff(t, s, applyToken, state, with(inputs, "applyMode", text("staged")), "applyMode resolvedApplyMode", "")
	wantDiff(t, s, applyToken, state, with(inputs, "onDestroy", object(nil)), "onDestroy", "")
	wantDiff(t, s, applyToken, state, with(inputs, "node", text("10.5.0.3")), "node", "")
	wantDiff(t, s, applyToken, with(state, "timeouts", object(nil)), inputs, "timeouts", "")
	wantDiff(t, s, applyToken, state, with(inputs, "configPatches", textList([]string{"machine: {type: controlplane}"})),
		"configPatches machineConfiguration machineConfigurationHash", "")
	wantDiff(t, s, applyToken, state, with(inputs, "node", unknown()), "node resolvedApplyMode", "")
	wantDiff(t, s, applyToken, state, with(inputs, "machineConfigurationInput", unknown()),
		"machineConfiguration machineConfigurationHash machineConfigurationInput resolvedApplyMode", "")

	// The bookkeeping of the released plugin is no change.
	wantDiff(t, s, applyToken, with(state, "__pulumi_raw_state_delta", object(nil)), inputs, "", "")
}

func TestStagedIfNeedingRebootAsksTheMachineAtPreview(t *testing.T) {
	bundle, s := sharedBundle(), testServer(t)

	for mode, want := range map[machineapi.ApplyConfigurationRequest_Mode]string{
		machineapi.ApplyConfigurationRequest_REBOOT:    "staged",
		machineapi.ApplyConfigurationRequest_NO_REBOOT: "auto",
	} {
		m := startMachine(t, bundle, false)
		m.dryRunMode = mode
		inputs := applyInputs(t, m, credentialsOf(t, bundle), configurationFor(t, bundle))
		inputs["applyMode"] = text(stagedIfNeedingReboot)

		planned := mustCreate(t, s, applyToken, inputs, true)
		if stringAt(planned, "resolvedApplyMode") != want ||
			!onlyCall(t, m, "ApplyConfiguration").request.(*machineapi.ApplyConfigurationRequest).GetDryRun() {
			t.Errorf("%v resolves to %v", mode, planned["resolvedApplyMode"])
		}
	}
}

func TestDestroyWithoutResetTouchesNothing(t *testing.T) {
	bundle, s := sharedBundle(), testServer(t)
	m := startMachine(t, bundle, false)
	state := mustCreate(t, s, applyToken, applyInputs(t, m, credentialsOf(t, bundle), configurationFor(t, bundle)), false)
	before := len(m.calls)

	if _, err := s.Delete(t.Context(), &pulumirpc.DeleteRequest{Urn: urnOf(applyToken), Properties: wire(t, state)}); err != nil {
		t.Fatal(err)
	}

	if len(m.calls) != before {
		t.Errorf("%d calls", len(m.calls)-before)
	}
}

func TestDestroyWithReset(t *testing.T) {
	bundle, s := sharedBundle(), testServer(t)

	reset := func(m *fakeMachine, onDestroy map[string]resource.PropertyValue) error {
		inputs := applyInputs(t, m, credentialsOf(t, bundle), configurationFor(t, bundle))
		inputs["onDestroy"] = object(onDestroy)
		inputs["timeouts"] = object(map[string]resource.PropertyValue{"delete": text("20s")})
		state := mustCreate(t, s, applyToken, inputs, false)
		_, err := s.Delete(t.Context(), &pulumirpc.DeleteRequest{Urn: urnOf(applyToken), Properties: wire(t, state)})

		return err
	}

	halt := startMachine(t, bundle, false)
	halt.events = []proto.Message{&machineapi.PhaseEvent{Phase: "cleanup"}, &machineapi.TaskEvent{Task: "stopAllServices"}}

	if err := reset(halt, map[string]resource.PropertyValue{"reset": resource.NewBoolProperty(true)}); err != nil {
		t.Error(err)
	}

	request := onlyCall(t, halt, "Reset").request.(*machineapi.ResetRequest)
	if !request.GetGraceful() || request.GetReboot() || len(request.GetSystemPartitionsToWipe()) != 2 || len(halt.requests("Read")) != 0 {
		t.Errorf("request %v", request)
	}

	reboot := startMachine(t, bundle, false)
	reboot.events = halt.events
	reboot.bootIDs = []string{"one", "one", "two"}

	if err := reset(reboot, map[string]resource.PropertyValue{
		"reset": resource.NewBoolProperty(true), "reboot": resource.NewBoolProperty(true), "graceful": resource.NewBoolProperty(false),
	}); err != nil {
		t.Error(err)
	}

	request = onlyCall(t, reboot, "Reset").request.(*machineapi.ResetRequest)
	if request.GetGraceful() || !request.GetReboot() || len(reboot.requests("Read")) != 3 {
		t.Errorf("request %v, %d reads", request, len(reboot.requests("Read")))
	}

	failing := startMachine(t, bundle, false)
	failing.events = []proto.Message{&machineapi.SequenceEvent{
		Sequence: "reset", Error: newStatus("refusing to leave etcd: last member"),
	}}

	err := reset(failing, map[string]resource.PropertyValue{"reset": resource.NewBoolProperty(true)})
	if err == nil || !strings.Contains(err.Error(), "last member") {
		t.Errorf("got %v", err)
	}
}

func TestDestroyWithResetNeedsCredentialsInTheState(t *testing.T) {
	err := applyResource{}.delete(t.Context(), resource.PropertyMap{
		"node": text(nodeAddress), "onDestroy": object(map[string]resource.PropertyValue{"reset": resource.NewBoolProperty(true)}),
	})
	if err == nil || !strings.Contains(err.Error(), "clientConfigurationWo is write-only") {
		t.Errorf("got %v", err)
	}
}

func TestKubeconfig(t *testing.T) {
	bundle, s := sharedBundle(), testServer(t)
	m := startMachine(t, bundle, false)
	credentials := credentialsOf(t, bundle)

	// Any certificate will do for the Kubernetes one: only its end is read.
	certificate := stringAt(credentials.ObjectValue(), "clientCertificate")
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	m.kubeconfig = fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: admin@c
contexts:
- {name: admin@c, context: {cluster: c, user: admin@c, namespace: default}}
clusters:
- {name: other, cluster: {server: "https://192.0.2.1:6443"}}
- {name: c, cluster: {server: "https://10.5.0.2:6443", certificate-authority-data: %s}}
users:
- {name: admin@c, user: {client-certificate-data: %s, client-key-data: %s}}
`, encode("ca"), certificate, encode("key"))

	inputs := resource.PropertyMap{"node": text(nodeAddress), "endpoint": text(m.address), "clientConfiguration": credentials}

	preview := mustCreate(t, s, kubeconfigToken, inputs, true)
	if !isUnknown(preview["kubeconfigRaw"]) || !isUnknown(preview["kubernetesClientConfiguration"]) ||
		stringAt(preview, "certificateRenewalDuration") != "720h" || len(m.calls) != 0 {
		t.Errorf("preview %v", preview)
	}

	state := mustCreate(t, s, kubeconfigToken, inputs, false)

	want := object(map[string]resource.PropertyValue{
		"host": text("https://10.5.0.2:6443"), "caCertificate": text(encode("ca")),
		"clientCertificate": text(certificate), "clientKey": text(encode("key")),
	})
	if stringAt(state, "id") != "c" || stringAt(state, "kubeconfigRaw") != string(m.kubeconfig) ||
		!state["kubernetesClientConfiguration"].DeepEquals(want) {
		t.Errorf("state %v", state)
	}

	wantDiff(t, s, kubeconfigToken, state, inputs, "", "")
	wantDiff(t, s, kubeconfigToken, state, with(inputs, "node", text("10.5.0.3")), "node", "")
	mustUpdate(t, s, kubeconfigToken, state, with(inputs, "node", text("10.5.0.3")), false)
	onlyCall(t, m, "Kubeconfig")

	t.Cleanup(func() { now = time.Now })

	now = func() time.Time { return time.Now().AddDate(1, 0, -20) }

	wantDiff(t, s, kubeconfigToken, state, inputs, "kubeconfigRaw kubernetesClientConfiguration", "")
	wantDiff(t, s, kubeconfigToken, state, with(inputs, "certificateRenewalDuration", text("24h")), "certificateRenewalDuration", "")
	mustUpdate(t, s, kubeconfigToken, state, inputs, false)

	if len(m.requests("Kubeconfig")) != 2 {
		t.Errorf("%d calls", len(m.requests("Kubeconfig")))
	}
}
