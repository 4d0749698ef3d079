package controlplane

import (
	"fmt"

	"github.com/siderolabs/go-kubernetes/kubernetes/compatibility"
)

// The lab has one version of Kubernetes' programs, which behave like some older
// ones where they are told to.
const (
	newestMinor = 36
	oldestMinor = 33
)

// Version is what the tag of an image says, such as v1.36.0.
func Version(image string) string { return compatibility.VersionFromImageRef(image).String() }

// Emulation are the arguments that make the lab's program behave like the
// version in an image's tag.
func Emulation(image string) ([]string, error) {
	wanted := compatibility.VersionFromImageRef(image)

	switch {
	case wanted.Major != 1 || wanted.Minor < oldestMinor || wanted.Minor > newestMinor:
		return nil, fmt.Errorf("%s cannot be run: the lab has Kubernetes 1.%d, which behaves like 1.%d at the oldest", image, newestMinor, oldestMinor)
	case wanted.Minor == newestMinor:
		return nil, nil
	default:
		return []string{fmt.Sprintf("--emulated-version=kube=1.%d", wanted.Minor)}, nil
	}
}
