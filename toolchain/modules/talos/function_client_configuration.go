package main

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// clientConfigurationFunction is talos:client/getConfiguration:getConfiguration: it makes a talosconfig.
type clientConfigurationFunction struct{}

func (clientConfigurationFunction) check(args resource.PropertyMap) []failure {
	return checkClusterName(args)
}

func checkClusterName(args resource.PropertyMap) []failure {
	if stringAt(args, "clusterName") == "" {
		return []failure{{"clusterName", "must not be empty"}}
	}

	return nil
}

func (clientConfigurationFunction) call(args resource.PropertyMap) (resource.PropertyMap, error) {
	name := stringAt(args, "clusterName")

	config, err := talosConfig(name, objectAt(args, "clientConfiguration"))
	if err != nil {
		return nil, err
	}

	config.Contexts[name].Endpoints = stringsAt(args, "endpoints")
	config.Contexts[name].Nodes = stringsAt(args, "nodes")

	encoded, err := config.Bytes()
	if err != nil {
		return nil, fmt.Errorf("failed to encode the talosconfig: %w", err)
	}

	result := args.Copy()
	result[idKey] = text(name)
	result["talosConfig"] = text(string(encoded))

	return result, nil
}
