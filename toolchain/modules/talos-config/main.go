// Command talos-config describes the machine configuration documents that one version of Talos' own library decodes, as
// JSON Schema. It reads the Go types, not the schema that comes with the library: that one leaves out every deprecated
// key (all of machine.network, machine.registries and machine.time among them), which Talos still reads.
//
// The arguments are words that may be kinds of documents; those that the library does not know are left out.
package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/encoder"
)

const apiVersion = "v1alpha1"

// schema is one JSON Schema.
type schema map[string]any

// formats are the types that read themselves from text in a form of their own.
var formats = map[string]schema{
	"block.ByteSize":                   {"type": "string", "format": "bytes"},
	"block.Size":                       {"type": "string", "format": "size"},
	"cel.Expression":                   {"type": "string"},
	"meta.URL":                         {"type": "string", "format": "url"},
	"nethelpers.HardwareAddr":          {"type": "string", "format": "hardware-address"},
	"nethelpers.RoutingTable":          {"type": "string", "format": "routing-table"},
	"netip.Addr":                       {"type": "string", "format": "address"},
	"netip.AddrPort":                   {"type": "string", "format": "address-port"},
	"netip.Prefix":                     {"type": "string", "format": "prefix"},
	"network.Addr":                     {"type": "string", "format": "address"},
	"network.AddrPort":                 {"type": "string", "format": "address-port"},
	"network.PortRange":                {"type": []string{"integer", "string"}, "maximum": 65535, "minimum": 0, "format": "ports"},
	"network.Prefix":                   {"type": "string", "format": "prefix"},
	"time.Duration":                    {"type": "string", "format": "duration"},
	"v1alpha1.ArgValue":                {"type": "string"}, // its own reader takes lists too, but the check for unknown keys refuses them
	"v1alpha1.Base64Bytes":             {"type": "string", "format": "base64"},
	"v1alpha1.DiskSize":                {"type": "string", "format": "bytes"},
	"v1alpha1.Endpoint":                {"type": "string", "format": "url"},
	"v1alpha1.InstallDiskSizeMatcher":  {"type": "string"},
	"x509.PEMEncodedCertificate":       pem("crt"),
	"x509.PEMEncodedCertificateAndKey": pem("crt", "key"),
	"x509.PEMEncodedKey":               pem("key"),
}

// pem is a mapping whose values are PEM blocks, encoded in base64 once more.
func pem(keys ...string) schema {
	properties := schema{}
	for _, key := range keys {
		properties[key] = schema{"type": "string", "format": "base64"}
	}

	return schema{"type": "object", "properties": properties}
}

func main() {
	d := describer{definitions: schema{}}
	documents := schema{}

	for _, kind := range append(os.Args[1:], apiVersion) {
		if typ := load(kind); typ != nil {
			documents[kind] = d.typ(typ, nil)
			d.complete(typ, kind)
		}
	}

	if err := json.NewEncoder(os.Stdout).Encode(schema{"documents": documents, "$defs": d.definitions}); err != nil {
		fail(err)
	}
}

func fail(reason any) {
	fmt.Fprintln(os.Stderr, reason)
	os.Exit(1)
}

// load is the type of the documents of a kind, nil for a kind that the library does not know.
func load(kind string) reflect.Type {
	text := fmt.Sprintf("apiVersion: %s\nkind: %s\n", apiVersion, kind)
	if kind == apiVersion {
		text = "machine: {}\n" // the one document that has neither
	}

	provider, err := configloader.NewFromBytes([]byte(text))
	if err != nil {
		return nil
	}

	return reflect.TypeOf(provider.Documents()[0]).Elem()
}

type describer struct {
	definitions schema
}

// complete adds to the definition of a document what its Go type does not tell.
func (d describer) complete(typ reflect.Type, kind string) {
	if kind == apiVersion {
		return
	}

	definition := d.definitions[typ.String()].(schema)
	properties := definition["properties"].(schema)
	properties["apiVersion"] = schema{"const": apiVersion}
	properties["kind"] = schema{"const": kind}
	required := []string{"apiVersion", "kind"}

	if _, named := reflect.New(typ).Interface().(config.NamedDocument); named {
		required = append(required, "name")
	}

	definition["required"] = required
}

// typ is the schema of a type; values are those that the documentation of a field allows.
func (d describer) typ(typ reflect.Type, values []string) schema {
	if known, ok := formats[typ.String()]; ok {
		return known
	}

	if text, ok := reflect.New(typ).Interface().(encoding.TextUnmarshaler); ok {
		return enumerated(typ, text, values)
	}

	if _, ok := reflect.PointerTo(typ).MethodByName("UnmarshalYAML"); ok && typ.Kind() != reflect.Slice {
		fail(fmt.Sprintf("%s reads itself from YAML: add it to formats", typ))
	}

	switch typ.Kind() { //nolint:exhaustive
	case reflect.Pointer:
		return d.typ(typ.Elem(), values)
	case reflect.Interface:
		return schema{}
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.String:
		return withValues(schema{"type": "string"}, values)
	case reflect.Int, reflect.Int64:
		return schema{"type": "integer"}
	case reflect.Uint, reflect.Uint64:
		return schema{"type": "integer", "minimum": 0}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return schema{"type": "integer", "minimum": 0, "maximum": uint64(1)<<typ.Bits() - 1}
	case reflect.Slice:
		return schema{"type": "array", "items": d.typ(typ.Elem(), values)}
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": d.typ(typ.Elem(), nil)}
	case reflect.Struct:
		return d.structure(typ)
	}

	fail(fmt.Sprintf("%s is of a sort that no document had before: %s", typ, typ.Kind()))

	return nil
}

func (d describer) structure(typ reflect.Type) schema {
	reference := schema{"$ref": "#/$defs/" + typ.String()}
	if _, known := d.definitions[typ.String()]; known {
		return reference
	}

	properties := schema{}
	definition := schema{"type": "object", "properties": properties, "additionalProperties": false}
	d.definitions[typ.String()] = definition // before the fields, should one of them be of this type again

	for _, field := range reflect.VisibleFields(typ) {
		name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if field.Type.Kind() == reflect.Map && options == "inline" {
			delete(d.definitions, typ.String())

			return schema{"type": "object"} // Unstructured: what Talos hands on as it is
		}

		if name != "" && name != "-" {
			properties[name] = d.typ(field.Type, documented(typ, field, name))
		}
	}

	return reference
}

// documented are the values that the documentation of a field allows.
func documented(typ reflect.Type, field reflect.StructField, name string) []string {
	owner := typ
	if len(field.Index) > 1 { // of an embedded struct, which has the documentation
		owner = typ.FieldByIndex(field.Index[:len(field.Index)-1]).Type
	}

	document, ok := reflect.New(owner).Interface().(interface{ Doc() *encoder.Doc })
	if !ok {
		return nil
	}

	for _, described := range document.Doc().Fields {
		if described.Name == name {
			return described.Values
		}
	}

	return nil
}

// enumerated is the schema of a type that reads itself from a few words: those of its documentation that it does read.
func enumerated(typ reflect.Type, text encoding.TextUnmarshaler, values []string) schema {
	values = slices.DeleteFunc(slices.Clone(values), func(word string) bool {
		return text.UnmarshalText([]byte(word)) != nil
	})
	if len(values) == 0 {
		fail(fmt.Sprintf("%s reads itself from text: add it to formats", typ))
	}

	return withValues(schema{"type": "string"}, values)
}

func withValues(described schema, values []string) schema {
	if len(values) > 0 {
		described["enum"] = values
	}

	return described
}
