package h2

// refusal answers requests of HTTP that are none of gRPC. They are read to their
// end first: who sends one need not be a client that sees an early answer.
type refusal struct {
	status, why string
}

// refusal returns what is to be served in place of a method, if anything is.
func (h *head) refusal() *method {
	switch {
	case h.method == "HEAD":
		return &method{refuse: &refusal{status: "405"}}
	case h.method != "POST":
		return &method{refuse: &refusal{"405", "gRPC is served here, by POST alone\n"}}
	case !h.grpc():
		return &method{refuse: &refusal{"415", "gRPC is served here, of content type application/grpc alone\n"}}
	}
	return nil
}

func (s *stream) serveRefusal() {
	c, r := s.conn, s.method.refuse
	c.mu.Lock()
	if s.gone {
		c.mu.Unlock()
	} else {
		s.queueBlock(c.mu.answers.plain(c.mu.answers.begin(c.mu.block[:0]), r.status), 0)
		if s.queueData([]byte(r.why)) == nil {
			c.mu.Unlock()
		}
	}
	s.finish(nil, false)
}
