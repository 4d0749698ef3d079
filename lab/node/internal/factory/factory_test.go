package factory

import "testing"

func TestParse(t *testing.T) {
	for reference, expected := range map[string]Installer{
		"factory.talos.dev/metal-installer/abc:v1.13.0": {
			registry: "factory.talos.dev", repository: "metal-installer/abc", platform: "metal", schematic: "abc", version: "v1.13.0",
		},
		"factory.talos.dev/nocloud-installer-secureboot/abc:v1.12.1": {
			registry: "factory.talos.dev", repository: "nocloud-installer-secureboot/abc", platform: "nocloud", schematic: "abc",
			version: "v1.12.1", secureBoot: true,
		},
		"factory.talos.dev/installer/abc:v1.10.0": {
			registry: "factory.talos.dev", repository: "metal-installer/abc", platform: "metal", schematic: "abc", version: "v1.10.0",
		},
		"ghcr.io/siderolabs/installer:v1.13.0": {
			registry: "ghcr.io", repository: "siderolabs/installer", platform: "metal", schematic: DefaultSchematic, version: "v1.13.0",
		},
	} {
		expected.reference = reference

		parsed, err := Parse(reference)
		if err != nil || parsed != expected {
			t.Errorf("%s: %+v, %v", reference, parsed, err)
		}
	}

	for _, reference := range []string{
		"", "installer", "factory.talos.dev/metal-installer/abc", "factory.talos.dev/metal/abc:v1.13.0",
		"registry.k8s.io/kubelet:v1.33.0", "ghcr.io/siderolabs/installer@sha256:0000",
	} {
		if parsed, err := Parse(reference); err == nil {
			t.Errorf("%q is accepted: %+v", reference, parsed)
		}
	}
}
