package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/gendata"
	"golang.org/x/mod/semver"
)

// secretsResource is talos:machine/secrets:Secrets. The secrets are made once; a newer contract changes nothing in
// them, an older one replaces them, and only the admin certificate is ever renewed.
type secretsResource struct{}

var secretsAttributes = attributes{
	inputs:   []resource.PropertyKey{"talosVersion"},
	computed: []resource.PropertyKey{"talosVersion", "machineSecrets", "clientConfiguration"},
}

func defaultContract() string { return semver.MajorMinor(gendata.VersionTag) }

func (secretsResource) schemaVersion() int { return 1 }

func (secretsResource) check(inputs resource.PropertyMap) []failure {
	return checkContract(inputs)
}

// checkContract finds a talosVersion that is no version.
func checkContract(inputs resource.PropertyMap) []failure {
	if v := bare(inputs["talosVersion"]); v.IsString() {
		if _, err := config.ParseContractFromVersion(v.StringValue()); err != nil {
			return []failure{{"talosVersion", "Invalid version: " + err.Error()}}
		}
	}

	return nil
}

func (secretsResource) plan(_ context.Context, _ environment, prior, inputs resource.PropertyMap) (plan, error) {
	planned := plan{state: secretsAttributes.propose(prior, inputs)}

	if isNull(inputs["talosVersion"]) && (isNull(planned.state["talosVersion"]) || isUnknown(planned.state["talosVersion"])) {
		planned.state["talosVersion"] = text(defaultContract())
	}

	if prior == nil {
		return planned, nil
	}

	if version := bare(planned.state["talosVersion"]); version.IsString() &&
		semver.Compare(contract(version.StringValue()), contract(stringAt(prior, "talosVersion"))) < 0 {
		planned.replaces = []resource.PropertyKey{"talosVersion"}
	}

	renew, err := secretsExpire(prior)
	if err != nil {
		return plan{}, err
	}

	if renew {
		planned.state["clientConfiguration"] = object(map[string]resource.PropertyValue{
			"caCertificate": unknown(), "clientCertificate": unknown(), "clientKey": unknown(),
		})
	}

	return planned, nil
}

func contract(version string) string { return "v" + strings.TrimPrefix(version, "v") }

// secretsExpire tells whether the admin certificate has less than a month left.
func secretsExpire(state resource.PropertyMap) (bool, error) {
	if stringAt(state, "clientConfiguration", "caCertificate") == "" {
		return false, nil
	}

	end, err := expiry(stringAt(state, "clientConfiguration", "clientCertificate"))

	return end.Before(now().AddDate(0, 1, 0)), err
}

func (secretsResource) create(_ context.Context, _, planned resource.PropertyMap) (resource.PropertyMap, error) {
	version := stringAt(planned, "talosVersion")

	versionContract, err := config.ParseContractFromVersion(version)
	if err != nil {
		return nil, fmt.Errorf("failed to validate talosVersion: %w", err)
	}

	bundle, err := secrets.NewBundle(secrets.NewFixedClock(now()), versionContract)
	if err != nil {
		return nil, fmt.Errorf("failed to generate secrets: %w", err)
	}

	return secretsState(bundle, version)
}

func secretsState(bundle *secrets.Bundle, version string) (resource.PropertyMap, error) {
	machineSecrets, err := secretsOf(bundle)
	if err != nil {
		return nil, fmt.Errorf("failed to read the secrets: %w", err)
	}

	client, err := newClientConfiguration(bundle)
	if err != nil {
		return nil, fmt.Errorf("failed to issue a client certificate: %w", err)
	}

	return resource.PropertyMap{
		idKey:                 text("machine_secrets"),
		"talosVersion":        text(version),
		"machineSecrets":      machineSecrets,
		"clientConfiguration": client,
	}, nil
}

func (secretsResource) update(_ context.Context, prior, _, planned resource.PropertyMap) (resource.PropertyMap, error) {
	state := prior.Copy()
	state["talosVersion"] = planned["talosVersion"]

	renew, err := secretsExpire(prior)
	if err != nil || !renew {
		return state, err
	}

	bundle, err := bundleOf(objectAt(prior, "machineSecrets"))
	if err != nil {
		return nil, err
	}

	bundle.Clock = secrets.NewFixedClock(now())
	state["clientConfiguration"], err = newClientConfiguration(bundle)

	return state, err
}

func (secretsResource) delete(context.Context, resource.PropertyMap) error { return nil }

// adopt reads a secrets.yaml, as `talosctl gen secrets` writes it.
func (secretsResource) adopt(path string) (resource.PropertyMap, error) {
	bundle, err := secrets.LoadBundle(path)
	if err != nil {
		return nil, fmt.Errorf("failed to import %s: %w", path, err)
	}

	// The file does not say for which contract it was made.
	version := "v1.3"
	if bundle.Secrets != nil && bundle.Secrets.AESCBCEncryptionSecret != "" {
		version = "v1.2"
	}

	return secretsState(bundle, version)
}
