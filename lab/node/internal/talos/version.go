// Package talos knows how Talos releases differ: the version of the booted
// image decides which configuration a node understands and how its maintenance
// mode behaves.
package talos

import (
	"fmt"
	"strings"

	"github.com/blang/semver/v4"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/constants"
)

// Version is the version of a booted image.
type Version struct {
	tag    string
	parsed semver.Version
}

// ParseVersion parses a tag such as v1.11.5.
func ParseVersion(tag string) (Version, error) {
	parsed, err := semver.ParseTolerant(strings.TrimPrefix(tag, "v"))
	if err != nil {
		return Version{}, fmt.Errorf("image version %q: %w", tag, err)
	}

	if parsed.Major != 1 || parsed.Minor < 10 || parsed.Minor > 13 {
		return Version{}, fmt.Errorf("image version %q: the lab boots Talos v1.10 to v1.13", tag)
	}

	return Version{tag: "v" + parsed.String(), parsed: parsed}, nil
}

// Tag is the version as Talos writes it.
func (v Version) Tag() string { return v.tag }

// AtLeast reports whether the version is 1.minor or newer.
func (v Version) AtLeast(minor uint64) bool { return v.parsed.Minor >= minor }

// Info is the version as the API answers it. The commit is not known here, and
// the Go is that of the release whose library the lab uses.
func (v Version) Info(arch string) *machine.VersionInfo {
	return &machine.VersionInfo{Tag: v.tag, Sha: "undefined", Built: "", GoVersion: constants.GoVersion, Os: "linux", Arch: arch}
}

// UnifiedAPI reports whether maintenance mode is served by apid itself, with
// the reader role (1.13), or by the separate maintenance server of older
// releases, which knows only a few calls.
func (v Version) UnifiedAPI() bool { return v.AtLeast(13) }

// UpgradeAPI reports whether there are the services by which a client pulls and
// installs an image and then reboots by itself (1.13).
func (v Version) UpgradeAPI() bool { return v.AtLeast(13) }
