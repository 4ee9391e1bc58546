//go:build !linux

package ring

import (
	"errors"
	"os"
)

// Ring is not there on this system.
type Ring struct{}

// New returns an error.
func New() (*Ring, error) { return nil, errors.ErrUnsupported }

// Fdatasync is never called: there is no Ring.
func (r *Ring) Fdatasync(*os.File) error { return errors.ErrUnsupported }

// Broken is never called.
func (r *Ring) Broken() error { return errors.ErrUnsupported }

// Close does nothing.
func (r *Ring) Close() error { return nil }
