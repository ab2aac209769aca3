package ca

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"

	"shoal/internal/cluster"
)

// externalTimeout bounds one call of an external CA.
const externalTimeout = 5 * time.Second

// maxReply bounds what is read of an external CA's answer.
const maxReply = 1 << 20

// cfsslRequest and cfsslReply are CFSSL's /api/v1/cfssl/sign, as far as it is used.
type cfsslRequest struct {
	Request string       `json:"certificate_request"`
	Subject cfsslSubject `json:"subject"`
	Hosts   []string     `json:"hosts"`
}

type cfsslSubject struct {
	CN    string      `json:"CN"`
	Names []cfsslName `json:"names"`
}

type cfsslName struct {
	O  string `json:"O"`
	OU string `json:"OU"`
}

type cfsslReply struct {
	Success bool `json:"success"`
	Result  struct {
		Certificate string `json:"certificate"`
	} `json:"result"`
	Errors []struct {
		Message string `json:"message"`
	} `json:"errors"`
}

// SignExternal has the first external CA that answers certify the key of csrPEM, by CFSSL's protocol over mutual TLS
// with the manager's own certificate, and returns the chain. What comes back must be for s and under root.
func SignExternal(ctx context.Context, cas []*swarm.ExternalCA, root *Root, self *Identity, csrPEM []byte, s Subject) ([]byte, error) {
	body, err := json.Marshal(cfsslRequest{
		Request: string(csrPEM),
		Subject: cfsslSubject{CN: s.NodeID, Names: []cfsslName{{O: s.ClusterID, OU: s.ou()}}},
		Hosts:   s.hosts(),
	})
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, external := range cas {
		chain, err := signAt(ctx, external, root, self, body)
		if err == nil {
			err = checkIssued(chain, root, s)
		}
		if err == nil {
			return append(chain, root.CrossSigned...), nil
		}
		errs = append(errs, fmt.Errorf("external CA %s: %w", external.URL, err))
	}
	if len(errs) == 0 {
		errs = append(errs, errors.New("the swarm has no external CA"))
	}
	return nil, cluster.Errorf(errdefs.ErrUnavailable, "no external CA issued a certificate: %v", errors.Join(errs...))
}

func signAt(ctx context.Context, external *swarm.ExternalCA, root *Root, self *Identity, body []byte) ([]byte, error) {
	trust := root.PEM
	if external.CACert != "" {
		trust = []byte(external.CACert)
	}
	roots, err := pool(trust)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: externalTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, // the CA is not ours
			RootCAs:    roots,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return self.held().cert, nil
			},
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, external.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return nil, err
	}
	var reply cfsslReply
	if err := json.Unmarshal(text, &reply); err != nil {
		return nil, fmt.Errorf("answered %s and no JSON: %w", resp.Status, err)
	}
	if !reply.Success || reply.Result.Certificate == "" {
		if len(reply.Errors) > 0 {
			return nil, fmt.Errorf("refused: %s", reply.Errors[0].Message)
		}
		return nil, fmt.Errorf("refused: %s", resp.Status)
	}
	return []byte(reply.Result.Certificate), nil
}

// checkIssued keeps an external CA from making somebody else of a node.
func checkIssued(chain []byte, root *Root, s Subject) error {
	certs, err := ParseCerts(chain)
	if err != nil {
		return err
	}
	got, err := SubjectOf(certs[0])
	if err != nil {
		return err
	}
	if got != s {
		return fmt.Errorf("the certificate is for %v, asked was %v", got, s)
	}
	if err := certs[0].CheckSignatureFrom(root.Cert); err != nil && len(certs) == 1 {
		return fmt.Errorf("the certificate is not of the swarm's root: %w", err)
	}
	return nil
}
