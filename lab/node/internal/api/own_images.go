package api

import (
	"slices"
	"strings"

	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"google.golang.org/protobuf/types/known/timestamppb"

	"cluster-stack/lab/node/internal/images"
	"cluster-stack/lab/node/internal/node"
	"cluster-stack/lab/node/internal/services"
)

// sandboxImage is what Talos 1.13 runs as the sandbox of each pod.
const sandboxImage = "registry.k8s.io/pause:3.10.1"

// ownImages are the images that Talos pulls for itself, by the services that
// run: nothing is pulled for them in the lab, and they have no digest.
func ownImages(n *node.Node, place images.Place) []string {
	settings := n.Config()
	if settings == nil || settings.Machine() == nil {
		return nil
	}

	var names []string

	add := func(service, name string) {
		if n.Services.Is(service, services.Running) {
			names = append(names, name)
		}
	}

	switch place {
	case images.System:
		add("kubelet", settings.Machine().Kubelet().Image())

		if n.IsControlPlane() {
			add("etcd", settings.Cluster().Etcd().Image())
		}
	case images.CRI:
		add("kubelet", sandboxImage)

		if n.IsControlPlane() {
			add("kubelet", settings.Cluster().APIServer().Image())
			add("kubelet", settings.Cluster().ControllerManager().Image())
			add("kubelet", settings.Cluster().Scheduler().Image())
		}
	case images.InMemory:
	}

	return names
}

// listed are all images of a place, by name.
func listed(n *node.Node, place images.Place) ([]*machine.ImageServiceListResponse, error) {
	pulled, err := n.Images.List(place)
	if err != nil {
		return nil, err
	}

	var found []*machine.ImageServiceListResponse

	for _, image := range pulled {
		found = append(found, &machine.ImageServiceListResponse{
			Name: image.Name, Digest: image.Digest, CreatedAt: timestamppb.New(image.Pulled),
		})
	}

	for _, name := range ownImages(n, place) {
		found = append(found, &machine.ImageServiceListResponse{Name: name, CreatedAt: timestamppb.New(n.BootTime)})
	}

	slices.SortFunc(found, func(one, other *machine.ImageServiceListResponse) int { return strings.Compare(one.Name, other.Name) })

	return found, nil
}
