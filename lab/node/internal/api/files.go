package api

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/siderolabs/talos/pkg/machinery/api/common"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cluster-stack/lab/node/internal/files"
)

const fileChunk = 64 << 10

// tree is the machine's file system, where the lab has anything to say of the path.
func (s *Server) tree(path string) (files.Tree, error) {
	tree := s.node.Files()
	if !tree.Knows(path) {
		return tree, status.Errorf(codes.Unimplemented, "%s is not simulated: of a machine's files the lab's nodes have few outside of /var", path)
	}

	return tree, nil
}

// Read answers a file that clients read to learn about the machine.
func (s *Server) Read(in *machine.ReadRequest, stream grpc.ServerStreamingServer[common.Data]) error {
	tree, err := s.tree(in.Path)
	if err != nil {
		return err
	}

	content, err := tree.Read(in.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return status.Error(codes.NotFound, err.Error())
	}

	for err == nil && len(content) > 0 {
		size := min(len(content), fileChunk)
		err = stream.Send(&common.Data{Bytes: content[:size]})
		content = content[size:]
	}

	return err
}

// List answers what is in a folder.
func (s *Server) List(in *machine.ListRequest, stream grpc.ServerStreamingServer[machine.FileInfo]) error {
	root := "/" + strings.Trim(in.Root, "/")

	tree, err := s.tree(root)
	if err != nil {
		return err
	}

	depth := 0

	if in.Recurse {
		if depth = int(in.RecursionDepth); depth == 0 {
			depth = -1
		}
	}

	entries, err := tree.List(root, depth)
	if err != nil {
		return err
	}

	for _, entry := range entries {
		if !wantedType(entry, in.Types) {
			continue
		}

		relative := strings.TrimPrefix(strings.TrimPrefix(entry.Path, root), "/")
		if relative == "" {
			relative = "."
		}

		if err := stream.Send(&machine.FileInfo{
			Name: entry.Path, RelativeName: relative, Size: entry.Size, Mode: uint32(entry.Mode), Modified: entry.Modified.Unix(),
			IsDir: entry.Mode.IsDir(),
		}); err != nil {
			return err
		}
	}

	return nil
}

func wantedType(entry files.Entry, types []machine.ListRequest_Type) bool {
	if len(types) == 0 {
		return true
	}

	for _, wanted := range types {
		switch {
		case wanted == machine.ListRequest_REGULAR && entry.Mode.IsRegular(),
			wanted == machine.ListRequest_DIRECTORY && entry.Mode.IsDir(),
			wanted == machine.ListRequest_SYMLINK && entry.Mode&fs.ModeSymlink != 0:
			return true
		}
	}

	return false
}
