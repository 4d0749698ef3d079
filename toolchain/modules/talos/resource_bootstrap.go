package main

import (
	"context"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	machineapi "github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/client"
)

// bootstrapResource is talos:machine/bootstrap:Bootstrap. Only creation touches the machine; a machine that is
// bootstrapped already refuses until the timeout, and is to be imported.
type bootstrapResource struct{}

var bootstrapAttributes = attributes{
	inputs:   []resource.PropertyKey{"clientConfiguration", "endpoint", "node", "timeouts"},
	computed: []resource.PropertyKey{"endpoint"},
}

func (bootstrapResource) schemaVersion() int { return 1 }

func (bootstrapResource) check(inputs resource.PropertyMap) []failure {
	return append(exactlyOne(inputs, "clientConfiguration", "clientConfigurationWo"), checkTimeouts(inputs)...)
}

func (bootstrapResource) plan(_ context.Context, _ environment, prior, inputs resource.PropertyMap) (plan, error) {
	state := bootstrapAttributes.propose(prior, inputs)
	planEndpoint(state, inputs)

	return plan{state: state}, nil
}

// planEndpoint puts the node in place of an endpoint that is not set. It tells whether both are known.
func planEndpoint(state, inputs resource.PropertyMap) bool {
	if isUnknown(inputs["node"]) || isUnknown(inputs["endpoint"]) {
		return false
	}

	if isNull(inputs["endpoint"]) {
		state["endpoint"] = inputs["node"]
	}

	return true
}

func (bootstrapResource) create(ctx context.Context, inputs, planned resource.PropertyMap) (resource.PropertyMap, error) {
	credentials, err := clientOf(inputs)
	if err != nil {
		return nil, err
	}

	timeout, err := timeoutOf(planned, "create")
	if err != nil {
		return nil, err
	}

	target := machineOf(planned, credentials)

	if err := target.retry(ctx, timeout, func(ctx context.Context, c *client.Client) error {
		return c.Bootstrap(ctx, &machineapi.BootstrapRequest{})
	}); err != nil {
		return nil, fmt.Errorf("error bootstrapping %s: %w", target, err)
	}

	state := planned.Copy()
	state[idKey] = text("machine_bootstrap")

	return state, nil
}

func (bootstrapResource) update(_ context.Context, _, _, planned resource.PropertyMap) (resource.PropertyMap, error) {
	return planned.Copy(), nil
}

func (bootstrapResource) delete(context.Context, resource.PropertyMap) error { return nil }

// adopt takes any id: there is one bootstrap of a cluster, and nothing of it can be read back.
func (bootstrapResource) adopt(string) (resource.PropertyMap, error) {
	return resource.PropertyMap{idKey: text("machine_bootstrap")}, nil
}
