package load

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"syscall"
)

// Input reads what a child of the simulation was told to do.
func Input[T any](from io.Reader) (T, error) {
	var in T
	err := json.NewDecoder(from).Decode(&in)
	return in, err
}

// Profiles writes profiles of this process into dir when SIGUSR1 comes: the first one begins the processor's profile, the
// next one ends it and adds one of the heap. name leads the files' names. said is called
// when a pair is written. An empty dir: never.
func Profiles(dir, name string, said func(error)) {
	if dir == "" {
		return
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	go func() {
		for round := 1; ; round++ {
			<-signals
			err := profile(filepath.Join(dir, fmt.Sprintf("%s-%d", name, round)), signals)
			said(err)
		}
	}()
}

func profile(path string, end <-chan os.Signal) error {
	f, err := os.Create(path + ".cpu")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	<-end
	pprof.StopCPUProfile()
	h, err := os.Create(path + ".heap")
	if err != nil {
		return err
	}
	defer h.Close()
	return pprof.WriteHeapProfile(h)
}
