package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/siderolabs/talos/pkg/machinery/imager/imageropts"
	"go.yaml.in/yaml/v4"
)

const (
	// publicFactory is the Image Factory of a provider that is configured with none.
	publicFactory = "https://factory.talos.dev"
	// maxRefusal is how much of a refusal is passed on, in bytes: what is longer was not written for a terminal.
	maxRefusal = 8192
)

// schematic has the fields that the released plugin knows: those of siderolabs/image-factory v1.1.0, in the order in
// which they are sent. Of a schematic it sends nothing but them; newer ones (diskImage, embeddedMachineConfiguration,
// secureboot.enrollKeys) it drops without a word, which makes another schematic with another id.
type schematic struct {
	Overlay struct {
		Image   string         `yaml:"image"`
		Name    string         `yaml:"name"`
		Options map[string]any `yaml:"options,omitempty"`
	} `yaml:"overlay,omitempty"`
	Customization struct {
		ExtraKernelArgs []string `yaml:"extraKernelArgs,omitempty"`
		Meta            []struct {
			Key   uint8  `yaml:"key"`
			Value string `yaml:"value"`
		} `yaml:"meta,omitempty"`
		SystemExtensions struct {
			OfficialExtensions []string `yaml:"officialExtensions,omitempty"`
		} `yaml:"systemExtensions,omitempty"`
		Bootloader imageropts.BootloaderKind `yaml:"bootloader,omitempty"`
		SecureBoot struct {
			IncludeWellKnownCertificates bool `yaml:"includeWellKnownCertificates,omitempty"`
		} `yaml:"secureboot,omitempty"`
	} `yaml:"customization"`
}

// imageFactory is the Image Factory that the provider is configured with.
type imageFactory struct {
	url url.URL
}

// newImageFactory is given an empty address if none is configured.
func newImageFactory(address string) (imageFactory, error) {
	if address == "" {
		address = publicFactory
	}

	parsed, err := url.Parse(address)
	if err != nil {
		return imageFactory{}, fmt.Errorf("imageFactoryUrl: %w", err)
	}

	return imageFactory{url: *parsed}, nil
}

// register sends a schematic, known to the factory or not, and returns its id.
func (f imageFactory) register(ctx context.Context, s schematic) (string, error) {
	body, err := yaml.Marshal(s)
	if err != nil {
		return "", err
	}

	request, err := http.NewRequestWithContext(
		ctx, http.MethodPost, f.url.JoinPath("schematics").String(), bytes.NewReader(body),
	)
	if err != nil {
		return "", err
	}

	request.Header.Set("Content-Type", "application/yaml")

	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close() //nolint:errcheck // read to its end or given up

	if answer.StatusCode >= http.StatusBadRequest {
		return "", refusal(answer)
	}

	var registered struct {
		ID string `json:"id"`
	}

	if err := json.NewDecoder(answer.Body).Decode(&registered); err != nil {
		return "", fmt.Errorf("%s answered no JSON: %w", request.URL.Redacted(), err)
	}

	if registered.ID == "" {
		return "", fmt.Errorf("%s answered no id", request.URL.Redacted())
	}

	return registered.ID, nil
}

// refusal is an error in the factory's own words.
func refusal(answer *http.Response) error {
	words, err := io.ReadAll(io.LimitReader(answer.Body, maxRefusal))
	if err != nil {
		return err
	}

	message := fmt.Sprintf("HTTP %d: %s", answer.StatusCode, strings.TrimSpace(string(words)))
	if answer.StatusCode == http.StatusBadRequest {
		message = "invalid schematic: " + message
	}

	return errors.New(message)
}
