package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/siderolabs/talos/pkg/machinery/client"
	"go.yaml.in/yaml/v4"
)

// kubeconfigResource is talos:cluster/kubeconfig:Kubeconfig. The kubeconfig is fetched on creation and again only when
// its certificate is about to expire.
type kubeconfigResource struct{}

var kubeconfigAttributes = attributes{
	inputs:   []resource.PropertyKey{"certificateRenewalDuration", "clientConfiguration", "endpoint", "node", "timeouts"},
	defaults: resource.PropertyMap{"certificateRenewalDuration": text("720h")},
	computed: []resource.PropertyKey{"endpoint"},
	stable:   []resource.PropertyKey{"kubeconfigRaw", "kubernetesClientConfiguration"},
}

func (kubeconfigResource) schemaVersion() int { return 1 }

func (kubeconfigResource) check(inputs resource.PropertyMap) []failure {
	return checkTimeouts(inputs)
}

func (kubeconfigResource) plan(_ context.Context, _ environment, prior, inputs resource.PropertyMap) (plan, error) {
	state := kubeconfigAttributes.propose(prior, inputs)

	if !planEndpoint(state, inputs) || isUnknown(state["certificateRenewalDuration"]) {
		return plan{state: state}, nil
	}

	renew, err := kubeconfigExpires(prior, stringAt(state, "certificateRenewalDuration"))
	if err != nil {
		return plan{}, err
	}

	if renew {
		state["kubeconfigRaw"] = unknown()
		state["kubernetesClientConfiguration"] = object(map[string]resource.PropertyValue{
			"host": unknown(), "caCertificate": unknown(), "clientCertificate": unknown(), "clientKey": unknown(),
		})
	}

	return plan{state: state}, nil
}

// kubeconfigExpires tells whether the kubeconfig in a state has less than a duration left.
func kubeconfigExpires(state resource.PropertyMap, left string) (bool, error) {
	certificate := stringAt(state, "kubernetesClientConfiguration", "clientCertificate")
	if certificate == "" {
		return false, nil
	}

	end, err := expiry(certificate)
	if err != nil {
		return false, err
	}

	renewal, err := time.ParseDuration(left)
	if err != nil {
		return false, fmt.Errorf("certificateRenewalDuration: %w", err)
	}

	return end.Before(now().Add(renewal)), nil
}

func (kubeconfigResource) create(ctx context.Context, inputs, planned resource.PropertyMap) (resource.PropertyMap, error) {
	return fetchKubeconfig(ctx, inputs, planned, "create")
}

func (kubeconfigResource) update(
	ctx context.Context, prior, inputs, planned resource.PropertyMap,
) (resource.PropertyMap, error) {
	renew, err := kubeconfigExpires(prior, stringAt(planned, "certificateRenewalDuration"))
	if err != nil {
		return nil, err
	}

	if !renew {
		return planned.Copy(), nil
	}

	return fetchKubeconfig(ctx, inputs, planned, "update")
}

func (kubeconfigResource) delete(context.Context, resource.PropertyMap) error { return nil }

func (kubeconfigResource) adopt(string) (resource.PropertyMap, error) {
	return nil, errors.New("talos:cluster/kubeconfig:Kubeconfig cannot be imported: create it, which only fetches the kubeconfig")
}

func fetchKubeconfig(
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

	target := machineOf(planned, credentials)

	var raw []byte

	if err := target.retry(ctx, timeout, func(ctx context.Context, c *client.Client) error {
		raw, err = c.Kubeconfig(ctx)

		return err
	}); err != nil {
		return nil, fmt.Errorf("error retrieving the kubeconfig from %s: %w", target, err)
	}

	cluster, kubernetes, err := parseKubeconfig(raw)
	if err != nil {
		return nil, fmt.Errorf("error parsing the kubeconfig of %s: %w", target, err)
	}

	state := planned.Copy()
	state["kubeconfigRaw"] = text(string(raw))
	state["kubernetesClientConfiguration"] = kubernetes

	// A renewal keeps the id that the resource was created with.
	if isUnknown(state[idKey]) {
		state[idKey] = text(cluster)
	}

	return state, nil
}

// kubeconfigFile is as much of a kubeconfig as the current context needs.
type kubeconfigFile struct {
	CurrentContext string `yaml:"current-context"`
	Contexts       []struct {
		Name    string `yaml:"name"`
		Context struct {
			Cluster string `yaml:"cluster"`
			User    string `yaml:"user"`
		} `yaml:"context"`
	} `yaml:"contexts"`
	Clusters []struct {
		Name    string `yaml:"name"`
		Cluster struct {
			Server string `yaml:"server"`
			CA     string `yaml:"certificate-authority-data"`
		} `yaml:"cluster"`
	} `yaml:"clusters"`
	Users []struct {
		Name string `yaml:"name"`
		User struct {
			Certificate string `yaml:"client-certificate-data"`
			Key         string `yaml:"client-key-data"`
		} `yaml:"user"`
	} `yaml:"users"`
}

// parseKubeconfig is the name of the current cluster and its kubernetesClientConfiguration.
func parseKubeconfig(raw []byte) (string, resource.PropertyValue, error) {
	var file kubeconfigFile
	if err := yaml.Unmarshal(raw, &file); err != nil {
		// The error of the parser may quote keys.
		return "", resource.PropertyValue{}, errors.New("not a YAML kubeconfig")
	}

	var cluster, user string

	for _, c := range file.Contexts {
		if c.Name == file.CurrentContext {
			cluster, user = c.Context.Cluster, c.Context.User
		}
	}

	fields := map[string]resource.PropertyValue{}

	for _, c := range file.Clusters {
		if c.Name == cluster {
			fields["host"], fields["caCertificate"] = text(c.Cluster.Server), text(c.Cluster.CA)
		}
	}

	for _, u := range file.Users {
		if u.Name == user {
			fields["clientCertificate"], fields["clientKey"] = text(u.User.Certificate), text(u.User.Key)
		}
	}

	if cluster == "" || len(fields) != 4 {
		return "", resource.PropertyValue{}, fmt.Errorf("no cluster and user for the current context %q", file.CurrentContext)
	}

	for _, key := range []string{"caCertificate", "clientCertificate", "clientKey"} {
		if _, err := base64.StdEncoding.DecodeString(fields[key].StringValue()); err != nil {
			return "", resource.PropertyValue{}, fmt.Errorf("%s is not base64", key)
		}
	}

	return cluster, object(fields), nil
}
