package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	schematicToken = "talos:imageFactory/schematic:Schematic"

	// Ids of the public factory: without customization, and with siderolabs/qemu-guest-agent alone.
	emptyID = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"
	agentID = "ce4c980550dd2ab1b17bbf2b08801c7eb59418eafe8f279833297925d67c7515"

	agentSchematic = "customization: {systemExtensions: {officialExtensions: [siderolabs/qemu-guest-agent]}}"
)

// fakeFactory answers every schematic with the hash of what it was sent, which is what an id is.
type fakeFactory struct {
	*httptest.Server

	requests []string
	body     string
}

func startFactory(t *testing.T) *fakeFactory {
	t.Helper()

	factory := &fakeFactory{}
	factory.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}

		factory.requests = append(factory.requests, r.Method+" "+r.URL.Path+" "+r.Header.Get("Content-Type"))
		factory.body = string(body)
		sum := sha256.Sum256(body)

		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"id": %q, "schematic": %q}`, hex.EncodeToString(sum[:]), body)
	}))
	t.Cleanup(factory.Close)

	return factory
}

func configure(t *testing.T, s *server, address string) error {
	t.Helper()

	_, err := s.Configure(t.Context(), &pulumirpc.ConfigureRequest{
		Args: wire(t, resource.PropertyMap{"imageFactoryUrl": text(address)}),
	})

	return err
}

func serverFor(t *testing.T, address string) *server {
	t.Helper()

	s := testServer(t)
	if err := configure(t, s, address); err != nil {
		t.Fatal(err)
	}

	return s
}

func TestSchematicLifeCycle(t *testing.T) {
	factory := startFactory(t)
	s := serverFor(t, factory.URL)
	inputs := resource.PropertyMap{"schematic": text(agentSchematic)}
	other := resource.PropertyMap{"schematic": text("# without customization")}

	preview := mustCreate(t, s, schematicToken, inputs, true)
	if !isUnknown(preview[idKey]) || stringAt(preview, "schematic") != agentSchematic || len(factory.requests) > 0 {
		t.Errorf("preview of a creation: %v after %v", preview, factory.requests)
	}

	state := mustCreate(t, s, schematicToken, inputs, false)
	if want := (resource.PropertyMap{idKey: text(agentID), "schematic": text(agentSchematic)}); !state.DeepEquals(want) {
		t.Errorf("state %v, want %v", state, want)
	}

	wantDiff(t, s, schematicToken, state, inputs, "", "")
	wantDiff(t, s, schematicToken, state, other, "id schematic", "")
	wantDiff(t, s, schematicToken, state, resource.PropertyMap{}, "id schematic", "")
	wantDiff(t, s, schematicToken, state, resource.PropertyMap{"schematic": unknown()}, "id schematic", "")

	preview = mustUpdate(t, s, schematicToken, state, other, true)
	if !isUnknown(preview[idKey]) || len(factory.requests) != 1 {
		t.Errorf("preview of an update: %v after %v", preview, factory.requests)
	}

	if updated := mustUpdate(t, s, schematicToken, state, other, false); stringAt(updated, idKey) != emptyID {
		t.Errorf("updated to %v", updated)
	}

	if _, err := s.Delete(t.Context(), &pulumirpc.DeleteRequest{
		Id: agentID, Urn: urnOf(schematicToken), Properties: wire(t, state),
	}); err != nil {
		t.Error(err)
	}

	post := "POST /schematics application/yaml"
	if got := strings.Join(factory.requests, ", "); got != post+", "+post {
		t.Errorf("requests: %s", got)
	}
}

func TestSchematicIsSentInTheFactorysOwnForm(t *testing.T) {
	factory := startFactory(t)
	s := serverFor(t, factory.URL)

	for name, test := range map[string]struct {
		schematic resource.PropertyValue
		want      string
	}{
		"none":                   {resource.NewNullProperty(), "customization: {}\n"},
		"empty":                  {text(""), "customization: {}\n"},
		"without customization":  {text("customization:\n"), "customization: {}\n"},
		"no fields of a factory": {text("diskImage: {}\ncustomization: {diskImage: {sectorSize: 4096}}"), "customization: {}\n"},
		"the default bootloader": {text("customization: {bootloader: none}"), "customization: {}\n"},
		"everything": {
			text(`
# in another order, with comments
customization:
  secureboot: {includeWellKnownCertificates: yes}
  bootloader: sd-boot
  systemExtensions: {officialExtensions: [siderolabs/nut-client, siderolabs/amd-ucode]}
  meta: [{value: "{}", key: 0xa}]
  extraKernelArgs: ["console=ttyS0", "-quiet"]
overlay: {options: {b: 1, a: [x]}, name: rpi_generic, image: siderolabs/sbc-raspberrypi}
`),
			`overlay:
    image: siderolabs/sbc-raspberrypi
    name: rpi_generic
    options:
        a:
            - x
        b: 1
customization:
    extraKernelArgs:
        - console=ttyS0
        - -quiet
    meta:
        - key: 10
          value: '{}'
    systemExtensions:
        officialExtensions:
            - siderolabs/nut-client
            - siderolabs/amd-ucode
    bootloader: sd-boot
    secureboot:
        includeWellKnownCertificates: true
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			mustCreate(t, s, schematicToken, resource.PropertyMap{"schematic": test.schematic}, false)

			if factory.body != test.want {
				t.Errorf("sent:\n%swant:\n%s", factory.body, test.want)
			}
		})
	}
}

