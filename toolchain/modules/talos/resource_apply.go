package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	machineapi "github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/client"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"
)

// applyResource is talos:machine/configurationApply:ConfigurationApply.
type applyResource struct{}

const stagedIfNeedingReboot = "staged_if_needing_reboot"

var (
	applyModes = []string{"auto", "reboot", "no_reboot", "staged", stagedIfNeedingReboot}

	applyAttributes = attributes{
		inputs: []resource.PropertyKey{
			"applyMode", "clientConfiguration", "configPatches", "endpoint", "machineConfigurationInput", "node",
			"onDestroy", "timeouts",
		},
		defaults: resource.PropertyMap{"applyMode": text("auto")},
		computed: []resource.PropertyKey{"endpoint", "resolvedApplyMode"},
		stable:   []resource.PropertyKey{"machineConfiguration", "machineConfigurationHash"},
	}

	onDestroyDefaults = resource.PropertyMap{
		"reset":    resource.NewBoolProperty(false),
		"graceful": resource.NewBoolProperty(true),
		"reboot":   resource.NewBoolProperty(false),
	}
)

func (applyResource) schemaVersion() int { return 1 }

func (applyResource) check(inputs resource.PropertyMap) []failure {
	failures := slices.Concat(
		exactlyOne(inputs, "machineConfigurationInput", "machineConfigurationInputWo"),
		exactlyOne(inputs, "clientConfiguration", "clientConfigurationWo"),
		checkTimeouts(inputs),
	)

	if mode := bare(inputs["applyMode"]); mode.IsString() && !slices.Contains(applyModes, mode.StringValue()) {
		failures = append(failures, failure{
			"applyMode", fmt.Sprintf("Expected one of %s, got %q", strings.Join(applyModes, ", "), mode.StringValue()),
		})
	}

	return failures
}

func (r applyResource) plan(ctx context.Context, env environment, prior, inputs resource.PropertyMap) (plan, error) {
	state := applyAttributes.propose(prior, withOnDestroyDefaults(inputs))

	if !planEndpoint(state, inputs) {
		return plan{state: state}, nil
	}

	writeOnly := !isNull(inputs["machineConfigurationInputWo"])

	// With a write-only input only the hash of the configuration is kept.
	setConfiguration := func(configuration, hash resource.PropertyValue) {
		state["machineConfigurationHash"] = hash

		if writeOnly {
			delete(state, "machineConfiguration")
		} else {
			state["machineConfiguration"] = configuration
		}
	}

	if isUnknown(configurationInput(inputs)) || isUnknown(inputs["configPatches"]) {
		setConfiguration(unknown(), unknown())

		return plan{state: state}, nil
	}

	rendered, err := renderConfiguration(inputs)
	if err != nil {
		return plan{}, err
	}

	setConfiguration(text(rendered), text(hashOf(rendered)))
	state["resolvedApplyMode"] = r.resolveMode(ctx, env, prior, inputs, state, rendered)

	return plan{state: state}, nil
}

func withOnDestroyDefaults(inputs resource.PropertyMap) resource.PropertyMap {
	given := objectAt(inputs, "onDestroy")
	if given == nil {
		return inputs
	}

	filled := onDestroyDefaults.Copy()
	for key, v := range given {
		if !isNull(v) {
			filled[key] = v
		}
	}

	inputs = inputs.Copy()
	inputs["onDestroy"] = resource.NewObjectProperty(filled)

	return inputs
}

func configurationInput(inputs resource.PropertyMap) resource.PropertyValue {
	if v := inputs["machineConfigurationInputWo"]; !isNull(v) {
		return v
	}

	return inputs["machineConfigurationInput"]
}

// renderConfiguration merges the patches into the machine configuration.
func renderConfiguration(inputs resource.PropertyMap) (string, error) {
	input := bare(configurationInput(inputs))
	if !input.IsString() {
		return "", errors.New("neither machineConfigurationInput nor machineConfigurationInputWo is set")
	}

	patches, err := configpatcher.LoadPatches(stringsAt(inputs, "configPatches"))
	if err != nil {
		return "", fmt.Errorf("error loading configPatches: %w", err)
	}

	output, err := configpatcher.Apply(configpatcher.WithBytes([]byte(input.StringValue())), patches)
	if err != nil {
		return "", fmt.Errorf("error applying configPatches: %w", err)
	}

	rendered, err := output.Bytes()
	if err != nil {
		return "", fmt.Errorf("error encoding the machine configuration: %w", err)
	}

	return string(rendered), nil
}

func hashOf(rendered string) string {
	sum := sha256.Sum256([]byte(rendered))

	return hex.EncodeToString(sum[:])
}

