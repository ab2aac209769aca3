package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"shoal/internal/sample"
)

// SampleImage and SampleTags name what `shoal sample registry` serves.
const SampleImage = "web"

var sampleTags = []string{"v1", "v2", "latest"}

func sampleCommand() *cobra.Command {
	c := &cobra.Command{Use: "sample", Short: "Serve a sample image, for a machine with no registry in reach"}
	addr := "127.0.0.1:5000"
	r := &cobra.Command{
		Use: "registry", Short: "Serve the images web:v1 and web:v2 until interrupted", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				return fmt.Errorf("cannot listen on %s (another registry? choose another with --addr): %w", addr, err)
			}
			r, err := sampleRegistry(cmd.Context())
			if err != nil {
				l.Close()
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "serving %s/%s:v1 and :v2\n", l.Addr(), SampleImage)
			return r.Serve(cmd.Context(), l)
		},
	}
	r.Flags().StringVar(&addr, "addr", addr, "Address to listen on")
	c.AddCommand(r)
	return c
}

// sampleRegistry is a registry with the sample images in it.
func sampleRegistry(ctx context.Context) (*sample.Registry, error) {
	program, err := beside("shoal-sample")
	if err != nil {
		return nil, err
	}
	bytes, err := os.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("the sample program is missing (make build makes it): %w", err)
	}
	r := sample.NewRegistry()
	for _, tag := range sampleTags {
		img, err := sample.Web(bytes, tag)
		if err != nil {
			return nil, err
		}
		if err := r.Add(ctx, SampleImage, tag, img); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// beside returns the path of a program that is installed in the same folder as this binary.
func beside(program string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("where this binary is: %w", err)
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return "", fmt.Errorf("where this binary is: %w", err)
	}
	return filepath.Join(filepath.Dir(self), program), nil
}
