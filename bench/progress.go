package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
)

const (
	barWidth   = 30
	drawEvery  = 200 * time.Millisecond
	clearLine  = "\r\x1b[K"
	barDone    = "#"
	barMissing = "."
)

// progressBar shows on a terminal how much of a load has run. On anything else
// it shows nothing.
type progressBar struct {
	out   io.Writer
	total time.Duration
	once  sync.Once
	stop  chan struct{}
	done  sync.WaitGroup
}

func newProgressBar(out io.Writer, total time.Duration) *progressBar {
	b := &progressBar{out: out, total: total, stop: make(chan struct{})}
	if file, ok := out.(*os.File); !ok || !isatty.IsTerminal(file.Fd()) {
		b.out = nil
	}
	return b
}

// begin is called when the load begins.
func (b *progressBar) begin() {
	if b.out == nil {
		return
	}
	began := time.Now()
	b.done.Go(func() {
		ticker := time.NewTicker(drawEvery)
		defer ticker.Stop()
		for {
			select {
			case <-b.stop:
				fmt.Fprint(b.out, clearLine)
				return
			case <-ticker.C:
				fmt.Fprint(b.out, clearLine+drawBar(time.Since(began), b.total))
			}
		}
	})
}

// end removes the bar.
func (b *progressBar) end() {
	b.once.Do(func() { close(b.stop) })
	b.done.Wait()
}

func drawBar(elapsed, total time.Duration) string {
	elapsed = min(elapsed, total)
	filled := int(int64(barWidth) * int64(elapsed) / int64(max(1, total)))
	return fmt.Sprintf("[%s%s] %v of %v", strings.Repeat(barDone, filled), strings.Repeat(barMissing, barWidth-filled),
		elapsed.Round(time.Second), total)
}
