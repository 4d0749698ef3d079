// Package talosaccess opens Talos' API to the pods of a cluster, as a control plane of Talos does whose configuration
// says so (machine.features.kubernetesTalosAPIAccess): a Service by which pods find the API, and for every object
// serviceaccounts.talos.dev that is allowed one a Secret with a talosconfig. What the objects look like is decided here
// without asking anybody (verdict.go, talosconfig.go), and brought to the API server by service.go and accounts.go.
package talosaccess

import (
	"github.com/siderolabs/talos/pkg/machinery/constants"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	version  = schema.GroupVersion{Group: constants.ServiceAccountResourceGroup, Version: constants.ServiceAccountResourceVersion}
	resource = version.WithResource(constants.ServiceAccountResourcePlural)
	kind     = version.WithKind(constants.ServiceAccountResourceKind)
)

// ownerOf is the name of the service account of Talos that controls an object, or empty.
func ownerOf(object metav1.Object) string {
	owner := metav1.GetControllerOfNoCopy(object)
	if owner == nil || owner.Kind != kind.Kind {
		return ""
	}

	return owner.Name
}
