package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

//go:embed schema.json
var schemaJSON []byte

// packageSchema is the part of a Pulumi package schema that decides how values are checked and which are secret.
type packageSchema struct {
	Types     map[string]objectSpec `json:"types"`
	Provider  resourceSpec          `json:"provider"`
	Resources map[string]resourceSpec
	Functions map[string]functionSpec
}

type objectSpec struct {
	Properties map[string]propertySpec `json:"properties"`
	Required   []string                `json:"required"`
}

type propertySpec struct {
	Type   string        `json:"type"`
	Ref    string        `json:"$ref"`
	Items  *propertySpec `json:"items"`
	Secret bool          `json:"secret"`
}

type resourceSpec struct {
	Properties      map[string]propertySpec `json:"properties"`
	InputProperties map[string]propertySpec `json:"inputProperties"`
	RequiredInputs  []string                `json:"requiredInputs"`
}

func (r resourceSpec) inputs() objectSpec {
	return objectSpec{Properties: r.InputProperties, Required: r.RequiredInputs}
}

type functionSpec struct {
	Inputs objectSpec `json:"inputs"`
}

func loadSchema() (*packageSchema, error) {
	var s packageSchema
	if err := json.Unmarshal(schemaJSON, &s); err != nil {
		return nil, fmt.Errorf("schema.json: %w", err)
	}

	return &s, nil
}

// failure is one thing wrong with the inputs of a resource or function. The property may be empty.
type failure struct {
	property string
	reason   string
}

// check holds values against their types. Unknown properties are let through, as the Terraform bridge does.
func (s *packageSchema) check(spec objectSpec, values resource.PropertyMap) []failure {
	return s.checkObject("", spec, values)
}

func (s *packageSchema) checkObject(path string, spec objectSpec, values resource.PropertyMap) []failure {
	var failures []failure

	for _, name := range spec.Required {
		if isNull(values[resource.PropertyKey(name)]) {
			failures = append(failures, failure{join(path, name), "Missing required property"})
		}
	}

	for _, name := range sortedKeys(spec.Properties) {
		if v := values[resource.PropertyKey(name)]; !isNull(v) {
			failures = append(failures, s.checkValue(join(path, name), spec.Properties[name], v)...)
		}
	}

	return failures
}

func (s *packageSchema) checkValue(path string, spec propertySpec, v resource.PropertyValue) []failure {
	v = bare(v)

	wrong := func(expected string) []failure {
		return []failure{{path, fmt.Sprintf("Expected %s, got %s", expected, v.TypeString())}}
	}

	switch {
	case isNull(v) || v.IsComputed():
		return nil
	case spec.Ref != "":
		if !v.IsObject() {
			return wrong("an object")
		}

		return s.checkObject(path, s.Types[refToken(spec.Ref)], v.ObjectValue())
	case spec.Type == "string" && !v.IsString():
		return wrong("a string")
	case spec.Type == "boolean" && !v.IsBool():
		return wrong("true or false")
	case spec.Type == "array":
		if !v.IsArray() {
			return wrong("a list")
		}

		var failures []failure
		for i, element := range v.ArrayValue() {
			failures = append(failures, s.checkValue(fmt.Sprintf("%s[%d]", path, i), *spec.Items, element)...)
		}

		return failures
	}

	return nil
}

// markSecrets makes secret what the schema says is secret, and leaves secret what already was.
func (s *packageSchema) markSecrets(properties map[string]propertySpec, values resource.PropertyMap) resource.PropertyMap {
	marked := resource.PropertyMap{}
	for key, v := range values {
		marked[key] = s.markSecret(properties[string(key)], v)
	}

	return marked
}

func (s *packageSchema) markSecret(spec propertySpec, v resource.PropertyValue) resource.PropertyValue {
	if v.IsSecret() || isNull(v) {
		return v
	}

	if spec.Secret {
		return resource.MakeSecret(v)
	}

	if spec.Ref != "" && v.IsObject() {
		return resource.NewObjectProperty(s.markSecrets(s.Types[refToken(spec.Ref)].Properties, v.ObjectValue()))
	}

	return v
}

func refToken(ref string) string { return strings.TrimPrefix(ref, "#/types/") }

func join(path, name string) string {
	if path == "" {
		return name
	}

	return path + "." + name
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}

	sort.Strings(keys)

	return keys
}
