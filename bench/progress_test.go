package main

import (
	"bytes"
	"testing"
	"time"
)

func TestBarGrows(t *testing.T) {
	for elapsed, want := range map[time.Duration]string{
		0:                "[..............................] 0s of 10s",
		5 * time.Second:  "[###############...............] 5s of 10s",
		90 * time.Second: "[##############################] 10s of 10s",
	} {
		if got := drawBar(elapsed, 10*time.Second); got != want {
			t.Errorf("after %v %q, want %q", elapsed, got, want)
		}
	}
}

func TestNoBarWithoutATerminal(t *testing.T) {
	var out bytes.Buffer
	b := newProgressBar(&out, time.Second)
	b.begin()
	b.end()
	b.end()
	if out.Len() != 0 {
		t.Errorf("wrote %q", out.String())
	}
}
