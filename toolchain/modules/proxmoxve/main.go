// pulumi-resource-proxmoxve for machines that cannot download the released one: the same Terraform provider behind the
// same bridge, under the tokens and property names of the pulumi_proxmoxve wheel. It owns no behaviour of its own, and
// carries no package schema: the engine needs none to run a program, the wheel was generated from the maker's.
package main

import (
	"context"
	"strings"
	"unicode"

	"github.com/bpg/terraform-provider-proxmox/fwprovider"
	"github.com/bpg/terraform-provider-proxmox/proxmoxtf/provider"
	pfbridge "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim"
	shimv2 "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/x/muxer"
	"github.com/pulumi/pulumi-terraform-bridge/v3/unstable/metadata"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/contract"
)

const name = "proxmoxve"

// version is the wheel's, set by the linker.
var version = "0.0.0"

// token turns proxmox_hardware_mapping_pci into ("hardware/mapping", "Pci"): all words but the last are the module. Names
// with the old prefix proxmox_virtual_environment_ are the wheel's Legacy classes.
func token(terraform string) (module, member string) {
	rest, legacy := strings.CutPrefix(terraform, "proxmox_virtual_environment_")
	words := strings.Split(strings.TrimPrefix(rest, "proxmox_"), "_")
	last := []rune(words[len(words)-1])
	member = string(unicode.ToUpper(last[0])) + string(last[1:])
	if legacy {
		member += "Legacy"
	}
	if len(words) == 1 {
		return "index", member
	}
	return strings.Join(words[:len(words)-1], "/"), member
}

// identity keeps Terraform's own "id" apart from Pulumi's where a user may set it: the wheel calls it resourceId, but for
// one resource, where it has the name that the bridge chooses.
func identity(key string, resource shim.Resource, info *tfbridge.ResourceInfo) {
	id, found := resource.Schema().GetOk("id")
	computed := found && id.Computed() && !id.Optional() && id.Type() == shim.TypeString
	if !found || computed || key == "proxmox_sdn_controller_evpn" {
		return
	}
	info.Fields = map[string]*tfbridge.SchemaInfo{"id": {Name: "resourceId", Type: "string"}}
	info.ComputeID = tfbridge.DelegateIDField("resourceId", name, "the cluster's repository")
}

func main() {
	ctx := context.Background()
	terraform := pfbridge.MuxShimWithDisjointgPF(
		ctx, shimv2.NewProvider(provider.ProxmoxVirtualEnvironment()), fwprovider.New(version)())
	info := tfbridge.ProviderInfo{
		P:              terraform,
		Name:           name,
		ResourcePrefix: "proxmox",
		Version:        version,
		MetadataInfo:   tfbridge.NewProviderMetadata([]byte("{}")),
	}
	info.MustComputeTokens(tfbridge.Strategy{
		Resource: func(key string, resource *tfbridge.ResourceInfo) error {
			module, member := token(key)
			resource.Tok = tfbridge.MakeResource(name, module, member)
			identity(key, terraform.ResourcesMap().Get(key), resource)
			return nil
		},
		DataSource: func(key string, source *tfbridge.DataSourceInfo) error {
			module, member := token(key)
			source.Tok = tfbridge.MakeDataSource(name, module, "get"+member)
			return nil
		},
	})
	info.SetAutonaming(255, "-") // as the released plugin: a resource without a name gets one

	dispatch, err := terraform.(interface {
		ResolveDispatch(*tfbridge.ProviderInfo) (muxer.DispatchTable, error)
	}).ResolveDispatch(&info)
	contract.AssertNoErrorf(err, "a resource belongs to neither of the two halves of the Terraform provider")
	contract.AssertNoErrorf(metadata.Set(info.GetMetadata(), "mux", dispatch), "cannot store the dispatch table")

	pfbridge.MainWithMuxer(ctx, name, info, []byte(`{"name":"proxmoxve","version":"`+version+`"}`))
}
