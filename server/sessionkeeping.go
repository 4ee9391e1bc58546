package server

import (
	"context"
	"errors"

	"raftkv/server/sessions"
	"raftkv/statemachine"
	"raftkv/statemachine/envelope"
)

func (s *Server) newSessions() (*sessions.Keeper, error) {
	keeper, err := sessions.New(sessionMember{leaseMember{s}}, sessions.Config{
		TTL: s.cfg.SessionTTL, RequestTimeout: s.cfg.requestTimeout(), Logger: s.cfg.Logger.Named("session"),
	})
	if err != nil {
		return nil, err
	}
	return keeper, s.cfg.Registry.Register(keeper)
}

// sessionMember is the member as its keeper of sessions sees it.
type sessionMember struct{ leaseMember }

func (m sessionMember) EachSession(visit func(statemachine.SessionUse) error) error {
	return m.s.rooms.machine.EachSession(visit)
}

// Expire counts one that its client has closed meanwhile as closed.
func (m sessionMember) Expire(ctx context.Context, c envelope.SessionClose) error {
	err := m.propose(ctx, envelope.KindSessionClose, c.Encode())
	if errors.Is(err, statemachine.ErrSessionUnknown) {
		return nil
	}
	return err
}