func TestSchematicThatIsNoneFailsWithoutARequest(t *testing.T) {
	factory := startFactory(t)
	s := serverFor(t, factory.URL)

	for name, test := range map[string]struct{ schematic, want string }{
		"no YAML":       {"customization: {", "failed to unmarshal schematic: yaml: "},
		"another type":  {"customization: [siderolabs/amd-ucode]", "failed to unmarshal schematic: yaml: "},
		"no bootloader": {"customization: {bootloader: lilo}", "lilo does not belong to BootloaderKind values"},
	} {
		t.Run(name, func(t *testing.T) {
			inputs := resource.PropertyMap{"schematic": text(test.schematic)}

			if got := problems(t, s, schematicToken, inputs); got != "" {
				t.Errorf("check: %s", got)
			}

			if _, err := create(t, s, schematicToken, inputs, true); err != nil {
				t.Errorf("preview: %v", err)
			}

			_, err := create(t, s, schematicToken, inputs, false)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}

	if len(factory.requests) > 0 {
		t.Errorf("requests: %v", factory.requests)
	}
}

func TestRefusalIsInTheFactorysWords(t *testing.T) {
	for name, test := range map[string]struct {
		status     int
		body, want string
	}{
		"bad request": {
			http.StatusBadRequest, "yaml: field nope not found\n",
			"failed to create schematic: invalid schematic: HTTP 400: yaml: field nope not found",
		},
		"out of order": {
			http.StatusInternalServerError, "internal server error\n",
			"failed to create schematic: HTTP 500: internal server error",
		},
		"endless page": {
			http.StatusBadGateway, strings.Repeat("<p>", maxRefusal),
			"failed to create schematic: HTTP 502: " + strings.Repeat("<p>", maxRefusal)[:maxRefusal],
		},
		"no JSON": {
			http.StatusOK, "<html>",
			"failed to create schematic: URL/schematics answered no JSON: invalid character '<' looking for beginning of value",
		},
		"no id": {http.StatusCreated, "{}", "failed to create schematic: URL/schematics answered no id"},
	} {
		t.Run(name, func(t *testing.T) {
			factory := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.body)
			}))
			t.Cleanup(factory.Close)

			_, err := create(t, serverFor(t, factory.URL), schematicToken, resource.PropertyMap{}, false)
			if want := strings.ReplaceAll(test.want, "URL", factory.URL); err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

func TestUpdateThatFailsSaysSo(t *testing.T) {
	factory := startFactory(t)
	s := serverFor(t, factory.URL)
	state := mustCreate(t, s, schematicToken, resource.PropertyMap{}, false)

	factory.Close()

	_, err := s.Update(t.Context(), &pulumirpc.UpdateRequest{
		Urn: urnOf(schematicToken), Olds: wire(t, state), News: wire(t, resource.PropertyMap{"schematic": text(agentSchematic)}),
	})
	if err == nil || !strings.HasPrefix(err.Error(), "failed to update schematic: Post \""+factory.URL+"/schematics\"") {
		t.Errorf("got %v", err)
	}
}

func TestFactoryOfTheConfiguration(t *testing.T) {
	s := testServer(t)

	if _, err := s.Configure(t.Context(), &pulumirpc.ConfigureRequest{}); err != nil {
		t.Fatal(err)
	}

	if got := s.factory.url.String(); got != "https://factory.talos.dev" {
		t.Errorf("the default is %s", got)
	}

	factory := startFactory(t)
	if err := configure(t, s, factory.URL+"/of/ours/"); err != nil {
		t.Fatal(err)
	}

	mustCreate(t, s, schematicToken, resource.PropertyMap{}, false)

	if got := strings.Join(factory.requests, ", "); got != "POST /of/ours/schematics application/yaml" {
		t.Errorf("requests: %s", got)
	}

	if err := configure(t, s, "https://factory:of:ours"); err == nil || !strings.HasPrefix(err.Error(), "imageFactoryUrl: ") {
		t.Errorf("got %v", err)
	}

	answer, err := s.CheckConfig(t.Context(), &pulumirpc.CheckRequest{
		News: wire(t, resource.PropertyMap{"imageFactoryUrl": resource.NewNumberProperty(1)}),
	})
	if err != nil || len(answer.GetFailures()) != 1 {
		t.Errorf("got %v, %v", answer, err)
	}
}

func TestRefreshTellsTheIDOfAnUpdate(t *testing.T) {
	answer, err := testServer(t).Read(t.Context(), &pulumirpc.ReadRequest{
		Id: agentID, Urn: urnOf(schematicToken), Properties: wire(t, resource.PropertyMap{idKey: text(emptyID)}),
	})
	if err != nil || answer.GetId() != emptyID {
		t.Errorf("got %v, %v", answer, err)
	}
}

func TestSchematicIsNotImported(t *testing.T) {
	_, err := testServer(t).Read(t.Context(), &pulumirpc.ReadRequest{Id: agentID, Urn: urnOf(schematicToken)})
	if err == nil || !strings.Contains(err.Error(), "cannot be imported") {
		t.Errorf("got %v", err)
	}
}

func TestCancelEndsARegistration(t *testing.T) {
	asked := make(chan struct{})
	factory := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not notice that the client has gone

		close(asked)
		<-r.Context().Done()
	}))
	t.Cleanup(factory.Close)

	s := serverFor(t, factory.URL)
	failed := make(chan error, 1)

	go func() {
		_, err := s.Create(context.Background(), &pulumirpc.CreateRequest{Urn: urnOf(schematicToken)})
		failed <- err
	}()

	<-asked

	if _, err := s.Cancel(t.Context(), &emptypb.Empty{}); err != nil {
		t.Fatal(err)
	}

	select {
	case err := <-failed:
		if err == nil || !strings.Contains(err.Error(), "context canceled") {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the registration goes on")
		factory.CloseClientConnections()
	}
}
