package rpc

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"

	"github.com/containerd/errdefs"

	"shoal/internal/ca"
	"shoal/internal/cluster"
)

// APIProxy passes Docker API requests on to another manager, streams and upgrades included, over connections that it keeps.
// target is asked at every request; an empty addr: nobody leads, which failed answers. When left is closed before the other side
// has begun to answer, the request fails: a machine that stands still or was cut off would be waited for without end. A nil left
// never is.
func APIProxy(identity *ca.Identity, target func(context.Context) (addr string, left <-chan struct{}), failed func(http.ResponseWriter, *http.Request, error)) http.Handler {
	transport := &http.Transport{
		DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return dialTLS(ctx, identity.Client(protoAPI), addr)
		},
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     anonymousTime,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to, left := target(r.Context())
		if to == "" {
			failed(w, r, errNoLeader)
			return
		}
		proxy := &httputil.ReverseProxy{
			Transport:     leaving{transport, left},
			FlushInterval: -1, // events and logs arrive as they are written
			ErrorHandler:  failed,
			Rewrite: func(p *httputil.ProxyRequest) {
				p.SetURL(&url.URL{Scheme: "https", Host: to})
				p.Out.Host = p.In.Host
			},
		}
		proxy.ServeHTTP(w, r)
	})
}

// errLeft is why a request was given up.
var errLeft = cluster.Errorf(errdefs.ErrUnavailable, "the leader was replaced before it answered")

// leaving is a transport whose requests end when left is closed, as long as no answer has begun.
type leaving struct {
	http.RoundTripper
	left <-chan struct{}
}

// RoundTrip makes one request.
func (t leaving) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cut := context.WithCancelCause(r.Context())
	begun := make(chan struct{})
	go func() {
		select {
		case <-t.left:
			cut(errLeft)
		case <-begun: // its end is that of the caller's context from now on
		case <-ctx.Done():
		}
	}()
	resp, err := t.RoundTripper.RoundTrip(r.WithContext(ctx))
	close(begun)
	if err != nil && context.Cause(ctx) == errLeft { //nolint:errorlint // it is this very error
		err = errLeft
	}
	return resp, err
}
