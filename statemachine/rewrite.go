package statemachine

import (
	"context"
	"fmt"
)

// Rewrite writes the files of the state anew without what was deleted and
// swept, and returns what they took before and take after. The disk gives that
// space back by itself too, only later. Everything may run beside it; it changes
// nothing that can be read. It ends early with ctx.
func (m *Machine) Rewrite(ctx context.Context) (beforeBytes, afterBytes int64, err error) {
	if beforeBytes, err = m.Size(); err != nil {
		return 0, 0, err
	}
	if err := m.store.Rewrite(ctx); err != nil {
		return beforeBytes, 0, fmt.Errorf("state: %w", err)
	}
	afterBytes, err = m.Size()
	return beforeBytes, afterBytes, err
}
