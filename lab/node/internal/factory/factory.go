// Package factory is the node's view of the registries that installer images
// come from: it pulls nothing, but asks for what a container runtime would ask
// for, so that an image that does not exist fails to install.
package factory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"cluster-stack/lab/node/internal/hardware"
)

const (
	factoryHost = "factory.talos.dev"

	// DefaultSchematic is the schematic with no customization.
	DefaultSchematic = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"
)

const timeout = 10 * time.Second

// Client asks registries.
type Client struct {
	http *http.Client
}

// NewClient makes a client.
func NewClient() *Client {
	return &Client{http: &http.Client{Timeout: timeout, Transport: &http.Transport{}}}
}

// Installer is a parsed reference of an installer image.
type Installer struct {
	reference string

	registry   string
	repository string
	platform   string
	schematic  string
	version    string
	secureBoot bool
}

var installerName = regexp.MustCompile(`^(?:([a-z0-9]+)-)?installer(-secureboot)?$`)

// Parse parses an installer image's reference. Which names exist is the
// registry's business; what cannot be an installer at all is refused here.
func Parse(reference string) (Installer, error) {
	if strings.Contains(reference, "@") {
		return Installer{}, fmt.Errorf("installer image %q: the lab resolves tags, not digests", reference)
	}

	slash, colon := strings.LastIndex(reference, "/"), strings.LastIndex(reference, ":")
	if colon <= slash {
		return Installer{}, fmt.Errorf("installer image %q has no tag", reference)
	}

	name, version := reference[:colon], reference[colon+1:]

	registry, repository, found := strings.Cut(name, "/")
	if !found {
		return Installer{}, fmt.Errorf("installer image %q names no registry", reference)
	}

	installer := Installer{
		reference: reference, registry: registry, repository: repository, version: version,
		platform: "metal", schematic: DefaultSchematic,
	}

	parts := strings.Split(repository, "/")

	switch {
	case registry == factoryHost && len(parts) == 2:
		match := installerName.FindStringSubmatch(parts[0])
		if match == nil {
			return Installer{}, fmt.Errorf("installer image %q is not an installer", reference)
		}

		if match[1] != "" {
			installer.platform = match[1]
		}

		installer.schematic = parts[1]
		installer.secureBoot = match[2] != ""

		// the old name without a platform is the metal one
		if match[1] == "" {
			installer.repository = "metal-" + repository
		}
	case registry == "ghcr.io" && repository == "siderolabs/installer":
	default:
		return Installer{}, fmt.Errorf("installer image %q: the lab knows %s and ghcr.io/siderolabs/installer", reference, factoryHost)
	}

	return installer, nil
}

// ErrNotFound means that the registry does not have the image.
var ErrNotFound = errors.New("not found")

// Pulled is an installer image that has been pulled.
type Pulled struct {
	Digest string
	// Installs is the image that it puts on a disk.
	Installs hardware.Image
}

// Pull checks that the registry has the image and returns what it installs.
func (c *Client) Pull(ctx context.Context, reference, arch string) (*Pulled, error) {
	installer, err := Parse(reference)
	if err != nil {
		return nil, err
	}

	manifest := fmt.Sprintf("https://%s/v2/%s/manifests/%s", installer.registry, installer.repository, installer.version)

	digest, err := c.resolve(ctx, manifest)
	if err != nil {
		return nil, fmt.Errorf("failed to pull image %q: %w", reference, err)
	}

	pulled := &Pulled{Digest: digest, Installs: hardware.Image{
		Version: installer.version, Platform: installer.platform, Arch: arch,
		Schematic: installer.schematic, SecureBoot: installer.secureBoot,
	}}

	if installer.schematic != DefaultSchematic {
		pulled.Installs.Extensions, err = c.extensions(ctx, installer.schematic)
		if err != nil {
			return nil, fmt.Errorf("failed to pull image %q: %w", reference, err)
		}
	}

	return pulled, nil
}

// resolve is the digest of a manifest.
func (c *Client) resolve(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return "", err
	}

	request.Header.Set("Accept", strings.Join([]string{
		"application/vnd.docker.distribution.manifest.v2+json",
		"application/vnd.docker.distribution.manifest.list.v2+json",
		"application/vnd.oci.image.manifest.v1+json",
		"application/vnd.oci.image.index.v1+json",
		"*/*",
	}, ", "))

	response, err := c.http.Do(request)
	if err != nil {
		return "", err
	}

	defer response.Body.Close() //nolint:errcheck

	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return "", ErrNotFound
	default:
		return "", fmt.Errorf("unexpected status from HEAD request to %s: %s", url, response.Status)
	}

	digest := response.Header.Get("Docker-Content-Digest")
	if digest == "" {
		return "", fmt.Errorf("no Docker-Content-Digest in the answer to HEAD %s", url)
	}

	return digest, nil
}

// extensions reads the official extensions of a schematic.
func (c *Client) extensions(ctx context.Context, schematic string) ([]string, error) {
	url := fmt.Sprintf("https://%s/schematics/%s", factoryHost, schematic)

	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}

	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}

	defer response.Body.Close() //nolint:errcheck

	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return nil, err
	}

	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("schematic %s: %s", schematic, response.Status)
	}

	var document struct {
		Customization struct {
			SystemExtensions struct {
				OfficialExtensions []string `yaml:"officialExtensions"`
			} `yaml:"systemExtensions"`
		} `yaml:"customization"`
	}

	if err := yaml.Unmarshal(body, &document); err != nil {
		return nil, fmt.Errorf("schematic %s: %w", schematic, err)
	}

	return document.Customization.SystemExtensions.OfficialExtensions, nil
}