// resolveMode is applyMode, except for staged_if_needing_reboot: there a dry run on the node decides, at preview too.
func (applyResource) resolveMode(
	ctx context.Context, env environment, prior, inputs, state resource.PropertyMap, rendered string,
) resource.PropertyValue {
	mode := state["applyMode"]
	if isUnknown(mode) {
		return text("auto")
	}

	if mode.StringValue() != stagedIfNeedingReboot {
		return mode
	}

	if resolved := stringAt(prior, "resolvedApplyMode"); resolved != "" && stringAt(prior, "machineConfiguration") == rendered {
		return text(resolved)
	}

	if isUnknown(inputs["clientConfiguration"]) || isUnknown(inputs["clientConfigurationWo"]) {
		return text("auto")
	}

	reboot, err := rebootNeeded(ctx, inputs, state, rendered)

	node := stringAt(state, "node")

	switch {
	case err != nil:
		env.warn(fmt.Sprintf("Node %s: cannot check whether it would reboot: %v. Using 'auto' mode (may reboot).", node, err))

		return text("auto")
	case reboot:
		env.warn(fmt.Sprintf(
			"Node %s: the configuration needs a reboot. Using 'staged' mode. Reboot with: talosctl reboot --nodes %s", node, node))

		return text("staged")
	}

	return text("auto")
}

func rebootNeeded(ctx context.Context, inputs, state resource.PropertyMap, rendered string) (bool, error) {
	credentials, err := clientOf(inputs)
	if err != nil {
		return false, err
	}

	var reboot bool

	err = machineOf(state, credentials).do(ctx, func(ctx context.Context, c *client.Client) error {
		answer, err := c.ApplyConfiguration(ctx, &machineapi.ApplyConfigurationRequest{
			Mode:   machineapi.ApplyConfigurationRequest_AUTO,
			Data:   []byte(rendered),
			DryRun: true,
		})
		if err == nil && len(answer.GetMessages()) > 0 {
			reboot = answer.GetMessages()[0].GetMode() == machineapi.ApplyConfigurationRequest_REBOOT
		}

		return err
	})

	return reboot, err
}

func (applyResource) create(ctx context.Context, inputs, planned resource.PropertyMap) (resource.PropertyMap, error) {
	return applyConfiguration(ctx, inputs, planned, "create")
}

func (applyResource) update(ctx context.Context, _, inputs, planned resource.PropertyMap) (resource.PropertyMap, error) {
	return applyConfiguration(ctx, inputs, planned, "update")
}

func applyConfiguration(
	ctx context.Context, inputs, planned resource.PropertyMap, operation resource.PropertyKey,
) (resource.PropertyMap, error) {
	credentials, err := clientOf(inputs)
	if err != nil {
		return nil, err
	}

	timeout, err := timeoutOf(planned, operation)
	if err != nil {
		return nil, err
	}

	rendered, err := renderConfiguration(inputs)
	if err != nil {
		return nil, err
	}

	mode, ok := machineapi.ApplyConfigurationRequest_Mode_value[strings.ToUpper(stringAt(planned, "resolvedApplyMode"))]
	if !ok {
		return nil, fmt.Errorf("there is no apply mode %q", stringAt(planned, "resolvedApplyMode"))
	}

	target := machineOf(planned, credentials)

	if err := target.retry(ctx, timeout, func(ctx context.Context, c *client.Client) error {
		_, err := c.ApplyConfiguration(ctx, &machineapi.ApplyConfigurationRequest{
			Mode: machineapi.ApplyConfigurationRequest_Mode(mode),
			Data: []byte(rendered),
		})

		return err
	}); err != nil {
		return nil, fmt.Errorf("error applying the configuration to %s: %w", target, err)
	}

	state := planned.Copy()
	state[idKey] = text("machine_configuration_apply")

	return state, nil
}

// delete resets the machine when onDestroy says so, with the credentials of the state: write-only ones are not there.
func (applyResource) delete(ctx context.Context, state resource.PropertyMap) error {
	onDestroy := objectAt(state, "onDestroy")
	if !boolAt(onDestroy, "reset") {
		return nil
	}

	if objectAt(state, "clientConfiguration") == nil {
		return errors.New("onDestroy.reset needs clientConfiguration: clientConfigurationWo is write-only and so not " +
			"there when the resource is deleted")
	}

	credentials, err := clientOf(state)
	if err != nil {
		return err
	}

	timeout, err := timeoutOf(state, "delete")
	if err != nil {
		return err
	}

	target := machineOf(state, credentials)

	if err := target.do(ctx, func(ctx context.Context, c *client.Client) error {
		return target.reset(ctx, c, boolAt(onDestroy, "graceful"), boolAt(onDestroy, "reboot"), timeout)
	}); err != nil {
		return fmt.Errorf("error resetting %s: %w", target, err)
	}

	return nil
}

func (applyResource) adopt(string) (resource.PropertyMap, error) {
	return nil, errors.New("talos:machine/configurationApply:ConfigurationApply cannot be imported: create it, which " +
		"changes nothing on a node that has the same configuration")
}
