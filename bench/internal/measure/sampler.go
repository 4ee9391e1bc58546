package measure

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"raftkv/bench/internal/procstat"
)

// sampler reads the servers, the generator and the whole machine at both edges
// of the window.
type sampler struct {
	reader      procstat.Reader
	servers     []int
	first, last sample
	// generatorMissing is set where /proc does not exist. Servers that cannot
	// be read are an error instead: somebody asked for them.
	generatorMissing bool
}

type sample struct {
	at                 time.Time
	servers, generator procstat.Usage
	machine            procstat.Machine
}

func newSampler(proc fs.FS, servers []int) *sampler {
	return &sampler{reader: procstat.Reader{Proc: proc}, servers: servers}
}

func (s *sampler) begin() error { return s.take(&s.first) }

func (s *sampler) end() error {
	if err := s.take(&s.last); err != nil {
		return err
	}
	if s.last.servers.CPU < s.first.servers.CPU {
		return errors.New("the processor time of the server processes went down: a process id was reused")
	}
	return nil
}

func (s *sampler) take(into *sample) error {
	var err error
	if into.servers, err = s.reader.Sum(s.servers); err != nil {
		return err
	}
	var machineFault error
	into.generator, err = s.reader.Read(os.Getpid())
	into.machine, machineFault = s.reader.Machine()
	if err != nil || machineFault != nil {
		s.generatorMissing = true
	}
	into.at = time.Now()
	return nil
}

// fill computes the costs of a point.
func (s *sampler) fill(p *Point) {
	elapsed := s.last.at.Sub(s.first.at)
	if elapsed <= 0 {
		return
	}
	cores := func(first, last time.Duration) float64 { return (last - first).Seconds() / elapsed.Seconds() }
	cost := func(first, last procstat.Usage) *Cost {
		c := &Cost{
			Cores:             cores(first.CPU, last.CPU),
			ResidentBytes:     last.ResidentBytes,
			PeakResidentBytes: last.PeakResidentBytes,
		}
		if p.ThroughputPerSecond > 0 {
			c.CPUPerOpUS = c.Cores / p.ThroughputPerSecond * 1e6
		}
		return c
	}
	if len(s.servers) > 0 {
		p.Servers = cost(s.first.servers, s.last.servers)
	}
	if s.generatorMissing {
		return
	}
	p.Generator = cost(s.first.generator, s.last.generator)
	if p.Servers != nil {
		p.Others = &Others{
			// The clocks of machine and processes are read one after the other.
			Cores:       max(0, cores(s.first.machine.CPU, s.last.machine.CPU)-p.Servers.Cores-p.Generator.Cores),
			StolenCores: cores(s.first.machine.Stolen, s.last.machine.Stolen),
		}
	}
}
