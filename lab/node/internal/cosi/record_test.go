package cosi_test

import (
	"context"
	"slices"
	"testing"

	"github.com/siderolabs/talos/pkg/machinery/resources/secrets"

	"cluster-stack/lab/node/internal/cosi"
)

func TestChangesAreRecordedAndNothingSecretOfThem(t *testing.T) {
	ctx := context.Background()

	plain, err := cosi.New(ctx)
	if err != nil {
		t.Fatal(err)
	}

	var record []string

	st := cosi.Recorded(plain, func(change string) { record = append(record, change) })

	root := func(token string) *secrets.OSRoot {
		made := secrets.NewOSRoot(secrets.OSRootID)
		made.TypedSpec().Token = token

		return made
	}

	for _, token := range []string{"a secret", "a secret", "another one"} {
		if err := cosi.Put(ctx, st, root(token)); err != nil {
			t.Fatal(err)
		}
	}

	// the second time there is nothing to drop
	for range 2 {
		if err := cosi.Drop(ctx, st, root("").Metadata()); err != nil {
			t.Fatal(err)
		}
	}

	const name = "OSRootSecrets.secrets.talos.dev(secrets/os)"
	if wanted := []string{"created " + name, "updated " + name, "destroyed " + name}; !slices.Equal(record, wanted) {
		t.Error(record)
	}
}
