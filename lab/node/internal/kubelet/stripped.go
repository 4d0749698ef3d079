package kubelet

import "k8s.io/apimachinery/pkg/api/meta"

// withoutManagedFields takes from an object what only the API server needs: often half of it.
func withoutManagedFields(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil {
		accessor.SetManagedFields(nil)
	}

	return object, nil
}
