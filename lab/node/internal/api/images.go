package api

import (
	"context"
	"errors"
	"slices"

	"github.com/siderolabs/talos/pkg/machinery/api/common"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"cluster-stack/lab/node/internal/factory"
	"cluster-stack/lab/node/internal/images"
	"cluster-stack/lab/node/internal/node"
	"cluster-stack/lab/node/internal/services"
)

// placeOf is the containerd and the namespace that a call is about.
func placeOf(n *node.Node, instance *common.ContainerdInstance) (images.Place, error) {
	driver, namespace := instance.GetDriver(), instance.GetNamespace()

	if driver != common.ContainerDriver_CONTAINERD && driver != common.ContainerDriver_CRI {
		return "", status.Errorf(codes.InvalidArgument, "invalid containerd driver %s", driver)
	}

	if namespace != common.ContainerdNamespace_NS_CRI && namespace != common.ContainerdNamespace_NS_SYSTEM {
		return "", status.Errorf(codes.InvalidArgument, "invalid containerd namespace %s", namespace)
	}

	if driver == common.ContainerDriver_CONTAINERD {
		if namespace == common.ContainerdNamespace_NS_CRI {
			return "", status.Error(codes.InvalidArgument, "cannot use CRI namespace with containerd driver")
		}

		return images.InMemory, nil
	}

	if !n.Services.Is("cri", services.Running) {
		return "", status.Error(codes.Unavailable, `error connecting to containerd: failed to dial "/run/containerd/containerd.sock": `+
			"no such file or directory")
	}

	if namespace == common.ContainerdNamespace_NS_CRI {
		return images.CRI, nil
	}

	return images.System, nil
}

func pull(ctx context.Context, n *node.Node, place images.Place, reference string) (images.Image, error) {
	image, err := n.Images.Pull(ctx, place, reference)
	if errors.Is(err, factory.ErrNotFound) {
		return image, status.Errorf(codes.NotFound, "error pulling image: %s", err)
	}

	return image, err
}

// imageServer is the image service that Talos has since 1.13.
type imageServer struct {
	machine.UnimplementedImageServiceServer

	node *node.Node
}

// List answers the images that are there.
func (s *imageServer) List(
	in *machine.ImageServiceListRequest, stream grpc.ServerStreamingServer[machine.ImageServiceListResponse],
) error {
	place, err := placeOf(s.node, in.GetContainerd())
	if err != nil {
		return err
	}

	found, err := listed(s.node, place)
	if err != nil {
		return err
	}

	for _, image := range found {
		if err := stream.Send(image); err != nil {
			return err
		}
	}

	return nil
}

// Pull pulls an image; it has no layers whose progress could be told.
func (s *imageServer) Pull(
	in *machine.ImageServicePullRequest, stream grpc.ServerStreamingServer[machine.ImageServicePullResponse],
) error {
	place, err := placeOf(s.node, in.GetContainerd())
	if err != nil {
		return err
	}

	image, err := pull(stream.Context(), s.node, place, in.GetImageRef())
	if err != nil {
		return err
	}

	return stream.Send(&machine.ImageServicePullResponse{
		Response: &machine.ImageServicePullResponse_Name{Name: image.Pinned()},
	})
}

// Import takes the images of an archive in.
func (s *imageServer) Import(
	stream grpc.ClientStreamingServer[machine.ImageServiceImportRequest, machine.ImageServiceImportResponse],
) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}

	if first.GetContainerd() == nil {
		return status.Error(codes.InvalidArgument, "containerd instance is required")
	}

	place, err := placeOf(s.node, first.GetContainerd())
	if err != nil {
		return err
	}

	imported, err := s.node.Images.Import(place, &chunks{stream: stream})
	if err != nil {
		return status.Errorf(codes.Internal, "failed to import image: %s", err)
	}

	if len(imported) == 0 {
		return status.Error(codes.InvalidArgument, "no images imported from archive")
	}

	return stream.SendAndClose(&machine.ImageServiceImportResponse{Name: imported[0].Name})
}

// chunks reads what a client sends piece by piece.
type chunks struct {
	stream grpc.ClientStreamingServer[machine.ImageServiceImportRequest, machine.ImageServiceImportResponse]
	left   []byte
}

func (c *chunks) Read(into []byte) (int, error) {
	for len(c.left) == 0 {
		message, err := c.stream.Recv()
		if err != nil {
			return 0, err
		}

		if message.GetImageChunk() == nil {
			return 0, errors.New("no image chunk")
		}

		c.left = message.GetImageChunk().GetBytes()
	}

	read := copy(into, c.left)
	c.left = c.left[read:]

	return read, nil
}

// Remove forgets an image. One that Talos pulled for itself it would pull again
// when it needs it; the lab's machine has no way to be without.
func (s *imageServer) Remove(_ context.Context, in *machine.ImageServiceRemoveRequest) (*emptypb.Empty, error) {
	place, err := placeOf(s.node, in.GetContainerd())
	if err != nil {
		return nil, err
	}

	if slices.Contains(ownImages(s.node, place), in.GetImageRef()) {
		return nil, status.Errorf(codes.Unimplemented, "an image that Talos pulled for itself cannot be removed in the lab: %s", in.GetImageRef())
	}

	removed, err := s.node.Images.Remove(place, in.GetImageRef())
	if err != nil {
		return nil, status.Errorf(codes.Internal, "failed to remove image %s: %s", in.GetImageRef(), err)
	}

	if !removed {
		return nil, status.Errorf(codes.NotFound, "image %s not found", in.GetImageRef())
	}

	return &emptypb.Empty{}, nil
}

// ImageList answers the images of the CRI containerd.
func (s *Server) ImageList(in *machine.ImageListRequest, stream grpc.ServerStreamingServer[machine.ImageListResponse]) error {
	place, err := s.criPlace(in.Namespace)
	if err != nil {
		return err
	}

	found, err := listed(s.node, place)
	if err != nil {
		return err
	}

	for _, image := range found {
		if err := stream.Send(&machine.ImageListResponse{
			Name: image.Name, Digest: image.Digest, CreatedAt: image.CreatedAt,
		}); err != nil {
			return err
		}
	}

	return nil
}

// ImagePull pulls an image into the CRI containerd.
func (s *Server) ImagePull(ctx context.Context, in *machine.ImagePullRequest) (*machine.ImagePullResponse, error) {
	place, err := s.criPlace(in.Namespace)
	if err != nil {
		return nil, err
	}

	if _, err := pull(ctx, s.node, place, in.Reference); err != nil {
		return nil, err
	}

	return &machine.ImagePullResponse{Messages: []*machine.ImagePull{{}}}, nil
}

func (s *Server) criPlace(namespace common.ContainerdNamespace) (images.Place, error) {
	return placeOf(s.node, &common.ContainerdInstance{Driver: common.ContainerDriver_CRI, Namespace: namespace})
}
