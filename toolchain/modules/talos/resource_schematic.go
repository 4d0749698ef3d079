package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"go.yaml.in/yaml/v4"
)

// schematicResource is talos:imageFactory/schematic:Schematic. Creation and update register the schematic with the
// Image Factory, which never forgets one: nothing is read back, and deletion leaves it there.
//
// An update changes the id in the state, but the engine goes on with the id that it knows until the next refresh.
type schematicResource struct {
	factory *imageFactory
}

var schematicAttributes = attributes{
	inputs:   []resource.PropertyKey{"schematic"},
	computed: []resource.PropertyKey{idKey},
}

func (schematicResource) schemaVersion() int { return 0 }

// check leaves the YAML to creation and update, as the released plugin does: a preview says nothing of it.
func (schematicResource) check(resource.PropertyMap) []failure { return nil }

func (schematicResource) plan(_ context.Context, _ environment, prior, inputs resource.PropertyMap) (plan, error) {
	return plan{state: schematicAttributes.propose(prior, inputs)}, nil
}

func (r schematicResource) create(ctx context.Context, _, planned resource.PropertyMap) (resource.PropertyMap, error) {
	return r.register(ctx, planned, "create")
}

func (r schematicResource) update(
	ctx context.Context, _, _, planned resource.PropertyMap,
) (resource.PropertyMap, error) {
	return r.register(ctx, planned, "update")
}

func (r schematicResource) register(
	ctx context.Context, planned resource.PropertyMap, operation string,
) (resource.PropertyMap, error) {
	var s schematic
	if err := yaml.Unmarshal([]byte(stringAt(planned, "schematic")), &s); err != nil {
		return nil, fmt.Errorf("failed to unmarshal schematic: %w", err)
	}

	id, err := r.factory.register(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("failed to %s schematic: %w", operation, err)
	}

	state := planned.Copy()
	state[idKey] = text(id)

	return state, nil
}

func (schematicResource) delete(context.Context, resource.PropertyMap) error { return nil }

func (schematicResource) adopt(string) (resource.PropertyMap, error) {
	return nil, errors.New("a schematic cannot be imported: create it, and the Image Factory answers the id it has")
}
