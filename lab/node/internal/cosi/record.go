package cosi

import (
	"context"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/state"
)

// Recorded is the state with a record of what is changed in it.
func Recorded(st state.State, record func(change string)) state.State {
	return state.WrapCore(&recorded{CoreState: st, record: record})
}

type recorded struct {
	state.CoreState

	record func(change string)
}

func (r *recorded) Create(ctx context.Context, created resource.Resource, options ...state.CreateOption) error {
	return r.note("created", created.Metadata(), r.CoreState.Create(ctx, created, options...))
}

func (r *recorded) Update(ctx context.Context, updated resource.Resource, options ...state.UpdateOption) error {
	return r.note("updated", updated.Metadata(), r.CoreState.Update(ctx, updated, options...))
}

func (r *recorded) Destroy(ctx context.Context, gone resource.Pointer, options ...state.DestroyOption) error {
	return r.note("destroyed", gone, r.CoreState.Destroy(ctx, gone, options...))
}

// note names the resource only: its content may be secret.
func (r *recorded) note(what string, changed resource.Pointer, err error) error {
	if err == nil {
		r.record(what + " " + changed.Type() + "(" + changed.Namespace() + "/" + changed.ID() + ")")
	}

	return err
}
