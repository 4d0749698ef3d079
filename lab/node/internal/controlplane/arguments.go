package controlplane

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// arguments are those of a program: each name may have several values.
type arguments map[string][]string

// policy is what the machine configuration may do to an argument that Talos sets.
type policy int

const (
	overwrite policy = iota
	additive         // its values are added to those of Talos, in one list with commas
	denied
)

// merge adds the machine configuration's own arguments.
func (a arguments) merge(extra arguments, policies map[string]policy) error {
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		switch policies[name] {
		case denied:
			return fmt.Errorf("extra arg %q is not allowed", name)
		case additive:
			a[name] = []string{strings.Join(union(a[name], extra[name]), ",")}
		case overwrite:
			a[name] = slices.Clone(extra[name])
		}
	}

	return nil
}

// union are the values of both lists, each once.
func union(lists ...[]string) []string {
	var all []string

	for _, value := range strings.Split(strings.Join(slices.Concat(lists...), ","), ",") {
		if value = strings.TrimSpace(value); value != "" && !slices.Contains(all, value) {
			all = append(all, value)
		}
	}

	return all
}

// list is the command line, in the order of the names.
func (a arguments) list() []string {
	var list []string

	for _, name := range slices.Sorted(maps.Keys(a)) {
		for _, value := range a[name] {
			list = append(list, fmt.Sprintf("--%s=%s", name, value))
		}
	}

	return list
}
