package node_test

import (
	"io"
	"slices"
	"testing"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"
	"github.com/siderolabs/talos/pkg/machinery/resources/cluster"

	"cluster-stack/lab/node/internal/hardware"
	"cluster-stack/lab/node/internal/node"
	"cluster-stack/lab/node/internal/settings"
	"cluster-stack/lab/node/internal/talos"
)

const clusterConfig = `version: v1alpha1
machine:
  type: worker
  token: abcdef.0123456789abcdef
  install: {disk: /dev/sda}
cluster:
  id: aWQ=
  controlPlane: {endpoint: "https://10.5.0.10:6443"}
`

func TestMembersFollowDiscovery(t *testing.T) {
	t.Parallel()

	image := &hardware.Image{Version: "v1.13.0", Platform: "metal", Arch: "amd64"}

	system, err := node.New(t.Context(), &hardware.Machine{}, image, nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}

	version, err := talos.ParseVersion(image.Version)
	if err != nil {
		t.Fatal(err)
	}

	provider, err := settings.Decode([]byte(clusterConfig), version)
	if err != nil {
		t.Fatal(err)
	}

	if err := system.SetActive(provider); err != nil {
		t.Fatal(err)
	}

	affiliate := func(id, name, host string) cluster.AffiliateSpec {
		return cluster.AffiliateSpec{NodeID: id, Nodename: name, Hostname: host, MachineType: machine.TypeWorker}
	}

	for _, step := range []struct {
		others              []cluster.AffiliateSpec
		affiliates, members []string
		changed             resource.ID // the one member that is another version than before
	}{
		{[]cluster.AffiliateSpec{affiliate("a", "one", "one"), affiliate("b", "", "")}, []string{"a", "b"}, []string{"one"}, "one"},
		{[]cluster.AffiliateSpec{affiliate("a", "one", "one"), affiliate("b", "two", "two")}, []string{"a", "b"}, []string{"one", "two"}, "two"},
		{[]cluster.AffiliateSpec{affiliate("a", "one", "one"), affiliate("b", "two", "2")}, []string{"a", "b"}, []string{"one", "two"}, "two"},
		// made anew: another identity under the same name
		{[]cluster.AffiliateSpec{affiliate("c", "one", "one"), affiliate("b", "two", "2")}, []string{"b", "c"}, []string{"one", "two"}, "one"},
		{[]cluster.AffiliateSpec{affiliate("b", "two", "2")}, []string{"b"}, []string{"two"}, ""},
		{nil, nil, nil, ""},
	} {
		before := versions(t, system)

		if err := system.SetMembership(nil, step.others, nil); err != nil {
			t.Fatal(err)
		}

		affiliates, err := safe.StateListAll[*cluster.Affiliate](t.Context(), system.Resources)
		if err != nil {
			t.Fatal(err)
		}

		var ids []string
		for item := range affiliates.All() {
			ids = append(ids, item.Metadata().ID())
		}

		after := versions(t, system)

		var names, changed []string

		for name, version := range after {
			names = append(names, name)

			if before[name] != version {
				changed = append(changed, name)
			}
		}

		slices.Sort(names)

		if !slices.Equal(ids, step.affiliates) || !slices.Equal(names, step.members) {
			t.Errorf("affiliates %v, members %v; want %v, %v", ids, names, step.affiliates, step.members)
		}

		if want := step.changed; (want == "") != (len(changed) == 0) || (want != "" && !slices.Equal(changed, []string{want})) {
			t.Errorf("changed %v, want %q", changed, want)
		}
	}
}

func versions(t *testing.T, system *node.Node) map[resource.ID]string {
	t.Helper()

	members, err := safe.StateListAll[*cluster.Member](t.Context(), system.Resources)
	if err != nil {
		t.Fatal(err)
	}

	found := map[resource.ID]string{}
	for item := range members.All() {
		found[item.Metadata().ID()] = item.Metadata().Version().String()
	}

	return found
}
