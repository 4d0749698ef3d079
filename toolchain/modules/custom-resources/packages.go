// Package customresources names the Go packages of whose types controller-gen makes the custom resources that manifests
// are checked by: `go mod tidy` keeps what is imported. It is never built.
package customresources

import (
	_ "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	_ "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1alpha1"
)
