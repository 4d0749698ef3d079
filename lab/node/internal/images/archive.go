package images

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrNoArchive is said of what is no archive of images.
var ErrNoArchive = errors.New("unrecognized image format")

const (
	dockerManifest = "manifest.json"
	ociIndex       = "index.json"
	ociImageName   = "io.containerd.image.name"
	indexBytes     = 1 << 20
)

// Import adds the images of an archive, as `docker save` or an OCI layout has
// them, to a place, and answers them in the archive's order. Nothing is kept
// of their layers.
func (s *Store) Import(place Place, archive io.Reader) ([]Image, error) {
	imported, err := readArchive(archive)
	if err != nil {
		return nil, err
	}

	for _, image := range imported {
		if err := s.add(place, image); err != nil {
			return nil, err
		}
	}

	return imported, nil
}

func readArchive(archive io.Reader) ([]Image, error) {
	var (
		found []Image
		known bool
	)

	for reader := tar.NewReader(archive); ; {
		header, err := reader.Next()

		switch {
		case errors.Is(err, io.EOF) && known:
			return found, nil
		case err != nil:
			return nil, fmt.Errorf("%w: %w", ErrNoArchive, err)
		}

		read, isIndex := map[string]func([]byte) ([]Image, error){dockerManifest: dockerImages, ociIndex: ociImages}[header.Name]
		if !isIndex {
			continue
		}

		content, err := io.ReadAll(io.LimitReader(reader, indexBytes))
		if err != nil {
			return nil, err
		}

		images, err := read(content)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrNoArchive, header.Name, err)
		}

		// an archive for both kinds of reader tells of each image twice
		if !known {
			found = images
		}

		known = true
	}
}

func dockerImages(content []byte) ([]Image, error) {
	var manifests []struct {
		RepoTags []string
	}

	if err := json.Unmarshal(content, &manifests); err != nil {
		return nil, err
	}

	var found []Image

	for _, manifest := range manifests {
		for _, name := range manifest.RepoTags {
			found = append(found, imported(name, fmt.Sprintf("sha256:%x", sha256.Sum256(content))))
		}
	}

	return found, nil
}

func ociImages(content []byte) ([]Image, error) {
	var index struct {
		Manifests []struct {
			Digest      string
			Annotations map[string]string
		}
	}

	if err := json.Unmarshal(content, &index); err != nil {
		return nil, err
	}

	var found []Image

	for _, manifest := range index.Manifests {
		if name := manifest.Annotations[ociImageName]; name != "" {
			found = append(found, imported(name, manifest.Digest))
		}
	}

	return found, nil
}

func imported(name, digest string) Image {
	return Image{Name: name, Digest: digest, Pulled: time.Now().UTC()}
}
