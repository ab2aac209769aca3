package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"shoal/internal/cli/playground"
	"shoal/internal/cli/simulate"
)

// DefaultHost is the daemon that a client speaks to when nothing else is said.
const DefaultHost = "unix:///run/shoal/shoal.sock"

// Main runs one invocation of the binary, args[0] being its name, and returns the exit status.
func Main(args []string) int {
	if len(args) > 1 && args[1] == playground.InitWord {
		return playground.Init(args[2:])
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if len(args) > 1 && own(args[1]) != nil {
		return runOwn(ctx, args[1:])
	}
	return runDocker(ctx, args[1:])
}

// words are Shoal's own first words.
func words() []*cobra.Command {
	return []*cobra.Command{daemonCommand(), playgroundCommand(), quickstartCommand(), sampleCommand(), simulate.Command()}
}

func own(word string) *cobra.Command {
	for _, c := range words() {
		if c.Name() == word {
			return c
		}
	}
	return nil
}

func runOwn(ctx context.Context, args []string) int {
	root := &cobra.Command{Use: "shoal", SilenceUsage: true, SilenceErrors: true}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(own(args[0]))
	root.SetArgs(args)
	return report(os.Stderr, root.ExecuteContext(ctx))
}

// exit is an error whose text has been printed already, or that has none: only its status matters.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// report prints err for a person and returns the exit status it stands for.
func report(to io.Writer, err error) int {
	var code exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, context.Canceled):
		return 130
	}
	fmt.Fprintln(to, "shoal:", err)
	return 1
}
