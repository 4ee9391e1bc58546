package request

import (
	"context"

	"google.golang.org/protobuf/proto"
)

// Reconfigure runs a change of the cluster, which req asks for, for whoever may
// do that. Its error is a gRPC status.
func (g *Gate) Reconfigure(ctx context.Context, req proto.Message, do func(context.Context) error) error {
	if err := g.Admit(ctx, VotersOnly); err != nil {
		return err
	}
	if _, err := g.Authorize(ctx, req); err != nil {
		return err
	}
	ctx, cancel := g.WithTimeout(ctx)
	defer cancel()
	if err := do(ctx); err != nil {
		return g.WriteError(err)
	}
	return nil
}
