// Command pulumi-resource-talos is a Pulumi plugin with the tokens, properties and behaviour of pulumiverse's talos
// plugin 0.8.1, for machines that cannot download that one. It has the types of schema.json and refuses the others.
package main

import (
	"fmt"
	"os"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/provider"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

const (
	packageName   = "talos"
	pluginVersion = "0.8.1"
)

func main() {
	err := provider.Main(packageName, func(host *provider.HostClient) (pulumirpc.ResourceProviderServer, error) {
		return newServer(host)
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
