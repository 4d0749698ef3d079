package settings_test

import (
	"strings"
	"testing"

	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"

	"cluster-stack/lab/node/internal/settings"
	"cluster-stack/lab/node/internal/talos"
)

func version(t *testing.T, tag string) talos.Version {
	t.Helper()

	parsed, err := talos.ParseVersion(tag)
	if err != nil {
		t.Fatal(err)
	}

	return parsed
}

// generated is a control plane's configuration of the oldest contract.
func generated(t *testing.T) string {
	t.Helper()

	input, err := generate.NewInput("home", "https://10.5.0.11:6443", "1.33.0",
		generate.WithVersionContract(config.TalosVersion1_10), generate.WithInstallDisk("/dev/sda"))
	if err != nil {
		t.Fatal(err)
	}

	provider, err := input.Config(machine.TypeControlPlane)
	if err != nil {
		t.Fatal(err)
	}

	text, err := provider.Bytes()
	if err != nil {
		t.Fatal(err)
	}

	return string(text)
}

func TestAnOlderNodeRefusesWhatItDoesNotKnow(t *testing.T) {
	base := generated(t)

	for name, test := range map[string]struct {
		document string
		oldest   string
		refused  string
		words    string
	}{
		"document of 1.12": {
			"apiVersion: v1alpha1\nkind: HostnameConfig\nauto: \"off\"\nhostname: a\n", "v1.12.0", "v1.11.5",
			`error decoding document v1alpha1/HostnameConfig/ (line `,
		},
		"document of 1.13": {
			"apiVersion: v1alpha1\nkind: KubeSpanConfig\nenabled: true\n", "v1.13.0", "v1.12.4", `"KubeSpanConfig" "v1alpha1": not registered`,
		},
		"key of a document": {
			"apiVersion: v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\nmount:\n  secure: true\n", "v1.13.0", "v1.12.4",
			"unknown keys found during decoding:\nmount:\n    secure: true\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			data := []byte(base + "---\n" + test.document)

			if _, err := settings.Decode(data, version(t, test.oldest)); err != nil {
				t.Errorf("%s: %s", test.oldest, err)
			}

			_, err := settings.Decode(data, version(t, test.refused))
			if err == nil || !strings.Contains(err.Error(), test.words) {
				t.Errorf("%s: %v", test.refused, err)
			}
		})
	}

	data := []byte(strings.Replace(base, "    install:\n", "    install:\n        grubUseUKICmdline: true\n", 1))

	if _, err := settings.Decode(data, version(t, "v1.12.0")); err != nil {
		t.Error(err)
	}

	_, err := settings.Decode(data, version(t, "v1.11.0"))
	if err == nil || !strings.Contains(err.Error(), "machine:\n    install:\n        grubUseUKICmdline: true") {
		t.Error(err)
	}
}

func TestTheLabBootsFourReleases(t *testing.T) {
	for _, tag := range []string{"v1.9.5", "v1.14.0", "v2.0.0", "latest", ""} {
		if _, err := talos.ParseVersion(tag); err == nil {
			t.Errorf("%q is accepted", tag)
		}
	}
}

func TestOnlyWhatMetalLacksIsInstalled(t *testing.T) {
	for _, test := range []struct {
		platform  string
		installed bool
		mode      string
		install   bool
	}{
		{"metal", false, "metal", true},
		{"metal", true, "metal", false},
		{"nocloud", false, "cloud", false},
	} {
		mode := settings.NewMode(test.platform, test.installed)
		if mode.String() != test.mode || mode.RequiresInstall() != test.install {
			t.Errorf("%v: %s, %v", test, mode, mode.RequiresInstall())
		}
	}
}

func TestWhichChangesNeedAReboot(t *testing.T) {
	base := generated(t)
	decode := func(text string) config.Provider {
		provider, err := settings.Decode([]byte(text), version(t, "v1.13.0"))
		if err != nil {
			t.Fatal(err)
		}

		return provider
	}

	current := decode(base)

	for name, test := range map[string]struct {
		text   string
		reboot bool
	}{
		"nothing":          {base, false},
		"an annotation":    {strings.Replace(base, "machine:\n", "machine:\n    nodeAnnotations:\n        disk: fast\n", 1), false},
		"the install disk": {strings.Replace(base, "/dev/sda", "/dev/sdb", 1), false},
		"the cluster": {
			strings.Replace(base, "clusterName: home", "clusterName: away", 1), false,
		},
		"another document": {base + "---\napiVersion: v1alpha1\nkind: HostnameConfig\nauto: \"off\"\nhostname: a\n", false},
		"a file": {
			strings.Replace(base, "machine:\n", "machine:\n    files:\n        - {path: /var/x, permissions: 0o600, op: create, content: x}\n", 1),
			true,
		},
		"the machine's environment": {strings.Replace(base, "machine:\n", "machine:\n    env:\n        A: b\n", 1), true},
	} {
		t.Run(name, func(t *testing.T) {
			err := settings.CanApplyImmediate(current, decode(test.text))
			if (err != nil) != test.reboot {
				t.Error(err)
			}

			if err != nil && !strings.HasPrefix(err.Error(), "this config change can't be applied in immediate mode\ndiff:\n") {
				t.Error(err)
			}
		})
	}

	diff, err := settings.Diff(current, decode(base))
	if err != nil || !strings.HasSuffix(diff, "No changes.") {
		t.Errorf("%s, %v", diff, err)
	}
}
