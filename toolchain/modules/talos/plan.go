package main

import (
	"sort"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

const idKey resource.PropertyKey = "id"

// attributes says where the properties of a resource's state come from. Write-only inputs are in no list: they never
// reach the state.
type attributes struct {
	// inputs are what the program says, null where it says nothing.
	inputs []resource.PropertyKey
	// defaults stand in for an input that the program leaves out.
	defaults resource.PropertyMap
	// computed are the provider's own (some of them may be inputs too, whose value then wins). They become unknown as
	// soon as anything else changes.
	computed []resource.PropertyKey
	// stable are computed once and kept when something else changes.
	stable []resource.PropertyKey
}

// plan is the state that a resource will have, as far as it is known, and the properties that force a replacement.
type plan struct {
	state    resource.PropertyMap
	replaces []resource.PropertyKey
}

// propose plans a state the way Terraform's plugin framework does, before the resource has its say. The prior state is
// nil on creation.
func (a attributes) propose(prior, inputs resource.PropertyMap) resource.PropertyMap {
	proposed := resource.PropertyMap{}

	for _, key := range a.inputs {
		if v, ok := inputs[key]; ok && !isNull(v) {
			proposed[key] = v
		} else if v, ok := a.defaults[key]; ok {
			proposed[key] = v
		}
	}

	computed := append(append([]resource.PropertyKey{idKey}, a.computed...), a.stable...)
	for _, key := range computed {
		if _, ok := proposed[key]; ok {
			continue
		}

		if prior == nil {
			proposed[key] = unknown()
		} else if v, ok := prior[key]; ok {
			proposed[key] = v
		}
	}

	if prior == nil || len(changedKeys(prior, proposed)) == 0 {
		return proposed
	}

	for _, key := range a.computed {
		if isNull(inputs[key]) {
			proposed[key] = unknown()
		}
	}

	return proposed
}

// changedKeys names the properties in which two states differ; Pulumi's own bookkeeping (keys that start with "__") is
// not compared.
func changedKeys(prior, planned resource.PropertyMap) []resource.PropertyKey {
	var changed []resource.PropertyKey

	compare := func(key resource.PropertyKey) {
		if strings.HasPrefix(string(key), "__") {
			return
		}

		old, new := prior[key], planned[key]
		if isNull(old) && isNull(new) {
			return
		}

		if isNull(old) != isNull(new) || !old.DeepEquals(new) {
			changed = append(changed, key)
		}
	}

	for key := range planned {
		compare(key)
	}

	for key := range prior {
		if _, ok := planned[key]; !ok {
			compare(key)
		}
	}

	sort.Slice(changed, func(i, j int) bool { return changed[i] < changed[j] })

	return changed
}
