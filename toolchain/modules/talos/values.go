package main

import (
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// unknown is a value that only the deployment will know.
func unknown() resource.PropertyValue {
	return resource.MakeComputed(resource.NewStringProperty(""))
}

func text(s string) resource.PropertyValue { return resource.NewStringProperty(s) }

func isNull(v resource.PropertyValue) bool {
	return v.V == nil || (v.IsSecret() && isNull(v.SecretValue().Element))
}

func isUnknown(v resource.PropertyValue) bool {
	return v.V != nil && v.ContainsUnknowns()
}

// bare is a value without its mark of secrecy; values inside it keep theirs.
func bare(v resource.PropertyValue) resource.PropertyValue {
	for v.IsSecret() {
		v = v.SecretValue().Element
	}

	return v
}

// stringAt is the string at a path of object keys, or "" where there is none.
func stringAt(m resource.PropertyMap, path ...resource.PropertyKey) string {
	for _, key := range path[:len(path)-1] {
		m = objectAt(m, key)
	}

	if v := bare(m[path[len(path)-1]]); v.IsString() {
		return v.StringValue()
	}

	return ""
}

func boolAt(m resource.PropertyMap, key resource.PropertyKey) bool {
	v := bare(m[key])

	return v.IsBool() && v.BoolValue()
}

func objectAt(m resource.PropertyMap, key resource.PropertyKey) resource.PropertyMap {
	if v := bare(m[key]); v.IsObject() {
		return v.ObjectValue()
	}

	return nil
}

// stringsAt is the list of strings at a key without its nulls.
func stringsAt(m resource.PropertyMap, key resource.PropertyKey) []string {
	v := bare(m[key])
	if !v.IsArray() {
		return nil
	}

	var list []string
	for _, element := range v.ArrayValue() {
		if element = bare(element); element.IsString() {
			list = append(list, element.StringValue())
		}
	}

	return list
}

func textList(list []string) resource.PropertyValue {
	values := make([]resource.PropertyValue, len(list))
	for i, s := range list {
		values[i] = text(s)
	}

	return resource.NewArrayProperty(values)
}

func object(fields map[string]resource.PropertyValue) resource.PropertyValue {
	m := resource.PropertyMap{}
	for key, v := range fields {
		m[resource.PropertyKey(key)] = v
	}

	return resource.NewObjectProperty(m)
}
