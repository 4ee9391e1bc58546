package main

import (
	"bytes"
	"log"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"raftkv/server"
)

func TestLibrariesWriteToTheLog(t *testing.T) {
	for godebug, plain := range map[string]bool{
		"": false, "gctrace=1": false, "http2debug=0": false, "http2debug=1": true, "gctrace=1,http2debug=2": true,
	} {
		var direct bytes.Buffer
		before := log.Writer()
		log.SetOutput(&direct)
		core, logged := observer.New(zap.DebugLevel)
		restore := captureLibraries(zap.New(core), godebug, []server.Member{{PeerURLs: []string{"http://peer.example:2380"}}})
		log.Print(`http2: decoded hpack field header field ":authority" = "peer.example"`)
		log.Print("a library speaks")
		if got := strings.HasSuffix(direct.String(), "a library speaks\n"); got != plain {
			t.Errorf("GODEBUG=%s: written directly: %q", godebug, direct.String())
		}
		if strings.Contains(direct.String(), "peer.example") {
			t.Errorf("GODEBUG=%s: a peer's headers are written: %q", godebug, direct.String())
		}
		if got := logged.FilterMessage("a library speaks").Len() == 1; got == plain {
			t.Errorf("GODEBUG=%s: logged: %v", godebug, logged.All())
		}
		restore()
		log.SetOutput(before)
	}
}
